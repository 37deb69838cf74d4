"""The official Gym-QA file: a JSON object, running id -> question with its options written into the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gym_qa.errors import GymQAError
from gym_qa.files import read_json, write_text
from gym_qa.questions.questions import Question
from gym_qa.questions.schedule import OPTIONS

LETTERS = "ABCD"
_RUNNING = re.compile(r"[0-9]{7}")
_TEXT = re.compile(r"(.*?) A\.(.*?) B\.(.*?) C\.(.*?) D\.(.*)", re.DOTALL)


@dataclass(frozen=True)
class OfficialQuestion:
    """One entry, its fields in the file's order.

    Attributes:
        answer: letter of the right option.
        question: the wording, then ``A.… B.… C.… D.…``.
        answer_type: ``what`` throughout.
        question_id: the running id, seven digits.
        dataset: its name; ``finegym`` in the published files.
        video: clip id.
        frame_length: frames in the trimmed clip.
    """

    answer: str
    question: str
    answer_type: str
    question_id: str
    dataset: str
    video: str
    frame_length: int

    def as_question(self) -> Question:
        """The same in the project's own form; classes are unknown to an official file."""
        wording, options = split_text(self.question, f"question {self.question_id}")
        return Question(
            self.question_id,
            self.video,
            wording,
            options,
            LETTERS.index(self.answer),
            dataset=self.dataset,
            frame_length=self.frame_length,
        )


def split_text(text: str, place: str) -> tuple[str, tuple[str, ...]]:
    """Take ``wording A.… B.… C.… D.…`` apart."""
    match = _TEXT.fullmatch(text)
    if not match:
        raise GymQAError(f"{place}: expected a wording and options 'A.… B.… C.… D.…', got {text[:80]!r}")
    wording, *options = match.groups()
    return wording, tuple(options)


def read_official(path: Path) -> list[OfficialQuestion]:
    """Read an official file. Raises `GymQAError` naming the id and key of anything amiss."""
    return official_from(read_json(path), str(path))


def official_from(value: Any, place: str) -> list[OfficialQuestion]:
    """Check the JSON value of an official file."""
    if not isinstance(value, dict) or not value:
        raise GymQAError(f"{place}: expected a JSON object of questions, running id -> question")
    questions = [_entry(key, row, f"{place}, {key}") for key, row in value.items()]
    for question in questions:
        split_text(question.question, f"{place}, {question.question_id}, key 'question'")
    return questions


def _entry(key: str, row: Any, place: str) -> OfficialQuestion:
    wanted = OfficialQuestion.__dataclass_fields__
    if not isinstance(row, dict) or set(row) != set(wanted):
        raise GymQAError(f"{place}: expected an object with the keys {', '.join(wanted)}")
    for name in wanted:
        kind = int if name == "frame_length" else str
        if type(row[name]) is not kind:
            raise GymQAError(f"{place}, key {name!r}: expected {kind.__name__}, got {row[name]!r}")
    if row["answer"] not in tuple(LETTERS):
        raise GymQAError(f"{place}, key 'answer': expected one of A, B, C, D, got {row['answer']!r}")
    if row["question_id"] != key:
        raise GymQAError(f"{place}, key 'question_id': expected {key!r}, got {row['question_id']!r}")
    return OfficialQuestion(**row)


def write_official(path: Path, questions: Iterable[OfficialQuestion]) -> None:
    """Write an official file; one that was read comes out byte for byte."""
    rows = {question.question_id: asdict(question) for question in questions}
    write_text(path, json.dumps(rows, indent=4))


def to_official(questions: Sequence[Question], dataset: str) -> list[OfficialQuestion]:
    """Questions in the official form, numbered from 0; those of an official file keep their running ids.

    Args:
        questions: with four options each.
        dataset: name of the data set, for questions that do not say.
    """
    numbered = all(_RUNNING.fullmatch(question.id) for question in questions)
    entries = []
    for number, question in enumerate(questions):
        if len(question.options) != OPTIONS:
            raise GymQAError(f"question {question.id}: the official form holds {OPTIONS} options")
        options = tuple(text.strip() for text in question.options)
        lettered = (f"{letter}.{text}" for letter, text in zip(LETTERS, options, strict=True))
        text = " ".join([question.question, *lettered])
        if split_text(text, f"question {question.id}") != (question.question, options):
            raise GymQAError(
                f"question {question.id}: the official form writes options as ' A.… B.…' after the question, "
                "and a text of this one holds such a mark itself; use another format"
            )
        entries.append(
            OfficialQuestion(
                answer=LETTERS[question.answer],
                question=text,
                answer_type="what",
                question_id=question.id if numbered else f"{number:07d}",
                dataset=question.dataset or dataset,
                video=question.video,
                frame_length=question.frame_length,
            )
        )
    return entries
