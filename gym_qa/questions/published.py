"""Question files of other projects, by the field names that their publishers document; no data is shipped.

A form is one entry in `FORMS`: how to tell its rows, what its columns are called, and, where one row holds
several questions, how to take it apart. Any other table is read by columns that are named by ``--fields``, or
that are called as they mostly are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from string import ascii_uppercase
from typing import Any

from gym_qa.errors import GymQAError
from gym_qa.questions.cells import Unusable, answer_of, options_of, split_question
from gym_qa.questions.questions import Question

#: One row of a table: column → cell.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """What a table's columns are called.

    Attributes:
        question: of the text.
        options: of the list of options; several joined by ``+`` where each option has a column; empty where
            the options are written into the question.
        answer: of the right one: an index from 0, a letter, or the option's text.
        id: of a name; rows are numbered without one.
        video: of the video's name.
        group: of the kind of question.
        pair: of what two questions share that count together.
    """

    question: str = "question"
    options: str = "options"
    answer: str = "answer"
    id: str = ""
    video: str = ""
    group: str = ""
    pair: str = ""

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read ``question=Q,options=A+B+C,answer=key``."""
        pairs = [part.split("=", 1) for part in text.split(",")]
        names = [field.name for field in fields(cls)]
        if any(len(pair) != 2 or pair[0].strip() not in names for pair in pairs):
            raise GymQAError(f"--fields {text!r}: expected NAME=COLUMN,… with the names {', '.join(names)}")
        return cls(**({"options": ""} | {name.strip(): column.strip() for name, column in pairs}))

    def missing(self, row: Row) -> list[str]:
        """The named columns that a row lacks."""
        named = [getattr(self, field.name) for field in fields(self)]
        return [name for names in named for name in names.split("+") if name and name not in row]


def _itself(row: Row) -> Iterable[Row]:
    return (row,)


@dataclass(frozen=True)
class Form:
    """A form that question files are published in.

    Attributes:
        fits: whether a row is of it.
        columns: of a row that ``rows`` gives.
        rows: one row for each question.
    """

    fits: Callable[[Row], bool]
    columns: Columns
    rows: Callable[[Row], Iterable[Row]] = _itself


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row for name in names)


def _inner(key: str) -> Callable[[Row], Iterable[Row]]:
    """Rows whose questions are a list of objects under a key."""
    return lambda row: [{**row, **inner} for inner in row[key] or () if isinstance(inner, Mapping)]


def _has_parts(row: Row) -> bool:
    return _has("key", "question", "answer")(row) and isinstance(row["question"], list)


def _parts(row: Row) -> Iterable[Row]:
    """VideoNet: the question is a list of typed parts, texts and videos."""
    texts = [part["text"] for part in row["question"] if part.get("type") == "text"]
    videos = [part["video"] for part in row["question"] if part.get("type") == "video"]
    yes_no = {"options": ["yes", "no"]} if str(row["answer"]).lower() in ("yes", "no") else {}
    return ({**row, "question": "\n".join(texts), "video": " ".join(videos), **yes_no},)


def _timeblind(row: Row) -> Iterable[Row]:
    """TimeBlind: four rows in succession ask two questions about two videos that differ in time alone."""
    options = {"options": ["Yes", "No"]} if row["type"] == "yes_no" else {}
    return ({**row, "pair": f"{int(row['index']) // 4} {row['question']}", **options},)


_LETTERS = "+".join(ascii_uppercase)
FORMS: dict[str, Form] = {
    "MotionBench": Form(
        _has("video_path", "question_type", "qa"),
        Columns(options="", id="uid", video="video_path", group="question_type"),
        _inner("qa"),
    ),
    "FAVOR-Bench": Form(
        _has("video_name", "questions"),
        Columns(answer="correct_answer", video="video_name", group="task_type"),
        _inner("questions"),
    ),
    "TimeBlind": Form(
        _has("index", "video_path", "question", "answer", "type"),
        Columns(id="index", video="video_path", group="type", pair="pair"),
        _timeblind,
    ),
    "TOMATO": Form(
        _has("question", "options", "answer", "demonstration_type"),
        Columns(id="id", video="key", group="motion_type"),
    ),
    "TVBench": Form(
        _has("video", "question", "candidates", "answer"), Columns(options="candidates", video="video")
    ),
    "VideoNet": Form(_has_parts, Columns(id="key", video="video"), _parts),
    "SPORTU": Form(
        _has("id", "question", "options", "answer", "difficulty level"),
        Columns(id="id", group="difficulty level"),
    ),
    "VLMEvalKit": Form(
        _has("index", "question", "answer", "A", "B"),
        Columns(options=_LETTERS, id="index", video="video", group="category"),
    ),
}

#: What columns are mostly called, likeliest first; a pattern's columns are the options, in their order.
_USUAL = {
    "question": ("question", "Question", "q", "query"),
    "options": ("options", "candidates", "choices", "option", "Options", "multi-choice options"),
    "answer": ("answer", "correct_answer", "answer_id", "answer_number", "answer_idx", "Answer", "gt"),
    "id": ("id", "question_id", "qid", "uid", "index", "key"),
    "video": ("video", "video_path", "video_name", "video_id", "videoID", "video_idx", "vid"),
    "group": ("question_type", "task_type", "category", "type", "task"),
}
_SERIES = ("[A-Z]", r"a\d", r"option_?\d", r"answer_choice_\d", r"choice_?\d")


def usual_columns(row: Row) -> Columns | None:
    """Columns that are called as they mostly are; None where question or answer is not among them."""
    named = {field: next((name for name in names if name in row), "") for field, names in _USUAL.items()}
    if not named["options"]:
        series = ([name for name in row if re.fullmatch(pattern, name)] for pattern in _SERIES)
        named["options"] = "+".join(next((names for names in series if len(names) > 1), []))
    return Columns(**named) if named["question"] and named["answer"] else None


@dataclass(frozen=True)
class QuestionFile:
    """Questions as they were read.

    Attributes:
        questions: at least one.
        form: what the file was taken for.
        left_out: why rows are no multiple-choice questions with an answer → how many.
    """

    questions: list[Question]
    form: str
    left_out: Mapping[str, int]


def read_published(rows: Sequence[tuple[str, Row]], place: str, columns: Columns | None) -> QuestionFile:
    """Questions from rows of a table.

    Args:
        rows: each with its place, for errors.
        place: the file.
        columns: what they are called; by default as the form in `FORMS` says that fits the first row.

    Raises:
        GymQAError: for a form that is not known, a column that is not there, or a file without a question.
    """
    first = rows[0][1]
    name = next((name for name, form in FORMS.items() if form.fits(first)), "table")
    if columns is not None or name == "table":
        name, columns = "table", columns or usual_columns(first)
        if columns is None:
            raise GymQAError(
                f"{rows[0][0]}: the columns are {', '.join(map(str, first)):.200}; say which are which, "
                "as in --fields question=Q,options=A+B+C+D,answer=key"
            )
    form = FORMS[name] if columns is None else Form(_has(), columns)
    questions: list[Question] = []
    left_out: dict[str, int] = {}
    times: dict[str, int] = {}
    for number, (where, row) in enumerate(_spread(rows, form)):
        if (missing := form.columns.missing(row)) and form.columns is columns:
            raise GymQAError(f"{where}: no column {missing[0]!r}; there are {', '.join(map(str, row)):.200}")
        try:
            question = _question(row, form.columns, str(number))
        except Unusable as why:
            left_out[str(why)] = left_out.get(str(why), 0) + 1
            continue
        times[question.id] = times.get(question.id, 0) + 1
        again = f"~{times[question.id]}" if times[question.id] > 1 else ""
        questions.append(replace(question, id=question.id + again))
    if not questions:
        reasons = "; ".join(f"of {count}, {reason}" for reason, count in left_out.items())
        raise GymQAError(f"{place}: no multiple-choice question with an answer in it ({reasons})")
    return QuestionFile(questions, name, left_out)


def _spread(rows: Sequence[tuple[str, Row]], form: Form) -> Iterator[tuple[str, Row]]:
    for where, row in rows:
        try:
            yield from ((where, inner) for inner in form.rows(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GymQAError(f"{where}: not a row like the first ({error!r}); mend or remove it") from None


def _question(row: Row, columns: Columns, number: str) -> Question:
    def cell(name: str) -> str:
        return str(row[name]).strip() if name and row.get(name) is not None else ""

    text, names = cell(columns.question), columns.options.split("+")
    if len(names) > 1:
        options = options_of([row[name] for name in names if row.get(name) not in (None, "")])
    elif columns.options in row:
        options = options_of(row[columns.options])
    else:
        text, options = split_question(text)
    if not text:
        raise Unusable("it has no text")
    answer = answer_of(row.get(columns.answer), options)
    name = cell(columns.id) or number
    return Question(
        name,
        cell(columns.video) or name,
        text,
        options,
        answer,
        event=cell(columns.group),
        pair=cell(columns.pair),
    )
