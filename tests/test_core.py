"""A core of a question file: what it keeps of the whole, and that it ranks models that did not choose it."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_qa.benchmark.core import agreement, choose_core
from gym_qa.errors import GymQAError
from gym_qa.questions.questions import Question, read_questions, write_questions
from sefar_mllm.cli import main


def made(n, paired=False):
    return [
        Question(f"q{k}", f"v{k}", "Which?", ("a", "b", "c", "d"), k % 4, pair=f"p{k // 2}" if paired else "")
        for k in range(n)
    ]


def answerers(count, n, seed, skills=(-1.5, 2.5)):
    """Whether simulated answerers are right: the Rasch model, with two kinds of questions."""
    rng = np.random.default_rng(seed)
    skill = np.linspace(*skills, count)[:, None] + rng.normal(0, 0.8, (count, 2))[:, rng.integers(0, 2, n)]
    return (rng.random((count, n)) < 1 / (1 + np.exp(rng.normal(0, 1.2, n) - skill))).astype(float)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 60), st.data(), st.booleans())
def test_a_core_has_its_size_and_whole_pairs(half, data, paired):
    questions = made(2 * half, paired)
    size = data.draw(st.integers(2, 2 * half - 1))
    core = choose_core(questions, answerers(3, 2 * half, 0).tolist(), size, seed=1)
    assert core == sorted(set(core))
    assert len(core) == size - (size % 2 if paired else 0)
    if paired:
        assert set(Counter(questions[place].pair for place in core).values()) == {2}


def test_a_core_keeps_accuracies_and_letters():
    questions, right = made(3000), answerers(14, 3000, 2)
    core = choose_core(questions, right.tolist(), 500)
    error = np.abs(right[:, core].mean(1) - right.mean(1))
    drawn = [np.random.default_rng(seed).permutation(3000)[:500] for seed in range(20)]
    random = np.mean([np.abs(right[:, rows].mean(1) - right.mean(1)).mean() for rows in drawn])
    assert error.max() < 0.005
    assert error.mean() < random / 5
    letters = Counter(questions[place].answer for place in core)
    assert max(letters.values()) - min(letters.values()) <= 4
    assert core == choose_core(questions, right.tolist(), 500)
    assert core != choose_core(questions, right.tolist(), 500, seed=1)


def test_a_core_ranks_others_better_than_chance_questions():
    """Simulated answerers, some near one another; those that are ranked took no part in choosing."""
    questions, right = made(3000), answerers(28, 3000, 3, (-0.8, 1.2))
    found = agreement(questions, right.tolist(), 500)
    assert found.ranked == 14
    assert found.low <= found.spearman <= found.high <= 1
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        core, ranked = rng.permutation(3000)[:500], rng.permutation(28)[:14]
        errors.append(((right[ranked][:, core].mean(1) - right[ranked].mean(1)) ** 2).mean())
    assert found.error < 0.95 * np.sqrt(np.mean(errors))
    assert found.spearman > 0.97


def test_answerers_with_equal_scores_have_no_ranking():
    with pytest.raises(GymQAError, match="no ranking"):
        agreement(made(40), [[1.0, 0.0] * 20] * 6, 10)
    with pytest.raises(GymQAError, match="at least 4 models"):
        agreement(made(40), answerers(3, 40, 0).tolist(), 10)
    for size in (1, 40, 41):
        with pytest.raises(GymQAError, match=f"size {size}: expected 2 to 39"):
            choose_core(made(40), [], size)


def test_the_verb_reads_answers_and_writes_a_question_file(tmp_path, capsys):
    questions, right = made(200), answerers(12, 200, 4)
    write_questions(tmp_path / "q.jsonl", questions)
    (tmp_path / "answers").mkdir()
    for name, row in enumerate(right):
        with (tmp_path / "answers" / f"m{name:02d}.csv").open("w", newline="", encoding="utf-8") as file:
            letters = [
                "ABCD"[q.answer if hit else (q.answer + 1) % 4] for q, hit in zip(questions, row, strict=True)
            ]
            rows = zip((q.id for q in questions), letters, strict=True)
            csv.writer(file).writerows([("id", "prediction"), *rows])
    arguments = [
        "--questions",
        str(tmp_path / "q.jsonl"),
        "--size",
        "60",
        "--output",
        str(tmp_path / "c.jsonl"),
    ]
    assert main(["core-qa", *arguments, "--predictions", f"[{tmp_path / 'answers'}]"]) == 0
    printed = capsys.readouterr().out
    core = read_questions(tmp_path / "c.jsonl")
    assert core == [questions[place] for place in choose_core(questions, right.tolist(), 60)]
    assert str(agreement(questions, right.tolist(), 60)) in printed
    only = f"[{tmp_path / 'answers' / 'm00.csv'}]"
    assert main(["core-qa", *arguments, "--predictions", only]) == 2
    assert "predictions of 1 models: expected at least 4" in capsys.readouterr().err
