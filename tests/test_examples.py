"""The examples run as they are shipped, on videos and models made small."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import Launch, script

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *words: object, logs: Path) -> str:
    return Launch(script, EXAMPLES / name, *map(str, words), logs=logs).finish()


def test_a_linear_probe_of_features(directions, tmp_path):
    lists = directions / "labelled.csv", directions / "val.csv"
    said = run("linear_probe.py", *lists, "--encoder", "efficientnet-lite0?image_size=32", logs=tmp_path)
    assert "5120 numbers a clip, 8 clips to learn from" in said
    assert "linear probe" in said
    assert "commonest class    50.0 %" in said


def test_own_questions_from_videos_to_an_answer(directions, sefar, language_model, tmp_path):
    output = tmp_path / "own"
    settings = ["--encoder", f"sefar:{sefar}", "--language-model", language_model, "--steps", 2]
    said = run("own_questions.py", directions / "labelled.csv", "--output", output, *settings, logs=tmp_path)
    lines = said.strip().splitlines()[-3:]
    assert {line.split("%")[1].strip() for line in lines[:2]} == {"darker", "brighter"}
    assert sum(float(line.split("%")[0]) for line in lines[:2]) == pytest.approx(100, abs=0.2)
    assert lines[2].endswith("it is darker")
    assert len((output / "questions.jsonl").read_text(encoding="utf-8").splitlines()) == 8


def test_a_control_that_is_plugged_in(lesson, taught, tmp_path):
    places = {
        "checkpoint": taught,
        "questions": lesson / "val.jsonl",
        "features": lesson / "features",
        "output": tmp_path / "answers",
    }
    words = [word for name, value in places.items() for word in (f"--{name}", value)]
    said = run("plug_in_control.py", *words, "--precision", "fp32", logs=tmp_path)
    assert "in other words" in said
    assert "of 12 answers stay" in said
    asked = (tmp_path / "answers/controls/other-words.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(asked) == 12
