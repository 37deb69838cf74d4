"""What an audit finds without a video: planted give-aways, nothing where none are, and the page it fills."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_qa.audit.audit import audit
from gym_qa.audit.halves import halves
from gym_qa.audit.page import page
from gym_qa.questions.questions import Question, write_questions
from sefar_mllm.cli import main

WORDS = ["arm", "leg", "turn", "jump", "bow", "roll", "kick", "spin", "hop", "lean", "step", "wave"]


def asked(n, options, answer, text="What is shown?", **more):
    return Question(f"q{n}", more.pop("video", f"v{n}"), text, tuple(options), answer, **more)


def random_questions(n, rng, plant=lambda options, right: options):
    found = []
    for number in range(n):
        right = rng.randrange(4)
        options = [" ".join(rng.sample(WORDS, 3)) for _ in range(4)]
        found.append(asked(number, plant(options, right), right))
    return found


def add(word):
    return lambda options, right: [t + f" {word}" * (k == right) for k, t in enumerate(options)]


def test_the_longest_option_is_seen_by_those_who_look_at_length():
    found = audit(random_questions(400, random.Random(0), add("with both arms")))
    assert found.score("longest option").accuracy == 1
    assert found.score("text classifier").accuracy == 1
    assert found.verdict.startswith("NOT FAIR")


def test_a_word_of_the_right_options_is_learnt():
    def plant(options, right):  # the same number of characters for all
        return [
            f"{text.ljust(20)[:20]} {'slowly' if k == right else 'fastly'}" for k, text in enumerate(options)
        ]

    found = audit(random_questions(400, random.Random(1), plant))
    assert found.score("text classifier").accuracy > 0.97
    assert found.score("longest option").accuracy == pytest.approx(0.25)  # expected credit of a tie


def test_an_answer_that_the_question_tells_is_learnt():
    rng = random.Random(2)
    questions = []
    for n in range(400):
        colour, place = rng.choice(["red", "blue"]), rng.randrange(2)
        options = ["yes", "no"] if place == 0 else ["no", "yes"]
        right = options.index("yes" if colour == "red" else "no")
        questions.append(asked(n, options, right, f"Does the {colour} one win the {rng.choice(WORDS)}?"))
    found = audit(questions)
    assert found.score("text classifier").accuracy > 0.95
    assert found.score("commonest answer").accuracy < 0.6


def test_nothing_is_found_where_there_is_nothing():
    found = audit(random_questions(1000, random.Random(3)))
    for score in found.scores:
        if score.accuracy is not None:
            assert abs(score.accuracy - 0.25) < 0.045, score
    assert not found.verdict.startswith("NOT FAIR")


def test_the_commonest_answer_agrees_with_counting_by_hand():
    rng = random.Random(4)
    questions = []
    for n in range(120):
        options = rng.sample(WORDS, 4)
        weights = [len(WORDS) - WORDS.index(text) for text in options]
        questions.append(asked(n, options, rng.choices(range(4), weights)[0]))
    parts = [set(part) for part in halves(questions)]
    total = 0.0
    for n, question in enumerate(questions):
        other = parts[0] if n in parts[1] else parts[1]
        wins = Counter(questions[m].options[questions[m].answer] for m in other)
        best = max(wins[text] for text in question.options)
        tied = [text for text in question.options if wins[text] == best]
        total += (question.options[question.answer] in tied) / len(tied)
    assert audit(questions).score("commonest answer").accuracy == pytest.approx(total / 120)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_files_in_which_every_option_is_right_equally_often_give_nothing_away(data):
    """Whatever the numbers: those who learn from the other half are right in exactly one of four."""
    questions, n = [], 0
    for _ in range(data.draw(st.integers(1, 4))):
        options = data.draw(st.permutations(WORDS))[:4]
        orders = list(permutations(options))
        for _ in range(data.draw(st.integers(1, 5)) * 2):
            for right in options:
                shown = data.draw(st.sampled_from(orders))
                questions.append(asked(n, shown, shown.index(right)))
                n += 1
    found = audit(questions, guessers=["commonest answer", "option prior"])
    assert found.score("commonest answer").accuracy == pytest.approx(0.25)
    assert found.score("option prior").accuracy == pytest.approx(0.25)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=40))
def test_halves_keep_videos_and_pairs_together(rows):
    questions = [
        asked(n, ["a", "b"], n % 2, video=f"v{video}", pair=f"p{pair}" if pair else "")
        for n, (video, pair) in enumerate(rows)
    ]
    first, second = halves(questions)
    assert sorted(first + second) == list(range(len(rows)))
    for key in ("video", "pair"):
        kept = [{getattr(questions[place], key) for place in part} - {""} for part in (first, second)]
        assert not kept[0] & kept[1]


def test_halves_of_separate_questions_are_even():
    first, second = halves(random_questions(101, random.Random(5)))
    assert abs(len(first) - len(second)) <= 1


def test_one_video_has_no_halves():
    found = audit([asked(n, ["a", "b"], n % 2, video="v") for n in range(10)])
    assert found.score("text classifier").accuracy is None
    assert "at least two videos" in found.score("text classifier").note


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_pairs_show_every_guesser_exactly_chance(count, rng):
    """Two questions of the same text with different answers: who sees the text alone is right in just one."""
    questions = []
    for n in range(count):
        options = rng.sample(WORDS, 2)
        text = f"Which {rng.choice(WORDS)}?"
        questions += [asked(2 * n + k, options, k, text, pair=f"p{n}") for k in range(2)]
    found = audit(questions)
    assert found.pairs == count
    for score in found.scores:
        if score.accuracy is not None:
            assert score.accuracy == pytest.approx(0.5)
            assert score.pair_accuracy <= 0.25 + 1e-9  # one quarter where both options look alike to it
    assert found.score("chance").pair_accuracy == 0.25


def test_kinds_name_the_best_guesser_of_each():
    rng = random.Random(6)
    easy = [asked(n, ["a long one", "b"], 0, event="easy") for n in range(40)]
    even = [asked(100 + n, rng.choice([["x", "y"], ["y", "x"]]), n % 2, event="even") for n in range(40)]
    kinds = {kind.kind: kind for kind in audit(easy + even).kinds}
    assert (kinds["easy"].n, kinds["easy"].accuracy, kinds["easy"].chance) == (40, 1.0, 0.5)
    assert kinds["even"].accuracy < 0.7


def test_the_page_holds_what_was_measured(tmp_path, capsys):
    questions = random_questions(200, random.Random(7), add("slowly"))
    write_questions(tmp_path / "mine.jsonl", questions)
    arguments = ["--questions", str(tmp_path / "mine.jsonl"), "--page", str(tmp_path / "audit.md")]
    assert main(["audit-qa", *arguments]) == 0
    printed = capsys.readouterr().out
    text = (tmp_path / "audit.md").read_text("utf-8")
    found = audit(questions)
    assert text == page(found, "mine.jsonl", "Gym-QA", {})
    assert text.startswith("# What mine.jsonl gives away without a video\n")
    assert found.verdict in text
    assert found.verdict in printed
    for score in found.scores:
        row = next(line for line in text.splitlines() if line.startswith(f"| {score.guesser} |"))
        if score.accuracy is None:
            assert score.note in row
        else:
            assert f"| {100 * score.accuracy:.1f} |" in row
            assert score.ci_low is None or f"{100 * score.ci_low:.1f} to {100 * score.ci_high:.1f}" in row
    assert len(text.splitlines()) < 60
