"""The video of origin: from the question file into the clustered intervals; guessed only where it lacks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from published_sets import MAKERS

from gym_qa.questions.questions import read_questions, write_questions
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.metrics import AnswerSet, difference
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.inference.prediction import Answer
from sefar_mllm.statistics import clustered_bootstrap, paired_difference


@pytest.fixture(params=MAKERS)
def file(request, tmp_path):
    """The validation questions of a small data set."""
    data, output = tmp_path / request.param, tmp_path / "qa"
    data.mkdir()
    MAKERS[request.param](data)
    arguments = [
        "--dataset",
        request.param,
        "--data",
        str(data),
        "--output",
        str(output),
        "--fraction",
        "0.5",
    ]
    assert main(["build-qa", *arguments, "--policy", "uniform", "--balance", "none"]) == 0
    return output / "val_questions.jsonl"


def answered(asked, name, right):
    """Answers that are right where ``right`` says so."""
    answers = [
        Answer(q.answer if fine else (q.answer + 1) % 4)
        for q, fine in zip(asked.questions, right, strict=True)
    ]
    return AnswerSet(name, (answers,))


def test_intervals_are_of_the_videos_that_the_file_names(file):
    asked = QuestionSet.open(file)
    sources = [question.source for question in asked.questions]
    assert asked.sources == sources
    names = sorted(set(sources))
    right = [names.index(source) % 2 == 0 for source in sources]
    scored, other = answered(asked, "a", right), answered(asked, "b", [True] * len(sources))
    metrics = scored.metrics(asked, seed=3)
    assert metrics.source_videos == len(names)
    assert metrics.source_videos_note == scored.row(asked).note == ""
    if len(names) == 1:  # FineDiving's validation is one competition here
        assert metrics.clustered_ci_low is None
        return
    expected = clustered_bootstrap(right, sources, seed=3)
    assert (metrics.clustered_ci_low, metrics.clustered_ci_high) == expected
    tested = difference(scored, other, asked, seed=3)
    assert tested.test == paired_difference(right, [True] * len(sources), sources, 3)


def test_a_file_without_sources_is_read_and_says_so(file):
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    clips = [f"video{number % 3}_E_000000_000001_A_0000_{number:04d}" for number in range(len(rows))]
    old = [
        {key: value for key, value in {**row, "id": clip, "video": clip}.items() if key != "source"}
        for row, clip in zip(rows, clips, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in old), "utf-8")
    asked = QuestionSet.open(file)
    assert asked.sources == [f"video{number % 3}" for number in range(len(rows))]
    scored = answered(asked, "a", [True] * len(rows))
    note = f"source videos of {len(rows)} of {len(rows)} questions taken from their clip ids"
    assert scored.row(asked).note == note
    assert scored.metrics(asked).source_videos_note == note
    # Some with, some without: each by what is known of it.
    questions = read_questions(file)
    write_questions(file, [replace(questions[0], source="elsewhere"), *questions[1:]])
    asked = QuestionSet.open(file)
    assert asked.sources[:2] == ["elsewhere", "video1"]
    assert f"{len(rows) - 1} of {len(rows)}" in answered(asked, "a", [True] * len(rows)).row(asked).note


@pytest.mark.parametrize("wrong", [7, ["a"], {"a": 1}, True])
def test_a_source_that_is_no_text_is_refused(file, wrong, capsys):
    row = json.loads(file.read_text("utf-8").splitlines()[0])
    file.write_text(json.dumps({**row, "source": wrong}) + "\n", "utf-8")
    assert main(["audit-qa", "--questions", str(file)]) == 2
    assert "line 1" in (said := capsys.readouterr().err)
    assert "source" in said


def test_a_question_file_beside_other_classes_is_refused_before_anything_runs(file):
    classes = json.loads((file.parent / "classes.json").read_text("utf-8"))
    (file.parent / "classes.json").write_text(json.dumps(classes[:2]), "utf-8")
    with pytest.raises(Exception, match="beyond the 2 classes") as error:
        QuestionSet.open(file)
    assert not isinstance(error.value, SefarMLLMError | IndexError)
