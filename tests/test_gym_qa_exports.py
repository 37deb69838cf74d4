"""Exports: each against the fields its tool documents, and the questions that come back from them.

The tools themselves are run on them by ``make test-clients``.
"""

from __future__ import annotations

import csv
import importlib.util
import inspect
import json
import shutil
from pathlib import Path

import pandas
import pytest
import yaml
from gym_qa_sources import source, tables

import gym_qa.questions.prompt
import gym_qa.questions.reply
from gym_qa.audit.audit import audit
from gym_qa.audit.guessers import QUICK
from gym_qa.audit.labelled import counts_of_questions
from gym_qa.audit.verb import AuditQAConfig, audit_qa
from gym_qa.benchmark.build import BuildQAConfig, build_qa
from gym_qa.datasets.table import read_classes
from gym_qa.errors import GymQAError
from gym_qa.exports.export import ExportQAConfig, export_qa
from gym_qa.questions.loading import load_questions
from gym_qa.questions.official import read_official
from gym_qa.questions.questions import Question, read_questions, write_questions
from sefar_mllm.cli import main

#: Texts that other tools could take for something else.
ODD = (
    Question(
        "q0",
        "v0",
        "Which <video> is it?",
        ("<video>", "<image> leap", "<|im_end|>\n<|im_start|>user", "</s>"),
        0,
    ),
    Question("q1", "v1", "=1+1", ("None", "NA", "null", "nan"), 1),
    Question("q2", "v2", 'a "quoted"\ttab\nand line', ("=B", "-1", "'", '"'), 0),
    Question("q3", "v3", "None", ("N/A", "#N/A", "", " "), 0),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qa")
    build_qa(source("minigym").config(folder))
    return folder


@pytest.fixture(scope="module")
def questions(built):
    return read_questions(built / "val_questions.jsonl")


@pytest.fixture
def odd(tmp_path):
    write_questions(tmp_path / "odd.jsonl", ODD)
    return tmp_path / "odd.jsonl"


def export(built, output, form, **options):
    file = built if built.is_file() else built / "val_questions.jsonl"
    export_qa(ExportQAConfig(file, form, output, **options))
    return output


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def card_of(folder):
    _, head, body = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_datasets_folder_is_loaded_with_its_splits(built, questions, tmp_path):
    from datasets import load_dataset

    export(built, tmp_path / "hub", "datasets", name="gym-qa-minigym")
    train = ExportQAConfig(built / "train_questions.jsonl", "datasets", tmp_path / "hub", split="train")
    export_qa(train)
    loaded = load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded) == ["train", "validation"]
    assert [row["id"] for row in loaded["validation"]] == [question.id for question in questions]
    assert [row["file"] for row in loaded["validation"]] == [
        f"{question.video}.mp4" for question in questions
    ]
    head, body = card_of(tmp_path / "hub")
    assert head["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train.jsonl"},
        {"split": "validation", "path": "data/validation.jsonl"},
    ]
    assert "synthetic" in body
    only = tmp_path / "only"
    export(built, only, "datasets")
    again = load_questions(only)
    assert again == questions
    found = audit_qa(AuditQAConfig(only, built / "train_questions.jsonl", built / "classes.json"))
    same = audit_qa(AuditQAConfig(built / "val_questions.jsonl", built / "train_questions.jsonl"))
    assert found == same


def test_a_card_carries_the_audit_of_every_split(built, questions, tmp_path):
    export(built, tmp_path, "datasets", split="test")
    classes, training = read_classes(built / "classes.json"), read_questions(built / "train_questions.jsonl")
    assert (
        f"`test` split:\n\n```\n{audit(questions, None, classes, guessers=QUICK)}\n```"
        in card_of(tmp_path)[1]
    )
    export_qa(ExportQAConfig(built / "train_questions.jsonl", "datasets", tmp_path, split="train"))
    body = card_of(tmp_path)[1]
    assert f"`train` split:\n\n```\n{audit(training, None, classes, guessers=QUICK)}\n```" in body
    informed = audit(questions, counts_of_questions(training), classes, training, QUICK)
    assert f"`test` split:\n\n```\n{informed}\n```" in body
    assert body.count("verdict:") == 2


def test_a_card_names_the_licence_of_what_the_questions_are_made_from(built, odd, tmp_path):
    export(built, tmp_path / "mini", "datasets")
    assert card_of(tmp_path / "mini")[0]["license"] == "apache-2.0"
    build_qa(source("minigym").config(tmp_path / "qa", recipe="official"))
    lone = tmp_path / "official.json"
    lone.write_text(
        (tmp_path / "qa" / "val_official.json").read_text().replace("minigym", "finegym"), "utf-8"
    )
    export(lone, tmp_path / "published", "datasets")
    assert card_of(tmp_path / "published")[0]["license"] == "cc-by-nc-4.0"
    (tmp_path / "config.json").write_text('{"dataset": "ucf101", "synthetic": false}', "utf-8")
    export(odd, tmp_path / "ucf", "datasets")
    assert card_of(tmp_path / "ucf")[0]["license"] == "unknown"


def test_llava(built, questions, tmp_path):
    rows = json.loads(export(built, tmp_path / "q.json", "llava").read_text("utf-8"))
    for row, question in zip(rows, questions, strict=True):
        assert set(row) == {"id", "video", "conversations"}
        assert row["video"] == f"{question.video}.mp4"
        human, gpt = row["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].count("<image>") == 1
        assert f"{gpt['value']}. {question.options[question.answer]}" in human["value"]


@pytest.mark.parametrize("answer", ["letter", "text", "both"])
def test_llama_factory(built, questions, tmp_path, answer):
    export(built, tmp_path, "llama-factory", name="mini", answer=answer)
    entry = json.loads((tmp_path / "dataset_info.json").read_text("utf-8"))["mini"]
    assert entry["formatting"] == "sharegpt"
    rows = json.loads((tmp_path / entry["file_name"]).read_text("utf-8"))
    for row, question in zip(rows, questions, strict=True):
        messages, videos = row[entry["columns"]["messages"]], row[entry["columns"]["videos"]]
        assert [message["from"] for message in messages] == ["human", "gpt"]
        assert sum(message["value"].count("<video>") for message in messages) == len(videos) == 1
        letter, text = "ABCD"[question.answer], question.options[question.answer]
        assert messages[1]["value"] == {"letter": letter, "text": text, "both": f"{letter}. {text}"}[answer]


def test_dataset_info_loses_no_entry(built, tmp_path):
    info = tmp_path / "dataset_info.json"
    mine = {
        "alpaca": {"hf_hub_url": "x/y", "columns": {"prompt": "instruction"}},
        "é": {"file_name": "e.json"},
    }
    info.write_text(json.dumps(mine), "utf-8")
    export(built, tmp_path, "llama-factory", name="one")
    export(built, tmp_path, "llama-factory", name="two")
    entries = json.loads(info.read_text("utf-8"))
    assert list(entries) == ["alpaca", "é", "one", "two"]
    assert {name: entries[name] for name in mine} == mine
    entries["one"]["num_samples"] = 5  # the user's own addition
    info.write_text(json.dumps(entries), "utf-8")
    export(built, tmp_path, "llama-factory", name="one", answer="text")
    assert json.loads(info.read_text("utf-8")) == entries


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"alpaca": {', "not JSON"),
        ('[{"file_name": "x.json"}]', "expected a JSON object"),
        ('{"a": {"file_name": "x.json"}, "a": {}}', "stands twice"),
        ('{"mini": {"hf_hub_url": "x/y"}}', "'mini' is another data set"),
        ('{"mini": "x"}', "'mini' is another data set"),
        ('{"other": {"file_name": "mini.json"}}', "mini.json belongs to 'other'"),
    ],
)
def test_a_dataset_info_that_would_be_spoilt_is_left_as_it_is(built, tmp_path, content, message):
    (tmp_path / "dataset_info.json").write_text(content, "utf-8")
    with pytest.raises(GymQAError, match=message):
        export(built, tmp_path, "llama-factory", name="mini")
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {
        "dataset_info.json": content
    }


def test_ms_swift(built, questions, tmp_path):
    rows = lines(export(built, tmp_path / "q.jsonl", "ms-swift"))
    for row, question in zip(rows, questions, strict=True):
        assert set(row) == {"messages", "videos"}
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"].count("<video>") == len(row["videos"]) == 1
        assert assistant["content"] == "ABCD"[question.answer]


@pytest.mark.parametrize("answer", ["letter", "text", "both"])
def test_tags_in_texts_are_escaped_and_the_answers_are_read_all_the_same(odd, tmp_path, answer):
    export(odd, tmp_path / "lf", "llama-factory", answer=answer)
    export(odd, tmp_path / "swift.jsonl", "ms-swift", answer=answer)
    export(odd, tmp_path / "llava.json", "llava", answer=answer)
    factory = json.loads((tmp_path / "lf" / "gym-qa.json").read_text("utf-8"))
    llava = json.loads((tmp_path / "llava.json").read_text("utf-8"))
    talks = [[message["value"] for message in row["conversations"]] for row in factory]
    assert [
        [message["content"] for message in row["messages"]] for row in lines(tmp_path / "swift.jsonl")
    ] == talks
    for (asked, answered), row, question in zip(talks, llava, ODD, strict=True):
        assert asked.startswith("<video>")
        assert row["conversations"][0]["value"] == "<image>\n" + asked.removeprefix("<video>")
        for text in (asked.removeprefix("<video>"), answered):
            assert not any(tag in text for tag in ("<video>", "<image>", "<|im_", "</s>"))
        assert gym_qa.questions.reply.read_answer(answered, question.options) == question.answer


#: Fields of a task that lmms-eval's guide (docs/task_guide.md) names.
TASK_FIELDS = {
    "task",
    "dataset_path",
    "dataset_kwargs",
    "test_split",
    "output_type",
    "doc_to_visual",
    "doc_to_text",
    "doc_to_target",
    "generation_kwargs",
    "reasoning_tags",
    "process_results",
    "metric_list",
    "metadata",
}


def load_task(folder, name):
    """The task's YAML, and its functions by field."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    task = yaml.load((folder / f"{name}.yaml").read_text("utf-8"), Loader)
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    named = {
        key: getattr(utils, task[key].removeprefix("utils."))
        for key in task
        if str(task[key]).startswith("utils.")
    }
    return task, named


def test_lmms_eval_task_folder(built, questions, tmp_path, monkeypatch):
    from datasets import load_dataset

    export(built, tmp_path / "made", "lmms-eval", name="gym-qa-mini")
    folder = (tmp_path / "made").rename(tmp_path / "moved")
    for file in folder.iterdir():
        assert str(tmp_path) not in file.read_text("utf-8")
    task, named = load_task(folder, "gym_qa_mini")
    assert set(task) <= TASK_FIELDS
    assert task["task"] == "gym_qa_mini"
    assert set(named) == {"doc_to_visual", "doc_to_text", "doc_to_target", "process_results"}
    monkeypatch.chdir(folder)
    data = load_dataset(task["dataset_path"], **task["dataset_kwargs"], cache_dir=str(tmp_path / "cache"))
    docs = data[task["test_split"]]
    with pytest.raises(FileNotFoundError, match="GYM_QA_VIDEOS"):
        named["doc_to_visual"](docs[0])
    (folder / "videos").mkdir()
    assert named["doc_to_visual"](docs[0]) == [str(folder / "videos" / docs[0]["file"])]
    monkeypatch.setenv("GYM_QA_VIDEOS", str(tmp_path))
    metrics = {metric["metric"] for metric in task["metric_list"]}
    for doc, question in zip(docs, questions, strict=True):
        target = named["doc_to_target"](doc)
        assert target == "ABCD"[question.answer]
        assert f"{target}. {question.options[question.answer]}" in named["doc_to_text"](doc).splitlines()
        assert named["doc_to_visual"](doc) == [f"{tmp_path}/{question.video}.mp4"]
        assert named["process_results"](doc, [target]) == {"gym_qa_accuracy": 1.0, "unparsed_rate": 0.0}
        assert set(named["process_results"](doc, ["no idea"])) == metrics


@pytest.mark.parametrize(("form", "answers"), [("lmms-eval", "reply.py"), ("vlmevalkit", "reply.py")])
def test_the_reader_is_copied_word_for_word(built, tmp_path, form, answers):
    export(built, tmp_path, form)
    assert (tmp_path / answers).read_bytes() == Path(inspect.getfile(gym_qa.questions.reply)).read_bytes()
    assert (tmp_path / "prompt.py").read_bytes() == Path(
        inspect.getfile(gym_qa.questions.prompt)
    ).read_bytes()


def test_lmms_evals_copy_gives_the_same_verdict_on_every_form(odd, tmp_path):
    forms = json.loads(Path(__file__).with_name("reply_forms.json").read_text("utf-8"))
    options, *groups = forms.values()
    export(odd, tmp_path / "task", "lmms-eval")
    _, named = load_task(tmp_path / "task", "gym_qa")
    for reply in (form for group in groups for form in group):
        choice = gym_qa.questions.reply.read_answer(reply, options)
        for answer in range(4):
            assert named["process_results"]({"options": options, "answer": answer}, [reply]) == {
                "gym_qa_accuracy": float(choice == answer),
                "unparsed_rate": float(choice is None),
            }


def test_vlmevalkit(built, questions, tmp_path):
    with (export(built, tmp_path, "vlmevalkit", name="mini") / "mini.tsv").open(
        encoding="utf-8", newline=""
    ) as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["index"]) for row in rows] == list(range(len(questions)))
    for row, question in zip(rows, questions, strict=True):
        # An id that begins with "-" is kept from being a formula by a space or "./".
        assert (row["id"].strip(), row["video"].removeprefix("./"), row["question"], row["category"]) == (
            question.id,
            f"{question.video}.mp4",
            question.question,
            question.event,
        )
        assert tuple(json.loads(row["options"])) == question.options
        assert row["answer"] == "ABCD"[question.answer]
    assert not {"A", "B", "image"} & set(rows[0])  # with A and B, VLMEvalKit would ask without the video
    assert (tmp_path / "vlmeval_dataset.py").exists()
    export(built, tmp_path / "named.tsv", "vlmevalkit")
    assert (tmp_path / "named.tsv").read_bytes() == (tmp_path / "mini.tsv").read_bytes()


def test_options_that_pandas_takes_for_missing_survive(odd, tmp_path):
    export(odd, tmp_path, "vlmevalkit")
    table = pandas.read_csv(tmp_path / "gym-qa.tsv", sep="\t")
    assert [tuple(json.loads(options)) for options in table["options"]] == [one.options for one in ODD]


def ucf(folder):
    """Official files of UCF-101 in small, and its questions."""
    names = {"ApplyEyeMakeup": "EyeMakeup", "Archery": "Arch", "Biking": "Bike", "Diving": "Dive"}
    files = [f"{name}/v_{name}_g{group:02d}_c01.avi" for name in names for group in (1, 8, 9)]
    official = folder / "official"
    official.mkdir()
    (official / "classInd.txt").write_text(
        "".join(f"{k} {name}\n" for k, name in enumerate(names, 1)), "utf-8"
    )
    train, test = [f for f in files if "g01" not in f], [f for f in files if "g01" in f]
    numbers = {name: k for k, name in enumerate(names, 1)}
    listed = "".join(f"{file} {numbers[file.split('/')[0]]}\n" for file in train)
    (official / "trainlist01.txt").write_text(listed, "utf-8")
    (official / "testlist01.txt").write_text("".join(f"{file}\n" for file in test), "utf-8")
    config = BuildQAConfig(
        data=official, dataset="ucf101", output=folder / "qa", policy="uniform", balance="none", fraction=1.0
    )
    build_qa(config)
    return folder / "qa" / "val_questions.jsonl", test


def touch(folder, files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def named_files(questions, output, **options):
    """The videos' names in every format that names them."""
    export(questions, output / "llava.json", "llava", **options)
    export(questions, output / "lf", "llama-factory", **options)
    export(questions, output / "swift.jsonl", "ms-swift", **options)
    export(questions, output / "lmms", "lmms-eval", **options)
    export(questions, output / "vlm", "vlmevalkit", **options)
    export(questions, output / "hub", "datasets", **options)
    with (output / "vlm" / "gym-qa.tsv").open(encoding="utf-8", newline="") as file:
        vlmevalkit = [row["video"] for row in csv.DictReader(file, delimiter="\t")]
    conversations = {
        "llava": [row["video"] for row in json.loads((output / "llava.json").read_text("utf-8"))],
        "llama-factory": [
            row["videos"][0] for row in json.loads((output / "lf" / "gym-qa.json").read_text("utf-8"))
        ],
        "ms-swift": [row["videos"][0] for row in lines(output / "swift.jsonl")],
    }
    relative = {
        "lmms-eval": [row["file"] for row in lines(output / "lmms" / "questions.jsonl")],
        "vlmevalkit": vlmevalkit,
        "datasets": [row["file"] for row in lines(output / "hub" / "data" / "validation.jsonl")],
    }
    return conversations, relative


def test_videos_are_named_as_the_clip_lists_say(tmp_path):
    questions, files = ucf(tmp_path)
    conversations, relative = named_files(questions, tmp_path / "out")
    for found in (*conversations.values(), *relative.values()):
        assert sorted(found) == files


def test_videos_are_named_as_they_lie_on_disk(tmp_path):
    listed, files = ucf(tmp_path)
    questions = Path(shutil.copy(listed, tmp_path / "alone.jsonl"))  # no clip list beside it
    asked = [question.video for question in read_questions(questions)]
    places = [
        f"part{k % 2}/{clip}{ending}"
        for k, (clip, ending) in enumerate(zip(asked, (".webm", ".AVI", ".mkv", ""), strict=True))
    ]
    videos = touch(tmp_path / "videos", [*places[:3], places[3] + "/00001.jpg", "notes.txt"])
    conversations, relative = named_files(questions, tmp_path / "out", videos=videos)
    for found in relative.values():
        assert found == places
    for found in conversations.values():
        assert found == [f"{videos}/{place}" for place in places]
    again = touch(tmp_path / "again", files)  # what the lists name is there: nothing is looked for
    touch(again / "copies", files)
    assert sorted(named_files(listed, tmp_path / "out2", videos=again)[1]["lmms-eval"]) == files


def test_clips_that_are_not_in_the_folder_are_named(tmp_path, capsys):
    questions, files = ucf(tmp_path)
    arguments = [
        "export-qa",
        "--questions",
        str(questions),
        "--format",
        "llava",
        "--output",
        str(tmp_path / "q.json"),
    ]
    videos = touch(tmp_path / "videos", files[1:])
    assert main([*arguments, "--videos", str(videos)]) == 2
    assert "lacks 1 clips that are asked about: v_ApplyEyeMakeup_g01_c01" in capsys.readouterr().err
    touch(videos, ["v_ApplyEyeMakeup_g01_c01.webm", "old/v_ApplyEyeMakeup_g01_c01.avi"])
    assert main([*arguments, "--videos", str(videos)]) == 2
    assert "is there as old/v_ApplyEyeMakeup_g01_c01.avi and as v_Apply" in capsys.readouterr().err
    assert main([*arguments, "--videos", str(tmp_path / "absent")]) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "q.json").exists()


def test_official_through_the_command(built, questions, tmp_path, capsys):
    arguments = ["--questions", str(built / "val_questions.jsonl"), "--format", "official"]
    assert main(["export-qa", *arguments, "--output", str(tmp_path / "o.json")]) == 0
    official = [question.as_question() for question in read_official(tmp_path / "o.json")]
    assert [(q.video, q.options, q.answer) for q in official] == [
        (q.video, q.options, q.answer) for q in questions
    ]
    capsys.readouterr()
    assert main(["export-qa", "--questions", "absent.jsonl", "--format", "llava", "--output", "x"]) == 2
    assert "absent.jsonl" in capsys.readouterr().err


def test_available_only_asks_the_same_questions_about_fewer_clips(built, tmp_path):
    train, val = tables("minigym")
    videos = tmp_path / "videos"
    videos.mkdir()
    for clip in (*train.clips[::3], *val.clips[::2]):
        (videos / clip.file).touch()
    config = source("minigym").config(tmp_path / "part", videos=videos, available_only=True, balance="none")
    build_qa(config)
    build_qa(source("minigym").config(tmp_path / "whole", balance="none"))
    whole = {question.id: question for question in read_questions(tmp_path / "whole" / "val_questions.jsonl")}
    part = read_questions(tmp_path / "part" / "val_questions.jsonl")
    assert part == [whole[clip.clip_id] for clip in val.clips[::2]]
