"""Evaluation with its controls on a tiny model that has learned its classes, and the files it writes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mllm_sources import NAMES, easy_questions, easy_store, question_file

from encoder.features.store import FeatureStore
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.controls import CONTROLS, Control, Outcome, circular, other_clips, shifted
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.evaluation.prediction_file import read_answers
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.prediction import Answer
from sefar_mllm.model.prompts import PromptConfig
from sefar_mllm.report import read_results
from sefar_mllm.statistics import wilson_interval

COUNT = 48


@pytest.fixture(scope="module")
def world(tmp_path_factory, language_model, taught) -> Path:
    """A model that has learned its classes, and 48 validation questions with features in three orders."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "lm").symlink_to(language_model)
    (folder / "taught").symlink_to(taught)
    train, validation = easy_questions(24), easy_questions(COUNT, "val")
    question_file(folder / "train.jsonl", train)
    question_file(folder / "val.jsonl", validation)
    easy_store(folder / "features", train + validation)
    permute(folder, "reversed", [2, 1, 0])
    permute(folder, "shuffled", [1, 2, 0])
    return folder


def permute(world: Path, order: str, places: list[int]) -> None:
    """A store as extraction in another order would make it of an encoder that takes frames one by one."""
    filmed = FeatureStore.open(world / "features")
    facts = replace(filmed.facts, fingerprint=f"{filmed.fingerprint}-{order}")
    (world / order).mkdir()
    FeatureStore(world / order, facts, {}).add({clip: filmed[clip][:, places] for clip in filmed.shards})


def configure(world: Path, output: Path, **changes) -> EvaluateConfig:
    base = EvaluateConfig(
        world / "val.jsonl", output, world / "taught", world / "features", name="tiny", precision="fp32"
    )
    return replace(base, **changes)


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def controlled(world) -> Path:
    """An evaluation with every control."""
    output = world / "controlled"
    evaluate(
        configure(
            world,
            output,
            no_video=True,
            other_video=True,
            circular=True,
            shuffled=world / "shuffled",
            reversed=world / "reversed",
            lmms_eval=True,
        )
    )
    return output


def test_controls_stand_beside_the_score(world, controlled):
    rows = {row.encoder: row for row in read_results(controlled / "results.json")}
    assert list(rows)[:6] == [
        "tiny",
        "tiny: no video",
        "tiny: another clip's video",
        "tiny: frames shuffled",
        "tiny: frames reversed",
        "tiny: right in every order of options",
    ]
    assert [row.control for row in rows.values()] == [False, *[True] * (len(rows) - 1)]
    assert rows["tiny"].accuracy > 0.9
    other = rows["tiny: another clip's video"]
    assert other.ci_low <= 0.25 <= other.ci_high
    assert rows["tiny: no video"].accuracy < 0.7
    # The features of these clips differ from token to token: a model that learned them needs their order.
    assert rows["tiny: frames reversed"].accuracy < 0.9
    for file in ("no-video", "other-video", "shuffled", "reversed"):
        assert [line["id"] for line in lines(controlled / f"controls/{file}.jsonl")] == [
            question.id for question in read_questions(world / "val.jsonl")
        ]
    metrics = json.loads((controlled / "metrics.json").read_text(encoding="utf-8"))
    own, shown = (lines(controlled / file) for file in ("predictions.jsonl", "controls/other-video.jsonl"))
    gap = np.mean([row["choice"] == row["answer"] for row in own]) - np.mean(
        [row["choice"] == row["answer"] for row in shown]
    )
    tested = next(one for one in metrics["differences"] if one["b"] == "tiny: another clip's video")
    assert tested["points"] == pytest.approx(100 * gap)
    assert tested["low"] > 0
    assert tested["mcnemar_p"] < 0.01


def test_no_question_is_ever_left_out(world, controlled):
    questions = read_questions(world / "val.jsonl")
    rows = lines(controlled / "predictions.jsonl")
    assert len(rows) == len(questions) == COUNT
    metrics = json.loads((controlled / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["n"] == COUNT
    right = sum(row["choice"] == row["answer"] for row in rows)
    assert (metrics["ci_low"], metrics["ci_high"]) == wilson_interval(right, COUNT)
    measured = metrics["answers"][0]
    for groups in measured["groups"].values():
        assert sum(group["n"] for group in groups) == COUNT
    assert sum(b["n"] for b in measured["calibration"]) == COUNT


def test_a_score_that_is_no_number_is_an_answer_that_counts_as_wrong(world, tmp_path, monkeypatch):
    import sefar_mllm.inference.respondent

    original = sefar_mllm.inference.respondent.score_questions

    def broken(*args, **more):
        scores = original(*args, **more)
        scores[0] = {name: [float("nan")] * 4 for name in scores[0]}
        return scores

    monkeypatch.setattr(sefar_mllm.inference.respondent, "score_questions", broken)
    metrics = evaluate(configure(world, tmp_path))
    rows = lines(tmp_path / "predictions.jsonl")
    assert len(rows) == metrics.n == COUNT
    assert (rows[0]["choice"], rows[0]["probabilities"]) == (None, [])
    assert metrics.accuracy == sum(row["choice"] == row["answer"] for row in rows) / COUNT


def test_lmms_evals_layout_holds_every_answer(world, controlled):
    (folder,) = (controlled / "lmms-eval").iterdir()
    (samples,), (results,) = folder.glob("*_samples_gym_qa.jsonl"), folder.glob("*_results.json")
    questions = read_questions(world / "val.jsonl")
    ours = read_answers(controlled / "predictions.jsonl", questions)
    read = read_answers(samples, questions)
    assert [answer.choice for answer in read] == [answer.choice for answer in ours]
    found = json.loads(results.read_text(encoding="utf-8"))
    metrics = json.loads((controlled / "metrics.json").read_text(encoding="utf-8"))
    task = found["results"]["gym_qa"]
    assert task["gym_qa_accuracy,none"] == metrics["accuracy"]
    right = [row["gym_qa_accuracy"] for row in lines(samples)]
    assert task["gym_qa_accuracy_stderr,none"] == pytest.approx(np.std(right, ddof=1) / COUNT**0.5)
    assert found["n-samples"]["gym_qa"] == {"original": COUNT, "effective": COUNT}


def test_features_in_another_order_are_not_taken_for_filmed_ones(world, tmp_path):
    with pytest.raises(SefarMLLMError, match="another encoder"):
        evaluate(configure(world, tmp_path / "out", features=world / "reversed"))
    with pytest.raises(SefarMLLMError, match="another encoder"):
        evaluate(configure(world, tmp_path / "out", shuffled=world / "reversed"))
    with pytest.raises(SefarMLLMError, match="name its --features"):
        evaluate(configure(world, tmp_path / "out", features=None))
    assert not (tmp_path / "out").exists()


def test_circular_is_right_in_every_rotation_of_the_file(world, tmp_path):
    """Against each rotation evaluated by itself, with a prompt that lists the options."""
    lm, train = str(world / "lm"), world / "train.jsonl"
    model = finetune(
        FinetuneConfig(
            train, tmp_path / "m", world / "features", language_model=lm, precision="fp32", max_steps=2,
            align_steps=5, trainer={"disable_tqdm": True}, prompt=PromptConfig(answer="letter"),
        )
    )  # fmt: skip
    config = configure(world, tmp_path / "out", checkpoint=model, circular=True, pmi=False)
    evaluate(config)
    questions = read_questions(world / "val.jsonl")
    right = np.ones(COUNT, bool)
    for by in range(4):
        file = question_file(tmp_path / f"{by}.jsonl", [shifted(q, by) for q in questions])
        evaluate(replace(config, questions=file, output=tmp_path / str(by), circular=False))
        rows = lines(tmp_path / str(by) / "predictions.jsonl")
        right &= [row["choice"] == row["answer"] for row in rows]
    row = read_results(tmp_path / "out" / "results.json")[1]
    assert row.encoder == "tiny: right in every order of options"
    assert row.accuracy == right.mean()


def test_a_control_is_one_entry(world, tmp_path, monkeypatch):
    def always_first(given):
        return Outcome([Answer(0)] * len(given.questions), "made up")

    monkeypatch.setitem(CONTROLS, "first", Control("always the first option", always_first, frames=""))
    evaluate(configure(world, tmp_path, controls=["first"]))
    row = read_results(tmp_path / "results.json")[1]
    questions = read_questions(world / "val.jsonl")
    share = sum(question.answer == 0 for question in questions) / COUNT
    assert (row.encoder, row.accuracy, row.note) == ("tiny: always the first option", share, "made up")
    assert [line["choice"] for line in lines(tmp_path / "controls/first.jsonl")] == [0] * COUNT
    with pytest.raises(SefarMLLMError, match="no control 'second'; there are no-video"):
        evaluate(configure(world, tmp_path, controls=["second"]))


# Controls without a model -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 11), min_size=8, max_size=60), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_another_clip_is_of_another_class(labels, seed):
    questions = [
        Question(f"q{i}", f"c{i}", "?", (NAMES[label], NAMES[(label + 1) % 12]), 0)
        for i, label in enumerate(labels)
    ]
    if max(Counter(labels).values()) > len(labels) / 2:
        with pytest.raises(SefarMLLMError, match="more than half are of one class"):
            other_clips(questions, seed)
        return
    shown = other_clips(questions, seed)
    assert sorted(shown) == sorted(shown.values())
    label = {f"c{i}": label for i, label in enumerate(labels)}
    assert all(label[clip] != label[other] for clip, other in shown.items())
    assert shown == other_clips(questions[::-1], seed)


def test_another_clip_is_of_none_of_the_options_where_there_are_enough():
    questions = easy_questions(60)
    shown = other_clips(questions, 3)
    label = {q.video: NAMES[q.label] for q in questions}
    assert all(label[shown[q.video]] not in q.options for q in questions)
    assert shown != other_clips(questions, 4)


def test_shifting_moves_every_option_under_every_letter():
    question = replace(easy_questions(2)[1], option_labels=(5, 1, 8, 2))
    rotations = [shifted(question, by) for by in range(4)]
    assert rotations[0] == question
    assert {rotation.options[rotation.answer] for rotation in rotations} == {
        question.options[question.answer]
    }
    assert {rotation.answer for rotation in rotations} == {0, 1, 2, 3}
    for place in range(4):
        assert {rotation.options[place] for rotation in rotations} == set(question.options)
    assert all(
        dict(zip(r.options, r.option_labels, strict=True))[question.options[0]] == 5 for r in rotations
    )


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_circular_tells_right_from_wrong_in_original_places(data):
    question = easy_questions(3)[2]
    picked = [data.draw(st.sampled_from([*question.options, None])) for _ in range(4)]
    runs = [
        [Answer(None if text is None else shifted(question, by).options.index(text))]
        for by, text in enumerate(picked)
    ]
    choice = circular([question], runs)[0].choice
    wrong = [text for text in picked if text != question.options[question.answer]]
    expected = wrong[0] if wrong else question.options[question.answer]
    assert (None if choice is None else question.options[choice]) == expected
    assert (choice == question.answer) == (not wrong)
