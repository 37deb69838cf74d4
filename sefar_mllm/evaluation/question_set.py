"""A question file as it is scored: its questions, source videos, groups, and what it gives away by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase

from gym_qa.audit.audit import audit
from gym_qa.audit.labelled import load_labelled
from gym_qa.datasets.table import read_classes
from gym_qa.questions.attributes import parse_attributes
from gym_qa.questions.matching import check_classes
from gym_qa.questions.provenance import Provenance
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.report import ResultRow

MODEL_FREE = ("chance", "majority letter", "commonest class", "event oracle")
UNKNOWN = "not known"


@dataclass(frozen=True)
class QuestionSet:
    """The questions of a file and what is known about them.

    Attributes:
        file: the question file.
        questions: its questions, in its order.
        name: what tables call it.
        synthetic: whether the videos are rendered.
        labelled: the labelled clips, as a clip list or question file; none where there is no such list.
    """

    file: Path
    questions: list[Question]
    name: str
    synthetic: bool
    labelled: Path | None

    @classmethod
    def open(cls, file: Path, labelled: Path | None = None, name: str | None = None) -> QuestionSet:
        """Read a question file and, from the files that ``build-qa`` writes beside it, what else there is.

        Args:
            file: the question file.
            labelled: the labelled clips; by default ``train.csv`` beside the question file, if it is there.
            name: what tables call the questions; by default the file's folder and name.

        Raises:
            GymQAError: for a file that is not there or not such a file.
        """
        questions = read_questions(file)
        beside = file.parent / "train.csv"
        if labelled is None and beside.is_file() and (file.parent / "classes.json").is_file():
            labelled = beside
        synthetic = Provenance.beside(file.parent).synthetic
        classes = file.parent / "classes.json"
        if classes.is_file():
            labelled_questions = [question for question in questions if question.label >= 0]
            check_classes(labelled_questions, read_classes(classes), file)
        return cls(file, questions, name or f"{file.parent.name}/{file.stem}", synthetic, labelled)

    @cached_property
    def sources(self) -> list[str]:
        """The source video of each question."""
        return [source_of(question) for question in self.questions]

    @property
    def sources_note(self) -> str:
        """What must be known of the source videos beside a number; nothing where the file names them all."""
        unnamed = sum(not question.source for question in self.questions)
        if not unnamed:
            return ""
        return f"source videos of {unnamed} of {len(self.questions)} questions taken from their clip ids"

    @property
    def chance(self) -> float:
        """Expected accuracy of guessing."""
        return sum(1 / len(question.options) for question in self.questions) / len(self.questions)

    def check_right(self, right: list[bool]) -> None:
        """Raises SefarMLLMError unless there is one verdict a question."""
        if len(right) != len(self.questions):
            raise SefarMLLMError(f"{self.file}: {len(self.questions)} questions but {len(right)} answers")

    def groups(self) -> dict[str, list[str]]:
        """Title of each grouping that tells questions apart → the group of each question."""
        groups = {
            title: [key(question) or UNKNOWN for question in self.questions]
            for title, key in GROUPINGS.items()
        }
        return {title: keys for title, keys in groups.items() if len(set(keys)) > 1}

    def model_free_rows(self) -> list[ResultRow]:
        """Chance, majority letter, commonest labelled class and event oracle, as far as they can be had."""
        classes = self.file.parent / "classes.json"
        known = read_classes(classes) if classes.is_file() else None
        counts, training = load_labelled(self.labelled, known) if self.labelled else (None, None)
        audited = audit(self.questions, counts, known, training, MODEL_FREE)
        rows = []
        for score in map(audited.score, MODEL_FREE):
            if score.accuracy is None:
                continue
            low, high, pairs = score.ci_low, score.ci_high, score.pair_accuracy
            rows.append(
                ResultRow(
                    encoder=score.guesser,
                    questions=self.name,
                    accuracy=score.accuracy,
                    ci_low=score.accuracy if low is None else min(low, score.accuracy),
                    ci_high=score.accuracy if high is None else max(high, score.accuracy),
                    n=len(self.questions),
                    seconds=None,
                    synthetic=self.synthetic,
                    control=True,
                    note="" if pairs is None else f"both of a pair right: {pairs:.1%}",
                )
            )
        return rows


def source_of(question: Question) -> str:
    """The source video: as the question file names it, else the part of a clip id before its last ``_E_``.

    The latter is FineGym's and MiniGym's rule; a clip of another id is then a source by itself.
    """
    return question.source or question.video.rsplit("_E_", 1)[0]


def _attribute(name: str) -> Callable[[Question], str]:
    def key(question: Question) -> str:
        attributes = parse_attributes(question.options[question.answer])
        if attributes is None:
            return ""
        value = getattr(attributes, name)
        return f"{value:g}" if isinstance(value, float | int) else value or "none"

    return key


#: What accuracy is broken down by; everything is that of the right answer.
GROUPINGS: dict[str, Callable[[Question], str]] = {
    "event": lambda question: question.event,
    "set": lambda question: str(question.set) if question.set else "",
    "direction": _attribute("direction"),
    "turns": _attribute("turns"),
    "position": _attribute("position"),
    "letter": lambda question: ascii_uppercase[question.answer],
    "class": lambda question: question.options[question.answer],
}
