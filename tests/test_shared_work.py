"""Verbs that processes share: two of them leave the same results as one, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from encoder_videos import write_direction_set
from mllm_runs import log
from mllm_sources import easy_questions, question_file
from processes import Launch
from processes import verbs as run_verbs

from encoder.features.store import FeatureStore
from encoder.model.sefar import SefarEncoder
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.cli import main
from sefar_mllm.finetuning.beginning import drawn

CLIPS = 5
TIMES = {"seconds", "timings", "output", "checkpoint", "features", "encoder", "options", "settings"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, language_model) -> Path:
    """Clips that move left or right, an encoder, questions about them, and a language model."""
    folder = tmp_path_factory.mktemp("shared")
    torch.manual_seed(0)
    SefarEncoder(2, {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 1, "heads": 2}).save_pretrained(
        folder / "encoder"
    )
    write_direction_set(folder / "clips", CLIPS, "clip")
    asked = [
        Question(f"q{number}", f"clip{number % CLIPS}", q.question, q.options, q.answer, q.label)
        for number, q in enumerate(easy_questions(2 * CLIPS + 1))
    ]
    question_file(folder / "questions.jsonl", asked)
    (folder / "lm").symlink_to(language_model)
    return folder


def verbs(world: Path, output: Path, batch: int) -> list[list[str]]:
    """Every verb that processes share, in the order in which they need one another."""
    questions, clips = str(world / "questions.jsonl"), str(next((world / "clips").glob("*.csv")))
    store, taught, lm = str(output / "store"), str(output / "taught"), str(world / "lm")
    quiet = "trainer: {disable_tqdm: true}"
    few = f"{{language_model: {lm}, precision: fp32, max_steps: 2, align_steps: 5, {quiet}}}"
    tune = ["--language_model", lm, "--precision", "fp32", "--max_steps", "2", "--align_steps", "5"]
    follow = ["--validation", questions, "--validation_size", "9", "--evaluate_every", "1"]
    return [
        ["extract-features", "--encoder", f"sefar:{world / 'encoder'}", "--clips", f"[{clips}]",
         "--output", store, "--views", "2", "--workers", "0", "--batch", "2"],
        ["evaluate-encoder", "--encoder", str(world / "encoder"), "--clips", clips, "--output",
         str(output / "encoder"), "--workers", "0", "--batch", "2", "--short_side", "32"],
        ["finetune", "--questions", questions, "--features", store, "--output", taught, *tune, *follow,
         "--batch_size", str(batch), "--trainer", "{disable_tqdm: true, logging_steps: 1}"],
        ["evaluate", "--checkpoint", str(world / "taught"), "--questions", questions, "--features", store,
         "--output", str(output / "answers"), "--precision", "fp32", "--generate", "--circular", "--no-video",
         "--batch_size", "4"],
        ["ask", str(world / "clips"), questions, "--checkpoint", str(world / "taught"), "--output",
         str(output / "ask"), "--precision", "fp32", "--batch_size", "2"],
        ["compare", "--encoders", f"[A=sefar:{world / 'encoder'}]", "--output", str(output / "compare"),
         "--train_questions", questions, "--questions", questions, "--video_root", str(world / "clips"),
         "--seeds", "2", "--finetune", few, "--features", "{workers: 0}", "--text_only", "false",
         "--frame_orders", "false", "--circular", "false"],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def results(world) -> tuple[Path, Path]:
    """The folders of one process and of two."""
    one, two = world / "one", world / "two"
    first, *rest = verbs(world, one, 8)
    assert main(first) == 0
    taught = rest[1][:]
    taught[taught.index("--output") + 1] = str(world / "taught")
    assert main(taught) == 0
    assert all(main(verb) == 0 for verb in rest)
    Launch(run_verbs, verbs(world, two, 4), logs=world / "logs", processes=2).finish()
    return one, two


def without_times(value: object) -> object:
    """JSON values without what differs from run to run: seconds, and the folders themselves."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, object]:
    """Every result file; JSON without times."""
    found: dict[str, object] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.suffix == ".json":
            found[str(file.relative_to(folder))] = without_times(json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix not in (".html", ".md"):  # they tell times and folders
            found[str(file.relative_to(folder))] = file.read_bytes()
    return found


@pytest.mark.parametrize("part", ["encoder", "answers", "ask", "compare/answers"])
def test_two_processes_leave_what_one_leaves(results, part):
    one, two = (contents(folder / part) for folder in results)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    wanted = {"encoder": "predictions.csv", "answers": "controls/circular.jsonl", "ask": "answers.jsonl"}
    assert wanted.get(part, "A/seed-1/predictions.jsonl") in one


def test_models_of_a_comparison_are_those_of_one_process(results):
    one, two = (contents(folder / "compare/mllm") for folder in results)
    weights = [name for name in one if name.endswith(".safetensors")]
    assert len(weights) == 4
    assert all(one[name] == two[name] for name in weights)
    stages = [json.loads((folder / "compare/stages.json").read_text(encoding="utf-8")) for folder in results]
    assert stages[0]["seconds"].keys() == stages[1]["seconds"].keys()


def test_a_store_of_two_processes_holds_what_that_of_one_holds(results):
    one, two = (FeatureStore.open(folder / "store") for folder in results)
    assert sorted(one.shards) == sorted(two.shards) == [f"clip{number}" for number in range(CLIPS)]
    assert all(torch.equal(one[clip], two[clip]) for clip in one.shards)
    assert set(two.shards.values()) == {"features-00000.safetensors", "features-1-00000.safetensors"}
    assert one.facts == two.facts


def test_validation_is_shared_and_of_a_size_to_choose(results, world):
    one, two = (
        [row["eval_accuracy"] for row in log(folder / "taught") if "eval_accuracy" in row]
        for folder in results
    )
    assert one == two
    assert len(one) == 2
    assert all((9 * accuracy) == pytest.approx(round(9 * accuracy)) for accuracy in one)
    questions = read_questions(world / "questions.jsonl")
    subset = drawn(questions, 9, 0)
    assert [q for q in questions if q in subset] == subset
    assert len(subset) == 9
    assert drawn(questions, 9, 1) != subset == drawn(questions, 9, 0)
    assert drawn(questions, None, 0) == drawn(questions, 99, 0) == questions


def test_shards_of_a_stopped_process_are_taken_in(results):
    store = FeatureStore.open(results[1] / "store")
    clips = dict(store.shards)
    store.shards = {clip: name for clip, name in clips.items() if "-1-" not in name}
    store.write_index()
    assert FeatureStore.open(store.path).take_in().shards == clips
    assert FeatureStore.open(store.path).shards == clips


def test_one_question_is_no_work_for_two(world, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["ask", str(world / "clips/clip0.mp4"), "What is it?", "--options", "[a, b]"]) == 2
    assert "2 processes were launched for one question" in capsys.readouterr().err
