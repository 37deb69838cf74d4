"""What a question file gives away without a video: letters, repeats, blind scores, and a plain verdict."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gym_qa.audit import guessers
from gym_qa.audit.guessers import LabelledCounts
from gym_qa.datasets.cliplist import read_labels
from gym_qa.datasets.finegym import read_categories
from gym_qa.datasets.table import ActionClass, Clip, read_classes
from gym_qa.errors import GymQAError
from gym_qa.questions.matching import check_classes, check_labels
from gym_qa.questions.official import read_official
from gym_qa.questions.questions import Question, question_from, read_questions

#: A blind score up to this far above chance is taken for a fair file's.
TOLERANCE = 0.03
Z95 = 1.959964


@dataclass(frozen=True)
class BlindScore:
    """What one guesser reaches.

    Attributes:
        guesser: its name.
        accuracy: expected share of right answers; None where it cannot be measured.
        ci_low: lower end of the 95 % Wilson interval.
        ci_high: upper end.
        note: why it could not be measured.
    """

    guesser: str
    accuracy: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    note: str = ""


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
    """

    n: int
    letters: dict[str, int]
    repeated_option: int
    answer_twice: int
    scores: tuple[BlindScore, ...]
    verdict: str

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
            "without a video:",
        ]
        for score in self.scores:
            if score.accuracy is None:
                lines.append(f"  {score.guesser:<24}     -  ({score.note})")
            else:
                interval = f"[{score.ci_low:.1%}, {score.ci_high:.1%}]" if score.ci_low is not None else ""
                lines.append(f"  {score.guesser:<24} {score.accuracy:6.1%}  {interval}".rstrip())
        return "\n".join([*lines, f"verdict: {self.verdict}"])


def wilson(rate: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927); unlike scipy's it takes fractional credits."""
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (rate * (1 - rate) / n + Z95**2 / (4 * n * n)) ** 0.5
    return centre - half, centre + half


def audit(
    questions: Sequence[Question],
    labelled: LabelledCounts | None = None,
    classes: Sequence[ActionClass] | None = None,
    training: Sequence[Question] | None = None,
) -> Audit:
    """Measure questions.

    Args:
        questions: at least one.
        labelled: class counts among the labelled clips; without them "commonest class" is not measured.
        classes: the classes; without them "event oracle" is not measured.
        training: questions about the labelled clips; without them "learned prior" is not measured.
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
    scores = _scores(questions, labelled, classes, training)
    return Audit(len(questions), letters, repeated, twice, scores, _verdict(scores, letters, repeated, twice))


def _scores(
    questions: Sequence[Question],
    labelled: LabelledCounts | None,
    classes: Sequence[ActionClass] | None,
    training: Sequence[Question] | None,
) -> tuple[BlindScore, ...]:
    measured: list[tuple[str, guessers.Preference | None, str]] = [
        ("chance", guessers.chance, ""),
        ("majority letter", guessers.majority_letter(questions), ""),
        ("commonest class", labelled.preference if labelled else None, "give --labelled"),
        ("event oracle", guessers.event_oracle(classes) if classes else None, "give --categories"),
        ("longest option", guessers.longest_option, ""),
        ("typical option", guessers.typical_option, ""),
        (
            "learned prior",
            guessers.learned_prior(training) if training else None,
            "give the labelled clips' question file as --labelled",
        ),
    ]
    scores = []
    for name, preference, remedy in measured:
        if preference is None:
            scores.append(BlindScore(name, None, note=f"not measured: {remedy}"))
            continue
        credits = [guessers.credit(preference(question), question.answer) for question in questions]
        rate = sum(credits) / len(credits)
        low, high = (None, None) if name == "chance" else wilson(rate, len(credits))
        scores.append(BlindScore(name, rate, low, high))
    return tuple(scores)


def _verdict(scores: Sequence[BlindScore], letters: dict[str, int], repeated: int, twice: int) -> str:
    chance = scores[0].accuracy or 0.0
    worst = max(
        (score for score in scores[1:] if score.accuracy is not None), key=lambda score: score.accuracy or 0
    )
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


def counts_of(clips: Iterable[Clip], classes: Sequence[ActionClass]) -> LabelledCounts:
    """Class counts of labelled clips."""
    by_label = Counter(clip.label for clip in clips)
    by_text: Counter[str] = Counter()
    for label, count in by_label.items():
        by_text[classes[label].text] += count
    return LabelledCounts(by_label, by_text)


def counts_of_questions(questions: Iterable[Question]) -> LabelledCounts:
    """Class counts of the right answers of labelled questions."""
    by_label: Counter[int] = Counter()
    by_text: Counter[str] = Counter()
    for question in questions:
        by_text[question.options[question.answer].strip()] += 1
        if question.label >= 0:
            by_label[question.label] += 1
    return LabelledCounts(by_label, by_text)


@dataclass(frozen=True)
class AuditQAConfig:
    """Measure what a question file gives away without a video.

    Attributes:
        questions: an official Gym-QA file (.json), a question file (.jsonl) or a folder that ``datasets``
            loads.
        labelled: the labelled clips, as a clip list (with a header or without) or as their question file;
            needed for the commonest class.
        categories: FineGym's categories file, or a ``classes.json``; by default the ``classes.json`` beside
            the questions, if there is one. Needed for the event oracle, and to read a clip list's labels.
        json: print JSON instead of a table.
    """

    questions: Path
    labelled: Path | None = None
    categories: Path | None = None
    json: bool = False


def audit_qa(config: AuditQAConfig) -> Audit:
    """Run the audit and print it."""
    questions = load_questions(config.questions)
    classes = _load_classes(config)
    if classes:
        check_classes(questions, classes, config.questions)
    labelled, training = None, None
    if config.labelled:
        labelled, training = load_labelled(config.labelled, classes, questions)
    found = audit(questions, labelled, classes, training)
    print(json.dumps(found.as_json(), indent=1) if config.json else found)
    return found


def load_questions(path: Path) -> list[Question]:
    """Read questions in any of the forms that `AuditQAConfig.questions` names."""
    if path.is_dir():
        from datasets import load_dataset

        # a cache of its own: the shared one may answer with an earlier folder of the same name
        with tempfile.TemporaryDirectory() as cache:
            splits = load_dataset(str(path), cache_dir=cache)
            rows = [row for split in splits.values() for row in split]
        return [question_from(row, f"{path}, row {number}") for number, row in enumerate(rows)]
    if path.suffix == ".jsonl":
        return read_questions(path)
    return [question.as_question() for question in read_official(path)]


def load_labelled(
    path: Path, classes: Sequence[ActionClass] | None, asked: Sequence[Question] = ()
) -> tuple[LabelledCounts, list[Question] | None]:
    """Read class counts from a clip list, or from a question file together with its questions.

    Args:
        path: the clip list or question file.
        classes: what a clip list's labels index; by default the ``classes.json`` beside it.
        asked: questions that may be about some of the same clips: they must agree with the labels.
    """
    if path.suffix in (".json", ".jsonl"):
        questions = load_questions(path)
        return counts_of_questions(questions), questions
    if classes is None and (path.parent / "classes.json").exists():
        classes = read_classes(path.parent / "classes.json")
    if classes is None:
        raise GymQAError(
            f"{path}: labels need names; give --categories, or the labelled clips' question file"
        )
    clips = []
    for line, clip_id, label in read_labels(path):
        if label >= len(classes):
            raise GymQAError(f"{path}, line {line}: label {label} is beyond the {len(classes)} classes given")
        clips.append(Clip(clip_id, "", label))
    check_labels(clips, asked, classes, path)
    return counts_of(clips, classes), None


def _load_classes(config: AuditQAConfig) -> Sequence[ActionClass] | None:
    if config.categories is None:
        beside = (config.questions if config.questions.is_dir() else config.questions.parent) / "classes.json"
        return read_classes(beside) if beside.exists() else None
    if config.categories.suffix == ".json":
        return read_classes(config.categories)
    return [action for _, action in read_categories(config.categories)]
