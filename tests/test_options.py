"""Options that cannot be chosen from are refused by every verb that asks or teaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mllm_sources import easy_questions, easy_store, question_file

from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.options import check_options
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.prompts import PromptConfig

FAULTS = {
    "empty": ("leap", "", "salto", "turn"),
    "blank": ("leap", "salto", " \t\n", "turn"),
    "twice": ("leap", "salto", "turn", "leap"),
    "twice but for case and space": ("leap", "giant circle", "turn", " Giant  circle."),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, language_model) -> Path:
    folder = tmp_path_factory.mktemp("options")
    (folder / "lm").symlink_to(language_model)
    questions = easy_questions(8)
    easy_store(folder / "features", questions)
    question_file(folder / "good.jsonl", questions)
    for name, options in FAULTS.items():
        bad = [*questions[:3], replace(questions[3], options=options, answer=0), *questions[4:]]
        question_file(folder / f"{name}.jsonl", bad)
    run(folder, folder / "good.jsonl", folder / "model")
    return folder


def run(world: Path, questions: Path, output: Path, **changes: object) -> None:
    settings = {
        "language_model": str(world / "lm"),
        "precision": "fp32",
        "prompt": PromptConfig(answer="letter"),
        "lora": LoraOptions(rank=2),
        "max_steps": 1,
        "align_steps": 2,
        "trainer": {"disable_tqdm": True},
    }
    finetune(FinetuneConfig(questions, output, world / "features", **{**settings, **changes}))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_verbs_refuse_them(world, tmp_path, capsys, fault):
    bad = world / f"{fault}.jsonl"
    what = "the same option twice" if "twice" in fault else "a blank option"
    message = rf"{fault}\.jsonl: the question 'train0003' holds {what}"
    with pytest.raises(SefarMLLMError, match=message):
        run(world, bad, tmp_path / "run")
    with pytest.raises(SefarMLLMError, match=message):
        run(world, world / "good.jsonl", tmp_path / "run", validation=bad)
    arguments = ["--checkpoint", str(world / "model"), "--questions", str(bad)]
    features = ["--features", str(world / "features"), "--output", str(tmp_path / "run")]
    assert main(["evaluate", *arguments, *features]) == 2
    assert what in capsys.readouterr().err
    assert main(["ask", str(tmp_path), str(bad), *arguments[:2], "--output", str(tmp_path / "run")]) == 2
    assert what in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_repeats_pass_where_they_are_allowed(world, tmp_path, capsys):
    twice = world / "twice.jsonl"
    run(world, twice, tmp_path / "run", allow_repeats=True)
    arguments = ["--checkpoint", str(tmp_path / "run"), "--questions", str(twice), "--allow-repeats"]
    features = ["--features", str(world / "features"), "--output", str(tmp_path / "answers")]
    assert main(["evaluate", *arguments, *features]) == 0
    with pytest.raises(SefarMLLMError, match="a blank option"):
        run(world, world / "empty.jsonl", tmp_path / "again", allow_repeats=True)


def test_open_and_different_options_pass():
    good = easy_questions(3)
    check_options([*good, replace(good[0], options=())], "here")
    check_options([replace(good[0], options=("turn", "1 turn", "turns", "A"))], "here")
    with pytest.raises(SefarMLLMError, match=r"here: 2 questions \('train0000' is the first\) hold"):
        check_options([replace(question, options=("a", "a")) for question in good[:2]], "here")
