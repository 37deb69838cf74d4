"""Files of one set only: element lists with the categories or the annotation of another set are refused."""

from __future__ import annotations

import json
import re

import pytest
from gym_qa_sources import SOURCES, source

from gym_qa.benchmark.build import build_qa
from gym_qa.datasets.finegym import EVENTS, ClipId
from sefar_mllm.cli import main


def category_lines(name):
    return source(name).categories.read_text("utf-8").splitlines()


def numbered(lines):
    """Category lines with new Clabels, 0 to their number."""
    return [re.sub(r"^Clabel:\s*\d+", f"Clabel: {label}", line) for label, line in enumerate(lines)]


def disagreeing(name, lines):
    """Slow reference: numbers of the training list's lines whose event is not that of their label."""
    annotation = json.loads(source(name).annotation.read_text("utf-8"))
    events = [re.search(r"\((..)\)", line)[1] for line in lines]
    found = []
    for number, line in enumerate(source(name).train.read_text("utf-8").splitlines(), 1):
        clip, label = line.split()
        parts = ClipId.parse(clip, "")
        if EVENTS[annotation[parts.video][parts.event]["event"]] != events[int(label)]:
            found.append(number)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_larger_sets_categories_are_refused_by_event(name, tmp_path, capsys):
    lines = category_lines(name)
    larger = numbered([line for line in lines for _ in range(3)])
    (tmp_path / "larger.txt").write_text("\n".join(larger), "utf-8")
    wrong = disagreeing(name, larger)
    assert 0 < len(wrong) < len(source(name).train.read_text("utf-8").splitlines())
    arguments = [*source(name).arguments(), "--categories", str(tmp_path / "larger.txt")]
    assert main(["build-qa", "--output", str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr().err
    assert f"{source(name).train}, line {wrong[0]}: " in said
    assert f"{len(wrong)} of " in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SOURCES)
def test_a_smaller_sets_categories_are_refused_by_label(name, tmp_path, capsys):
    smaller = category_lines(name)[:-3]
    (tmp_path / "smaller.txt").write_text("\n".join(smaller), "utf-8")
    labels = [int(line.split()[1]) for line in source(name).train.read_text("utf-8").splitlines()]
    unknown = [number for number, label in enumerate(labels, 1) if label >= len(smaller)]
    arguments = [*source(name).arguments(), "--categories", str(tmp_path / "smaller.txt")]
    assert main(["build-qa", "--output", str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr().err
    assert f"{source(name).train}, line {unknown[0]}: label {labels[unknown[0] - 1]} " in said
    assert f"{len(unknown)} of {len(labels)} lines" in said


@pytest.mark.parametrize("name", SOURCES)
def test_a_larger_sets_categories_are_refused_by_count(name, tmp_path, capsys):
    lines = category_lines(name)
    larger = numbered([*lines, *lines[-2:]])  # the added classes are of the last event: no event disagrees
    (tmp_path / "larger.txt").write_text("\n".join(larger), "utf-8")
    assert disagreeing(name, larger) == []
    arguments = [*source(name).arguments(), "--categories", str(tmp_path / "larger.txt")]
    assert main(["build-qa", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert f"holds {len(larger)} classes" in (said := capsys.readouterr().err)
    assert f"exactly the first {len(lines)} of them" in said


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("event", [None, 5, "UB", True, 4.0])
def test_an_annotation_must_say_its_events(name, event, tmp_path, capsys):
    annotation = json.loads(source(name).annotation.read_text("utf-8"))
    body = next(iter(next(iter(annotation.values())).values()))
    body["event"] = event
    (tmp_path / "annotation.json").write_text(json.dumps(annotation), "utf-8")
    arguments = [*source(name).arguments(), "--annotation", str(tmp_path / "annotation.json")]
    assert main(["build-qa", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert f"got {event!r}" in capsys.readouterr().err


@pytest.mark.parametrize("name", SOURCES)
def test_audit_refuses_questions_with_another_sets_classes(name, tmp_path, capsys):
    build_qa(source(name).config(tmp_path, recipe="official"))
    lines = category_lines(name)
    other = numbered([line for line in lines for _ in range(2)])
    (tmp_path / "other.txt").write_text("\n".join(other), "utf-8")
    events = [re.search(r"\((..)\)", line)[1] for line in other]
    rows = [json.loads(line) for line in (tmp_path / "val_questions.jsonl").read_text("utf-8").splitlines()]
    wrong = [row["id"] for row in rows if row["event"] != events[row["label"]]]
    arguments = ["audit-qa", "--questions", str(tmp_path / "val_questions.jsonl")]
    assert main([*arguments, "--categories", str(tmp_path / "other.txt")]) == 2
    said = capsys.readouterr().err
    assert f"question {wrong[0]}:" in said
    assert f"{len(wrong)} of {len(rows)} questions" in said
    # An official file knows no labels, only texts.
    (tmp_path / "some.txt").write_text("\n".join(lines[:2]), "utf-8")
    arguments = ["audit-qa", "--questions", str(tmp_path / "val_official.json")]
    assert main([*arguments, "--categories", str(tmp_path / "some.txt")]) == 2
    assert "is no class of" in capsys.readouterr().err
    assert main([*arguments, "--categories", str(source(name).categories)]) == 0


@pytest.mark.parametrize("name", SOURCES)
def test_audit_refuses_a_labelled_list_with_another_sets_classes(name, tmp_path, capsys):
    build_qa(source(name).config(tmp_path, recipe="official"))
    lines = category_lines(name)
    (tmp_path / "other.txt").write_text("\n".join(numbered([*lines[1:], lines[0]])), "utf-8")
    arguments = ["audit-qa", "--questions", str(tmp_path / "train_official.json")]
    arguments += ["--labelled", str(tmp_path / "train.csv"), "--categories"]
    assert main([*arguments, str(source(name).categories)]) == 0
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "other.txt")]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "train.csv") in said
    assert re.search(r"[1-9]\d* of \d+ clips disagree", said)
