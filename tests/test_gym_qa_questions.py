"""Questions: what they hold and depend on, and that only the video answers the balanced ones."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from gym_qa_sources import SOURCES, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_qa.audit.audit import audit
from gym_qa.audit.labelled import counts_of
from gym_qa.errors import GymQAError
from gym_qa.questions.attributes import differences, meaning, parse_attributes
from gym_qa.questions.balance import balanced
from gym_qa.questions.policies import POLICIES
from gym_qa.questions.questions import WORDINGS, build_questions, read_questions, write_questions
from gym_qa.questions.schedule import largest_schedule, schedule

SCHEDULED = [policy for policy in POLICIES if "frequency-matched" in policy and "one-attribute" not in policy]
FREE = ["uniform", "same-event", "same-set"]


def build(source, policy, seed=0, part=None):
    train, val = tables(source)
    return build_questions(part or val.clips, val.classes, policy, seed, train.counts())


@pytest.mark.parametrize("policy", FREE + SCHEDULED)
@pytest.mark.parametrize("source", SOURCES)
def test_every_clip_is_asked_with_four_different_meanings(source, policy):
    _, val = tables(source)
    questions = build(source, policy)
    assert [question.video for question in questions] == [clip.clip_id for clip in val.clips]
    for question, clip in zip(questions, val.clips, strict=True):
        assert question.option_labels[question.answer] == question.label == clip.label
        assert question.options == tuple(val.classes[label].text for label in question.option_labels)
        assert len({meaning(val.classes[label].name) for label in question.option_labels}) == 4
        assert len(set(question.options)) == 4


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("policy", ["same-event", "same-set", "same-set+frequency-matched"])
def test_distractors_stay_in_event_and_set(source, policy):
    _, val = tables(source)
    meanings = {}
    for action in val.classes:
        meanings.setdefault((action.event, action.set_id), set()).add(meaning(action.name))
    for question in build(source, policy):
        others = [val.classes[label] for label in question.option_labels]
        assert {action.event for action in others} == {question.event}
        if "set" in policy and len(meanings[question.event, question.set]) >= 4 and policy == "same-set":
            assert {action.set_id for action in others} == {question.set}


@pytest.mark.parametrize("policy", ["uniform", "same-set", "same-set+frequency-matched"])
@pytest.mark.parametrize("source", SOURCES)
def test_subsets_agree_with_the_whole(source, policy):
    _, val = tables(source)
    whole = {question.id: question for question in build(source, policy, seed=3)}
    part = build(source, policy, seed=3, part=val.clips[::-1][::7])
    assert part == [whole[question.id] for question in part]
    assert len(part) == len(val.clips[::7])
    other = build(source, policy, seed=4, part=val.clips[::7])
    assert sum(whole[question.id] != question for question in other) > len(other) / 2


@pytest.mark.parametrize("balance", ["letters", "answers"])
@pytest.mark.parametrize("policy", SCHEDULED)
@pytest.mark.parametrize("source", SOURCES)
def test_balanced_letters_and_answers(source, policy, balance):
    questions = build(source, policy)
    asked = balanced(questions, balance)
    ids = {question.id for question in asked}
    assert asked == [question for question in questions if question.id in ids]
    assert len(set(Counter(question.answer for question in asked).values())) == 1
    assert len(asked) > 0.4 * len(questions)
    if balance == "answers":
        wins = Counter((tuple(sorted(question.option_labels)), question.label) for question in asked)
        for options, label in wins:
            assert {wins[options, other] for other in options} == {wins[options, label]}


@pytest.mark.parametrize("source", SOURCES)
def test_blind_guessers_find_the_official_recipe_and_not_the_hard_one(source):
    train, val = tables(source)
    labelled = train.clips[::10]
    training = build_questions(labelled, train.classes, "same-set+frequency-matched", 0, train.counts())
    hard = balanced(build(source, "same-set+frequency-matched"), "answers")
    found = audit(hard, counts_of(labelled, train.classes), train.classes, training)
    for score in found.scores:
        # A guess from the options alone is right once in each round of four, but for ties between letters.
        # (The classifier of texts goes by letters too, of which the two halves need not have equally many.)
        slack = 0.03 if score.guesser == "text classifier" else 0.005
        assert score.accuracy == pytest.approx(0.25, abs=slack), score
    assert found.verdict.startswith("fair")
    easy = build_questions(val.clips, val.classes, "uniform", distinct=False)
    found = audit(easy, counts_of(labelled, train.classes), train.classes)
    assert found.score("commonest class").accuracy > 0.38
    assert found.verdict.startswith("NOT FAIR")


def test_one_attribute_options_differ_in_exactly_one():
    from gym_qa.datasets.table import ActionClass, Clip

    names = [f"(FX) salto backward stretched with {turns} twist" for turns in (1, 2, 3, 4, 5)]
    names += ["(FX) salto forward stretched with 1 twist", "(FX) salto backward tucked", "(FX) stag jump"]
    classes = [ActionClass(name, "FX", 25) for name in names]
    clips = [Clip(f"c{n}", "v", n % len(names)) for n in range(400)]
    questions = build_questions(clips, classes, "one-attribute", 0, Counter(clip.label for clip in clips))
    assert {question.label for question in questions} == {0, 1, 2, 3, 4}
    for question in questions:
        for one, other in combinations(question.option_labels, 2):
            first, second = parse_attributes(names[one]), parse_attributes(names[other])
            assert first
            assert second
            assert differences(first, second) == ("turns",)


@pytest.mark.parametrize("wording", [*WORDINGS, "varied"])
def test_wording_changes_the_question_and_nothing_else(wording):
    train, val = tables("minigym")
    plain = build_questions(val.clips, val.classes, "same-set", reference=train.counts())
    worded = build_questions(val.clips, val.classes, "same-set", reference=train.counts(), wording=wording)
    assert [(q.options, q.answer) for q in plain] == [(q.options, q.answer) for q in worded]
    texts = {question.question for question in worded}
    assert texts == (set(WORDINGS.values()) if wording == "varied" else {WORDINGS[wording]})


def test_question_file_round_trip(tmp_path):
    questions = build("minigym", "same-event")
    write_questions(tmp_path / "q.jsonl", questions)
    assert read_questions(tmp_path / "q.jsonl") == questions
    twice = (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "q.jsonl").write_text("\n".join([*twice, twice[0]]), encoding="utf-8")
    with pytest.raises(GymQAError, match="stands twice"):
        read_questions(tmp_path / "q.jsonl")


def brute_largest(counts):
    """How many sets of four can be made, by always using the four commonest (optimal, if slow)."""
    rest, made = sorted(counts, reverse=True), 0
    while len(rest) >= 4 and rest[3] > 0:
        rest = sorted([count - 1 for count in rest[:4]] + rest[4:], reverse=True)
        made += 1
    return made


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=12))
def test_schedule_is_as_large_as_can_be_and_never_overspends(counts):
    sets = schedule(range(len(counts)), dict(enumerate(counts)), [str(n) for n in range(len(counts))])
    assert sum(weight for _, weight in sets) == largest_schedule(counts) == brute_largest(counts)
    spent = Counter()
    for block, weight in sets:
        assert len(set(block)) == 4
        assert weight > 0
        for label in block:
            spent[label] += weight
    assert all(spent[label] <= count for label, count in enumerate(counts))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), min_size=4, max_size=12))
def test_schedule_never_binds_synonyms(classes):
    meanings = [meant for _, meant in classes]
    sets = schedule(range(len(classes)), dict(enumerate(count for count, _ in classes)), meanings)
    assert bool(sets) == (len(set(meanings)) >= 4)
    for block, _ in sets:
        assert len({meanings[label] for label in block}) == 4
