"""Multiple-choice questions about clips, and the question file.

A question is a function of (seed, clip id, policy) and the classes with their reference counts: which other
clips are asked about changes nothing in it, so the questions of a part of a data set are among the questions
of the whole. What concerns the whole - every letter, every class of an option set equally often the answer -
is reached by choosing who is asked (`gym_qa.questions.balance`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from gym_qa.datasets.sources import DATASETS
from gym_qa.datasets.table import ActionClass, Clip
from gym_qa.datasets.wordings import VARIED, WORDINGS
from gym_qa.dice import Dice
from gym_qa.errors import GymQAError
from gym_qa.files import read_json_lines, write_json_lines
from gym_qa.questions.attributes import meaning
from gym_qa.questions.policies import Policy
from gym_qa.questions.schedule import OPTIONS, Weighted


@dataclass(frozen=True)
class Question:
    """One multiple-choice question; a line of the question file.

    Attributes:
        id: unique in its file.
        video: clip id.
        question: the text without the options.
        options: texts of the options.
        answer: index of the right option.
        label: the clip's class; -1 where unknown.
        event: the class's event; empty where unknown.
        set: the class's set; 0 where unknown.
        option_labels: the options' classes; empty where unknown.
        source: the video that the clip was cut from; questions of one source share athlete, camera and
            light. Empty where unknown.
        dataset: name of the data set; empty where unknown.
        frame_length: frames in the trimmed clip; 0 where unknown.
        pair: what it shares with the question that it counts together with; empty where it counts alone.
    """

    id: str
    video: str
    question: str
    options: tuple[str, ...]
    answer: int
    label: int = -1
    event: str = ""
    set: int = 0
    option_labels: tuple[int, ...] = ()
    source: str = ""
    dataset: str = ""
    frame_length: int = 0
    pair: str = ""

    def as_row(self) -> dict[str, object]:
        """A line of the question file; a question that counts alone has no ``pair`` there."""
        row = asdict(self)
        return row if self.pair else {key: value for key, value in row.items() if key != "pair"}


@dataclass(frozen=True)
class QuestionBuilder:
    """Builds each clip's question.

    Attributes:
        classes: the classes; their texts are the options.
        policy: see `gym_qa.questions.policies`.
        seed: another seed, other questions.
        reference: clips per label in the training list; what frequency-matched policies match.
        wording: a key of `WORDINGS`, or ``varied`` for one drawn for every clip.
        distinct: never two options that say the same. Without it distractors are any other classes, as in
            the official recipe.
        dataset: name of the data set, a key of `gym_qa.datasets.sources.DATASETS`: whose words the wording
            has.
    """

    classes: Sequence[ActionClass]
    policy: Policy
    seed: int
    option_sets: Mapping[int, list[Weighted]]
    meanings: Sequence[object]
    wording: str
    distinct: bool
    dataset: str

    @classmethod
    def create(
        cls,
        classes: Sequence[ActionClass],
        policy: str = "uniform",
        seed: int = 0,
        reference: Mapping[int, int] | None = None,
        wording: str = "official",
        distinct: bool = True,
        dataset: str = "finegym",
    ) -> QuestionBuilder:
        """Prepare a builder. Raises `GymQAError` for an unknown choice, or for too few classes."""
        if dataset not in DATASETS:
            raise GymQAError(f"data set {dataset!r}: expected one of {', '.join(DATASETS)}")
        if wording not in (*WORDINGS, VARIED):
            raise GymQAError(f"wording {wording!r}: expected one of {', '.join((*WORDINGS, VARIED))}")
        meanings = [meaning(action.name) for action in classes]
        parsed = Policy.parse(policy)
        size = parsed.grouping.options
        if len(set(meanings)) < size:
            raise GymQAError(f"{len(set(meanings))} different class names: a question needs at least {size}")
        sets: Mapping[int, list[Weighted]] = {}
        if parsed.scheduled:
            order = sorted(
                range(len(classes)), key=lambda label: Dice(seed, policy, label, classes[label].name).value
            )
            sets = parsed.option_sets(classes, meanings, reference or {}, order)
        if parsed.scheduled and not sets:
            raise GymQAError(
                f"policy {policy!r}: no {size} classes fit together under it; use another or more classes"
            )
        return cls(classes, parsed, seed, sets, meanings, wording, distinct, dataset)

    def question(self, clip: Clip) -> Question | None:
        """The clip's question; None where the policy has no option set for the clip's class."""
        dice = Dice(self.seed, clip.clip_id, self.policy.name)
        others = self._scheduled(clip.label, dice) if self.policy.scheduled else self._drawn(clip.label, dice)
        if others is None:
            return None
        answer = dice.below(self.policy.grouping.options)
        labels = (*others[:answer], clip.label, *others[answer:])
        texts = DATASETS[self.dataset].wordings
        key = list(texts)[dice.below(len(texts))] if self.wording == VARIED else self.wording
        action = self.classes[clip.label]
        return Question(
            id=clip.clip_id,
            video=clip.clip_id,
            question=texts[key],
            options=tuple(self.classes[label].text for label in labels),
            answer=answer,
            label=clip.label,
            event=action.event,
            set=action.set_id,
            option_labels=labels,
            source=clip.source_video,
            dataset=self.dataset,
        )

    def _scheduled(self, label: int, dice: Dice) -> list[int] | None:
        """The other classes of one of the label's option sets, drawn by weight, in random order."""
        sets = self.option_sets.get(label)
        if sets is None:
            return None
        ends = list(accumulate(weight for _, weight in sets))
        block, _ = sets[bisect_right(ends, dice.below(ends[-1]))]
        return dice.shuffled([other for other in block if other != label])

    def _drawn(self, label: int, dice: Dice) -> list[int] | None:
        """Three other classes, from the nearest tier that still has some."""
        chosen: list[int] = []
        said = {self.meanings[label]}
        for tier in self.policy.grouping.tiers(self.classes, label):
            rest = [other for other in tier if other not in chosen]
            while rest and len(chosen) < OPTIONS - 1:
                other = rest.pop(dice.below(len(rest)))
                if self.distinct and self.meanings[other] in said:
                    continue
                said.add(self.meanings[other])
                chosen.append(other)
        return dice.shuffled(chosen) if len(chosen) == OPTIONS - 1 else None


def build_questions(
    clips: Iterable[Clip],
    classes: Sequence[ActionClass],
    policy: str = "uniform",
    seed: int = 0,
    reference: Mapping[int, int] | None = None,
    wording: str = "official",
    distinct: bool = True,
    dataset: str = "finegym",
) -> list[Question]:
    """One question for each clip that the policy can serve, in the clips' order. See `QuestionBuilder`."""
    builder = QuestionBuilder.create(classes, policy, seed, reference, wording, distinct, dataset)
    questions = (builder.question(clip) for clip in clips)
    return [question for question in questions if question is not None]


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write a question file: one JSON object a line."""
    write_json_lines(path, (question.as_row() for question in questions))


def read_questions(path: Path) -> list[Question]:
    """Read a question file. Raises `GymQAError` naming the line and key of anything amiss."""
    return questions_from([(f"{path}, line {line}", row) for line, row in read_json_lines(path)], path)


def questions_from(rows: Iterable[tuple[str, Any]], path: Path) -> list[Question]:
    """Questions of a file's rows, each with its place. Raises `GymQAError` as `read_questions` does."""
    questions = [question_from(row, place) for place, row in rows]
    if not questions:
        raise GymQAError(f"{path}: no question in it; expected one JSON object a line")
    ids: set[str] = set()
    for question in questions:
        if question.id in ids:
            raise GymQAError(f"{path}: the id {question.id!r} stands twice; ids must differ")
        ids.add(question.id)
    return questions


def question_from(row: Any, place: str) -> Question:
    """Check one row of a question file (or of a `datasets` data set) and make it a question."""
    if not isinstance(row, Mapping):
        raise GymQAError(f"{place}: expected a JSON object, got {type(row).__name__}")
    for key in ("id", "video", "question"):
        if not isinstance(row.get(key), str):
            raise GymQAError(f"{place}, key {key!r}: expected text, got {row.get(key)!r}")
    options, answer = row.get("options"), row.get("answer")
    if (
        not isinstance(options, (list, tuple))
        or len(options) < 2
        or not all(isinstance(o, str) for o in options)
    ):
        raise GymQAError(f"{place}, key 'options': expected a list of at least two texts, got {options!r}")
    if type(answer) is not int or not 0 <= answer < len(options):
        raise GymQAError(
            f"{place}, key 'answer': expected an index from 0 to {len(options) - 1}, got {answer!r}"
        )
    label, event, set_id = row.get("label", -1), row.get("event", ""), row.get("set", 0)
    if type(label) is not int or not isinstance(event, str) or type(set_id) is not int:
        raise GymQAError(f"{place}: expected label and set as int and event as text")
    labels = row.get("option_labels") or ()
    if not isinstance(labels, (list, tuple)) or not all(type(label) is int for label in labels):
        raise GymQAError(f"{place}, key 'option_labels': expected a list of int, got {labels!r}")
    if labels and len(labels) != len(options):
        raise GymQAError(f"{place}, key 'option_labels': expected {len(options)} of them, got {len(labels)}")
    source, dataset, pair = (row.get(key) or "" for key in ("source", "dataset", "pair"))
    length = row.get("frame_length") or 0
    if not all(isinstance(text, str) for text in (source, dataset, pair)):
        raise GymQAError(f"{place}: expected source, dataset and pair as text")
    if type(length) is not int or length < 0:
        raise GymQAError(f"{place}: expected frame_length as int from 0")
    return Question(
        row["id"],
        row["video"],
        row["question"],
        tuple(options),
        answer,
        label,
        event,
        set_id,
        tuple(labels),
        source,
        dataset,
        length,
        pair,
    )
