"""Twin questions: pairs of clips that differ in one attribute, and what texts alone tell about them."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from gym_qa_sources import SOURCES, source, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_qa.audit.audit import audit, pairs_of
from gym_qa.audit.guessers import QUICK, credit
from gym_qa.audit.labelled import counts_of
from gym_qa.benchmark.build import build_qa
from gym_qa.errors import GymQAError
from gym_qa.questions.attributes import differences, parse_attributes
from gym_qa.questions.balance import balanced
from gym_qa.questions.questions import build_questions, read_questions, write_questions
from gym_qa.questions.schedule import largest_schedule, schedule


def twins(name, wording="official", seed=0):
    train, val = tables(name)
    questions = build_questions(val.clips, val.classes, "twins", seed, train.counts(), wording)
    return balanced(questions, "pairs", seed)


@pytest.mark.parametrize("wording", ["official", "varied"])
@pytest.mark.parametrize("name", SOURCES)
def test_twins_are_asked_the_same_and_differ_in_one_attribute(name, wording):
    questions, classes = twins(name, wording), tables(name)[1].classes
    members = defaultdict(list)
    for question in questions:
        members[question.pair].append(question)
    assert len(questions) > 0.25 * len(tables(name)[1])
    for pair, (one, other) in members.items():
        assert (one.question, one.options, one.option_labels) == (
            other.question,
            other.options,
            other.option_labels,
        )
        assert {one.answer, other.answer} == {0, 1}
        assert one.video != other.video
        assert pair == (one if one.answer == 0 else other).id
        first, second = (parse_attributes(classes[label].name) for label in one.option_labels)
        assert len(differences(first, second)) == 1
        assert len({classes[label].event for label in one.option_labels}) == 1
        assert one.options[one.answer] == classes[one.label].text


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["official", "varied"]))
def test_whoever_sees_texts_alone_is_right_in_exactly_half(rng, wording):
    """Any rule at all: a number for every (question, options, option), drawn at random, ties included."""
    questions, rule = twins("minigym", wording), {}
    credits = []
    for question in questions:
        seen = (question.question, question.options)
        preference = rule.setdefault(seen, [rng.randrange(3) for _ in question.options])
        credits.append(credit(preference, question.answer))
    assert sum(credits) * 2 == len(questions)
    assert all(sum(credits[place] for place in pair) == 1 for pair in pairs_of(questions))


@pytest.mark.parametrize("name", SOURCES)
def test_the_audit_of_twins_is_chance_for_every_guesser(name):
    train, _ = tables(name)
    labelled = train.clips[::10]
    training = build_questions(labelled, train.classes, "twins", 0, train.counts())
    found = audit(twins(name), counts_of(labelled, train.classes), train.classes, training, QUICK)
    for score in found.scores:
        assert score.accuracy == pytest.approx(0.5), score
        assert score.pair_accuracy <= 0.25 + 1e-9
    assert found.verdict.startswith("fair")
    assert "not measured" not in found.verdict


def test_a_part_of_the_clips_has_the_same_questions():
    train, val = tables("minigym")
    whole = {q.id: q for q in build_questions(val.clips, val.classes, "twins", 0, train.counts())}
    part = build_questions(val.clips[::3], val.classes, "twins", 0, train.counts())
    assert part == [whole[question.id] for question in part]


def test_build_qa_writes_pairs_and_reads_them_again(tmp_path):
    report = build_qa(source("minigym").config(tmp_path, policy="twins"))
    questions = read_questions(tmp_path / "val_questions.jsonl")
    counts = Counter(question.pair for question in questions)
    assert set(counts.values()) == {2}
    assert report.pairs == len(counts)
    write_questions(tmp_path / "again.jsonl", questions)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "val_questions.jsonl").read_bytes()
    assert all(not question.pair for question in read_questions(tmp_path / "train_questions.jsonl"))


@pytest.mark.parametrize(
    ("policy", "balance"), [("twins", "answers"), ("twins", "letters"), ("uniform", "pairs"), (None, "pairs")]
)
def test_balances_that_a_policy_has_not_are_refused(policy, balance, tmp_path):
    with pytest.raises(GymQAError, match=f"balance '{balance}' with policy"):
        build_qa(source("minigym").config(tmp_path / "out", policy=policy, balance=balance))
    assert not (tmp_path / "out").exists()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=10))
def test_schedules_of_two_are_as_large_as_can_be(counts):
    """Always joining the two commonest is optimal."""
    rest, made = sorted(counts, reverse=True), 0
    while rest[1] > 0:
        rest = sorted([rest[0] - 1, rest[1] - 1, *rest[2:]], reverse=True)
        made += 1
    sets = schedule(range(len(counts)), dict(enumerate(counts)), [str(n) for n in range(len(counts))], 2)
    assert sum(weight for _, weight in sets) == largest_schedule(counts, 2) == made
    spent = Counter()
    for block, weight in sets:
        assert len(set(block)) == 2
        spent.update(dict.fromkeys(block, weight))
    assert all(spent[label] <= count for label, count in enumerate(counts))
