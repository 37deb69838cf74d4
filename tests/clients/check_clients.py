"""The other tools, run on our exports, and ``score`` on what they write. `make test-clients` runs this.

The environment variable ``CLIENTS`` names the folder that ``environment.sh`` made. Models are random or only
repeat what stands in a file: no number here says anything about a model.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from gym_qa.exports.export import ExportQAConfig, export_qa
from gym_qa.questions.questions import Question, read_questions, write_questions
from gym_qa.questions.reply import read_answer
from sefar_mllm.evaluation.lmms_eval import write_lmms_layout
from sefar_mllm.evaluation.metrics import Headline
from sefar_mllm.evaluation.prediction_file import read_answers
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.score import ScoreConfig, score
from sefar_mllm.inference.prediction import Prediction

HERE = Path(__file__).parent
CLIENTS = Path(os.environ["CLIENTS"])
CLASSES = ("salto forward tucked", "salto backward piked with 1 turn", "giant circle backward", "switch leap")
FORMS = json.loads((HERE.parent / "reply_forms.json").read_text("utf-8"))
ODD_OPTIONS = [
    CLASSES,
    ("None", "NA", "null", "nan"),
    ("<video>", "<image> leap", "<|im_end|>", "</s>"),
    ("=B", "-1", "+2", "@x"),
    ("leap", "Leap.", "2*3", "switch_leap"),
    ("yes", "no"),
]


def client(folder, *command, data=None, **environment):
    """Run a command of the tools' environment; returns what it printed."""
    variables = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        },
        "PATH": f"{CLIENTS / 'bin'}:{os.environ['PATH']}",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "LMUData": str(folder),
        **({"PYTHONPATH": str(CLIENTS / data)} if data else {}),
        **environment,
    }
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=variables, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout + done.stderr


def write_video(path, seed):
    """Sixteen frames of moving stripes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".avi": "mpeg4", ".webm": "libvpx", ".mp4": "mpeg4"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(16):
            line = np.arange(64)[:, None, None] * 9 + number * 16 + seed * 40
            image = np.broadcast_to(line % 256, (64, 64, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Eight questions about videos of three kinds of files, with their clip list."""
    folder = tmp_path_factory.mktemp("small")
    names = [f"part{n % 2}/v_{n}{('.avi', '.webm', '.mp4')[n % 3]}" for n in range(8)]
    for number, name in enumerate(names):
        write_video(folder / "clips" / name, number)
    (folder / "val.csv").write_text("video,label\n" + "".join(f"{name},0\n" for name in names), "utf-8")
    options = [ODD_OPTIONS[0], *ODD_OPTIONS[:3], *ODD_OPTIONS[:4]]
    asked = [
        Question(f"q{n}", f"v_{n}", "Which <video> move is it?", options[n], n % 4, source=f"s{n}")
        for n in range(8)
    ]
    write_questions(folder / "questions.jsonl", asked)
    return folder


def export(folder, form, output, **options):
    export_qa(ExportQAConfig(folder / "questions.jsonl", form, output, videos=folder / "clips", **options))
    return output


def run_lmms_eval(folder, task, replies, videos):
    (folder / "replies.json").write_text(json.dumps(replies), "utf-8")
    arguments = ["--model", "replay", "--model_args", "replies=replies.json", "--include_path", task]
    arguments += ["--tasks", "gym_qa", "--log_samples", "--output_path", "out"]
    client(folder, "python", HERE / "replay_lmms_eval.py", *arguments, GYM_QA_VIDEOS=str(videos))
    (results,), (samples,) = (
        (folder / "out").rglob("*_results.json"),
        (folder / "out").rglob("*_samples_*.jsonl"),
    )
    return json.loads(results.read_text("utf-8")), samples


def run_vlmevalkit(folder, exported, data, replies, videos, **environment):
    (folder / "replies.json").write_text(json.dumps(replies), "utf-8")
    arguments = [
        exported,
        "replies.json",
        "prompt.json",
        "--data",
        data,
        "--model",
        "replay",
        "--work-dir",
        "vlm",
    ]
    printed = client(
        folder, "python", HERE / "replay_vlmevalkit.py", *arguments, GYM_QA_VIDEOS=str(videos), **environment
    )
    return printed, folder / "vlm" / "replay"


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_lmms_eval_runs_a_moved_task_and_our_layout_is_its(small, tmp_path):
    asked = read_questions(small / "questions.jsonl")
    export(small, "lmms-eval", tmp_path / "made")
    task = (tmp_path / "made").rename(tmp_path / "moved")
    replies = ["**" + "ABCD"[q.answer] + "**" for q in asked[:5]] + ["A or B", "the answer is a", "no idea"]
    results, samples = run_lmms_eval(tmp_path, task, replies, small / "clips")
    assert results["results"]["gym_qa"]["gym_qa_accuracy,none"] == 5 / 8
    assert results["results"]["gym_qa"]["unparsed_rate,none"] == 3 / 8
    assert (
        score(ScoreConfig(samples, small / "questions.jsonl"))
        .row(QuestionSet.open(small / "questions.jsonl"))
        .accuracy
        == 5 / 8
    )
    choices = [read_answer(reply, q.options) for reply, q in zip(replies, asked, strict=True)]
    predictions = [
        Prediction(choice=choice, question=question, scores={}, reply=reply, reply_choice=choice)
        for choice, question, reply in zip(choices, asked, replies, strict=True)
    ]
    headline = Headline(
        encoder="replay", accuracy=5 / 8, ci_low=0.3, ci_high=0.9, n=8, seconds=1.0, score="generated",
        accuracy_by_score={}, unparsed_rate=3 / 8, language_model="replay", options={},
    )  # fmt: skip
    questions = QuestionSet.open(small / "questions.jsonl")
    ours = write_lmms_layout(tmp_path / "ours", questions, predictions, headline)
    (written,) = ours.glob("*_samples_*.jsonl")
    for mine, theirs in zip(lines(written), lines(samples), strict=True):
        assert set(mine) <= set(theirs)
        same = ("doc_id", "target", "filtered_resps", "input", "gym_qa_accuracy", "unparsed_rate")
        assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}


def test_vlmevalkit_shows_the_videos_and_reads_strictly(small, tmp_path):
    asked = read_questions(small / "questions.jsonl")
    export(small, "vlmevalkit", tmp_path / "made", name="gym-qa")
    exported = (tmp_path / "made").rename(tmp_path / "moved")
    replies = [q.options[q.answer] for q in asked[:6]] + ["A or B", "the answer is a"]
    _, out = run_vlmevalkit(tmp_path, exported, "gym-qa_4frame", replies, small / "clips")
    status = json.loads((out / "status.json").read_text("utf-8"))
    assert "0.75" in json.dumps(status)
    prompt = json.loads((tmp_path / "prompt.json").read_text("utf-8"))
    assert [part["type"] for part in prompt] == ["image"] * 4 + ["text"]
    assert "Which &lt;video&gt; move" in prompt[-1]["value"]
    assert [row["choice"] for row in lines(out / "replay_gym-qa_4frame_choices.jsonl")] == [
        *(q.answer for q in asked[:6]), None, None,
    ]  # fmt: skip
    found = read_answers(out / "replay_gym-qa_4frame.xlsx", asked)
    assert [answer.choice for answer in found] == [*(q.answer for q in asked[:6]), None, None]
    _, out = run_vlmevalkit(
        tmp_path, exported, "gym-qa", replies, small / "clips", AS_VIDEO="1", PRED_FORMAT="tsv"
    )
    shown = json.loads((tmp_path / "prompt.json").read_text("utf-8"))[0]
    assert shown == {"type": "video", "value": str(small / "clips" / "part0" / "v_0.avi")}
    assert read_answers(out / "replay_gym-qa.tsv", asked) == found


def test_vlmevalkit_does_not_ask_our_tsv_without_the_videos(small, tmp_path):
    export(small, "vlmevalkit", tmp_path, name="gym-qa")  # where VLMEvalKit looks for TSVs of its own accord
    (tmp_path / "alone").mkdir()
    printed, out = run_vlmevalkit(tmp_path, tmp_path / "alone", "gym-qa", ["A"] * 8, small / "clips")
    assert "combination failed" in printed
    assert not list(out.glob("*.xlsx"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    client(folder, "python", HERE / "tiny_qwen2_vl.py", folder / "model")
    return folder / "model"


def score_by_order(predictions, small, capsys):
    asked = QuestionSet.open(small / "questions.jsonl")
    scored = score(ScoreConfig(predictions, asked.file))
    assert "its 8 answers are taken in the questions' order" in capsys.readouterr().out
    assert len(scored.runs[0]) == 8


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_llama_factory_trains_and_predicts(small, tiny, tmp_path, capsys, answer):
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "o.json"}}', "utf-8")
    export(small, "llama-factory", tmp_path, name="few", answer=answer)
    assert list(json.loads((tmp_path / "dataset_info.json").read_text("utf-8"))) == ["other", "few"]
    common = {
        "model_name_or_path": str(tiny), "stage": "sft", "finetuning_type": "lora", "template": "qwen2_vl",
        "dataset_dir": ".", "cutoff_len": 4096, "report_to": "none", "use_cpu": True,
        "video_max_pixels": 3136, "preprocessing_num_workers": 1, "overwrite_output_dir": True,
    }  # fmt: skip
    train = {"do_train": True, "dataset": "few", "output_dir": "lora", "max_steps": 2, "lora_rank": 2}
    predict = {
        "do_predict": True, "eval_dataset": "few", "output_dir": "said", "adapter_name_or_path": "lora",
        "predict_with_generate": True, "max_new_tokens": 4,
    }  # fmt: skip
    for step in (train, predict):
        (tmp_path / "step.yaml").write_text(json.dumps(common | step), "utf-8")
        client(tmp_path, "llamafactory-cli", "train", "step.yaml")
    score_by_order(tmp_path / "said" / "generated_predictions.jsonl", small, capsys)


def test_ms_swift_trains_and_infers(small, tiny, tmp_path, capsys):
    export(small, "ms-swift", tmp_path / "few.jsonl")
    common = ["--model", tiny, "--model_type", "qwen2_vl", "--template", "qwen2_vl", "--use_hf", "true"]
    common += ["--torch_dtype", "float32", "--attn_impl", "eager"]
    train = ["--dataset", "few.jsonl", "--output_dir", "lora", "--max_steps", "2", "--tuner_type", "lora"]
    train += ["--lora_rank", "2", "--report_to", "none", "--gradient_checkpointing", "false"]
    train += [
        "--per_device_train_batch_size",
        "1",
        "--dataset_num_proc",
        "1",
        "--dataloader_num_workers",
        "0",
    ]
    infer = ["--val_dataset", "few.jsonl", "--result_path", tmp_path / "said.jsonl", "--max_new_tokens", "4"]
    for verb, more in (("sft", train), ("infer", infer)):
        client(tmp_path, "swift", verb, *common, *more, data="datasets-4", VIDEO_MAX_PIXELS="3136")
    score_by_order(tmp_path / "said.jsonl", small, capsys)


@pytest.mark.parametrize("data", [None, "datasets-4", "datasets-5"])
def test_datasets_loads_the_folder(small, tmp_path, data):
    for split in ("train", "validation"):
        export(small, "datasets", tmp_path / "hub", split=split)
    program = (
        "import datasets, json; found = datasets.load_dataset('hub', cache_dir='cache'); "
        "print('READ', datasets.__version__, json.dumps({name: list(part) for name, part in found.items()}))"
    )
    (line,) = [
        row for row in client(tmp_path, "python", "-c", program, data=data).splitlines() if "READ " in row
    ]
    _, version, rows = line[line.index("READ ") :].split(" ", 2)
    assert version.startswith({None: "4.0", "datasets-4": "4.8", "datasets-5": "5."}[data])
    wanted = lines(small / "questions.jsonl")
    for part in json.loads(rows).values():
        assert [{key: row[key] for key in wanted[0]} for row in part] == wanted


def odd_replies(count):
    """Forms from the table, decorated, and random text."""
    draw = random.Random(0)
    forms = FORMS["names the third option"] + FORMS["names none, several, or contradicts itself"]
    around = [
        "{}",
        "**{}**",
        "_{}_",
        "`{}`",
        "{}.",
        "\r\n{}\r\n",
        '"{}"',
        "<think>A?\n</think>{}",
        "{}\u200b",
        "({})",
    ]
    letters = [
        *"ABCDEabcde ()[]{}.,:;*_`#>-=+@'\"\\$&<>/\n\r\téß🤸Ａ。",
        "None",
        "NA",
        "null",
        "the answer is ",
        "_x000D_",
    ]
    found = []
    for number in range(count):
        text = "".join(draw.choices(letters, k=draw.randrange(12))) if number % 3 == 0 else draw.choice(forms)
        found.append(draw.choice(around).replace("{}", text))
    return found


def test_the_same_replies_get_the_same_verdict_everywhere(tmp_path):
    draw = random.Random(1)
    write_video(tmp_path / "clips" / "v.mp4", 0)
    asked = []
    for number in range(8000):
        options = tuple(draw.sample(list(ODD_OPTIONS[number % 6]), k=len(ODD_OPTIONS[number % 6])))
        asked.append(Question(f"q{number}", "v", "Which?", options, draw.randrange(len(options)), source="s"))
    write_questions(tmp_path / "questions.jsonl", asked)
    plain = [
        draw.choice(["{l}", "({l})", "{l}. {t}", "{t}", "The answer is {t}.", "**{l}**"]).format(
            l="ABCD"[place := draw.randrange(len(q.options))], t=q.options[place]
        )
        for q in asked[:6000]
    ]
    replies = plain + odd_replies(2000)
    choices = [read_answer(reply, q.options) for reply, q in zip(replies, asked, strict=True)]
    assert 0.05 < sum(choice is None for choice in choices[6000:]) / 2000 < 0.95

    task = export(tmp_path, "lmms-eval", tmp_path / "task")
    _, samples = run_lmms_eval(tmp_path, task, replies, tmp_path / "clips")
    theirs = [(row["gym_qa_accuracy"], row["unparsed_rate"]) for row in lines(samples)]
    assert theirs == [(float(c == q.answer), float(c is None)) for c, q in zip(choices, asked, strict=True)]
    exported = export(tmp_path, "vlmevalkit", tmp_path / "exported", name="same")
    _, out = run_vlmevalkit(tmp_path, exported, "same", replies, tmp_path / "clips", AS_VIDEO="1")
    assert [row["choice"] for row in lines(out / "replay_same_choices.jsonl")] == choices
    for file in (samples, out / "replay_same.xlsx"):
        assert [answer.choice for answer in read_answers(file, asked)] == choices
