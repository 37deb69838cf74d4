"""What a question file gives away without a video: letters, repeats, blind scores, and a plain verdict."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from gym_qa.audit.guessers import GUESSERS, Evidence, credit
from gym_qa.audit.labelled import LabelledCounts
from gym_qa.datasets.table import ActionClass
from gym_qa.errors import GymQAError
from gym_qa.questions.questions import Question
from gym_qa.statistics import wilson

#: A blind score up to this far above chance is taken for a fair file's.
TOLERANCE = 0.03


@dataclass(frozen=True)
class BlindScore:
    """What one guesser reaches.

    Attributes:
        guesser: its name.
        accuracy: expected share of right answers; None where it cannot be measured.
        ci_low: lower end of the 95 % Wilson interval.
        ci_high: upper end.
        note: why it could not be measured.
        pair_accuracy: expected share of pairs with both answers right; None where there are no pairs.
    """

    guesser: str
    accuracy: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    note: str = ""
    pair_accuracy: float | None = None


@dataclass(frozen=True)
class KindScore:
    """The best guesser on one kind of question.

    Attributes:
        kind: its name; an event of ours.
        n: questions.
        chance: expected accuracy of guessing.
        guesser: the best of all measured.
        accuracy: its expected share of right answers.
        ci_low: lower end of the 95 % Wilson interval.
        ci_high: upper end.
    """

    kind: str
    n: int
    chance: float
    guesser: str
    accuracy: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Audit:
    """The measured question file.

    Attributes:
        n: questions.
        letters: letter -> how often it is the answer.
        repeated_option: questions that hold the same text twice.
        answer_twice: questions in which the right text stands under two letters.
        scores: of the guessers, chance first.
        verdict: in plain words.
        pairs: how many pairs count together.
        kinds: of question, where there are several.
    """

    n: int
    letters: dict[str, int]
    repeated_option: int
    answer_twice: int
    scores: tuple[BlindScore, ...]
    verdict: str
    pairs: int = 0
    kinds: tuple[KindScore, ...] = ()

    def score(self, guesser: str) -> BlindScore:
        """The score of one guesser by name."""
        return next(score for score in self.scores if score.guesser == guesser)

    def as_json(self) -> dict[str, Any]:
        """Plain values; the scores keyed by guesser."""
        row = asdict(self)
        row["scores"] = {score.pop("guesser"): score for score in row["scores"]}
        return row

    def __str__(self) -> str:
        letters = ", ".join(f"{letter} {count}" for letter, count in self.letters.items())
        lines = [
            f"questions           {self.n}",
            f"answer letters      {letters}",
            f"repeated option     {self.repeated_option}",
            f"answer twice        {self.answer_twice}",
            *([f"pairs               {self.pairs}"] if self.pairs else []),
            "without a video:",
        ]
        for score in self.scores:
            if score.accuracy is None:
                lines.append(f"  {score.guesser:<24}     -  ({score.note})")
            else:
                interval = f"[{score.ci_low:.1%}, {score.ci_high:.1%}]" if score.ci_low is not None else ""
                both = (
                    f"  both of a pair {score.pair_accuracy:.1%}" if score.pair_accuracy is not None else ""
                )
                lines.append(f"  {score.guesser:<24} {score.accuracy:6.1%}  {interval}{both}".rstrip())
        return "\n".join([*lines, f"verdict: {self.verdict}"])


def audit(
    questions: Sequence[Question],
    labelled: LabelledCounts | None = None,
    classes: Sequence[ActionClass] | None = None,
    training: Sequence[Question] | None = None,
    guessers: Sequence[str] = tuple(GUESSERS),
) -> Audit:
    """Measure questions.

    Args:
        questions: at least one.
        labelled: class counts among the labelled clips; without them "commonest class" is not measured.
        classes: the classes; without them "event oracle" is not measured.
        training: questions about the labelled clips; without them "learned prior" is not measured.
        guessers: keys of `GUESSERS` beside "chance".
    """
    if not questions:
        raise GymQAError("an audit of no questions: expected at least one")
    width = max(len(question.options) for question in questions)
    counts = Counter(question.answer for question in questions)
    letters = {chr(ord("A") + place): counts[place] for place in range(width)}
    texts = [[text.strip() for text in question.options] for question in questions]
    repeated = sum(len(set(options)) < len(options) for options in texts)
    twice = sum(
        options.count(options[question.answer]) > 1
        for options, question in zip(texts, questions, strict=True)
    )
    pairs = pairs_of(questions)
    known = Evidence(questions, labelled, classes, training)
    credits = {name: credits_of(name, known) for name in dict.fromkeys(["chance", *guessers])}
    scores = tuple(_score(name, got, pairs) for name, got in credits.items())
    verdict = _verdict(scores, letters, repeated, twice)
    kinds = _kinds(questions, {name: got for name, got in credits.items() if got is not None})
    return Audit(len(questions), letters, repeated, twice, scores, verdict, len(pairs), kinds)


def pairs_of(questions: Sequence[Question]) -> list[list[int]]:
    """Places of the questions that count together, two or more each."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        if question.pair:
            members[question.pair].append(place)
    return [places for places in members.values() if len(places) > 1]


def credits_of(name: str, known: Evidence) -> list[float] | None:
    """A guesser's expected credit in each question; None where it lacks what it must know."""
    preferences = GUESSERS[name].preferences(known)
    if preferences is None:
        return None
    pairs = zip(preferences, known.questions, strict=True)
    return [credit(preference, question.answer) for preference, question in pairs]


def _score(name: str, credits: Sequence[float] | None, pairs: Sequence[Sequence[int]]) -> BlindScore:
    if credits is None:
        return BlindScore(name, None, note=f"not measured: {GUESSERS[name].remedy}")
    rate = sum(credits) / len(credits)
    low, high = (None, None) if name == "chance" else wilson(rate, len(credits))
    both = [prod(credits[place] for place in places) for places in pairs]
    return BlindScore(name, rate, low, high, pair_accuracy=sum(both) / len(both) if both else None)


def _kinds(questions: Sequence[Question], credits: Mapping[str, Sequence[float]]) -> tuple[KindScore, ...]:
    """Each kind of question with the guesser that does best on it; none where there is one kind."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        places[question.event].append(place)
    if len(places) < 2:
        return ()
    found = []
    for kind, inside in sorted(places.items()):
        rates = {name: sum(got[place] for place in inside) / len(inside) for name, got in credits.items()}
        chance = rates.pop("chance")
        best = max(rates, key=lambda name: rates[name], default="")
        low, high = wilson(rates[best], len(inside)) if best else (chance, chance)
        found.append(KindScore(kind, len(inside), chance, best, rates.get(best, chance), low, high))
    return tuple(found)


def _verdict(scores: Sequence[BlindScore], letters: dict[str, int], repeated: int, twice: int) -> str:
    chance = scores[0].accuracy or 0.0
    measured = [score for score in scores[1:] if score.accuracy is not None]
    worst = max(measured, key=lambda score: score.accuracy or 0)
    accuracy, low = worst.accuracy or 0.0, worst.ci_low or 0.0
    said = f"{worst.guesser!r} answers {accuracy:.1%} without a video, chance is {chance:.1%}"
    if low > chance + TOLERANCE:
        parts = [f"NOT FAIR: {said}; quote scores of these questions only beside that figure"]
    elif accuracy > chance + TOLERANCE:
        parts = [f"UNDECIDED: {said}, with too few questions to tell; build more"]
    else:
        parts = [
            f"fair: no guesser measured gets more than {accuracy:.1%} without a video, chance is {chance:.1%}"
        ]
    if twice:
        parts.append(f"{twice} questions have two right letters, of which one counts as wrong")
    elif repeated:
        parts.append(f"{repeated} questions hold an option twice")
    if max(letters.values()) - min(letters.values()) > 1:
        parts.append("the letters are not exactly balanced")
    unmeasured = [score.guesser for score in scores if score.accuracy is None]
    if unmeasured:
        parts.append(f"not measured: {', '.join(unmeasured)}")
    return "; ".join(parts)
