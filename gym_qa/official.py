"""The official Gym-QA file: a JSON object, running id -> question with its options written into the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gym_qa.errors import GymQAError
from gym_qa.files import read_json, write_text
from gym_qa.questions import Question
from gym_qa.schedule import OPTIONS
from gym_qa.table import Clip

LETTERS = "ABCD"
_TEXT = re.compile(r"(.*?) A\.(.*?) B\.(.*?) C\.(.*?) D\.(.*)", re.DOTALL)


@dataclass(frozen=True)
class OfficialQuestion:
    """One entry, its fields in the file's order.

    Attributes:
        answer: letter of the right option.
        question: the wording, then ``A.… B.… C.… D.…``.
        answer_type: ``what`` throughout.
        question_id: the running id, seven digits.
        dataset: ``finegym`` throughout.
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
        return Question(self.question_id, self.video, wording, options, LETTERS.index(self.answer))


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


def to_official(
    questions: Iterable[Question], clips: Mapping[str, Clip], frames_per_second: float = 25.0
) -> list[OfficialQuestion]:
    """Questions in the official form, numbered from 0.

    Args:
        questions: with four options each.
        clips: clip id -> clip; its times give the length in frames, 0 where it has none.
        frames_per_second: of the trimmed clips.
    """
    found = []
    for number, question in enumerate(questions):
        if len(question.options) != OPTIONS:
            raise GymQAError(f"question {question.id}: the official form holds {OPTIONS} options")
        texts = (f"{letter}.{text.strip()}" for letter, text in zip(LETTERS, question.options, strict=True))
        clip = clips[question.video]
        known = clip.start is not None and clip.end is not None
        seconds = clip.end - clip.start if known else 0.0  # type: ignore[operator]
        found.append(
            OfficialQuestion(
                answer=LETTERS[question.answer],
                question=" ".join([question.question, *texts]),
                answer_type="what",
                question_id=f"{number:07d}",
                dataset="finegym",
                video=question.video,
                frame_length=round(seconds * frames_per_second),
            )
        )
    return found
