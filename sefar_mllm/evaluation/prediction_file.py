"""Answers to questions, from our own predictions.jsonl or from other tools' files; each question once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from gym_qa.files import parse_json
from gym_qa.questions.questions import Question
from gym_qa.questions.reply import read_answer
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.rows import EXPECTED, Row, read_rows
from sefar_mllm.inference.prediction import Answer

SHOWN_IDS = 20  # of a list of ids in an error
ROW_NUMBERS = ("index", "doc_id")  # VLMEvalKit's and lmms-eval's number of a row, from 0
#: Keys of a reply: ours and VLMEvalKit's, lmms-eval's, LLaMA-Factory's, ms-swift's, LLaVA-NeXT's, LLaVA's.
REPLIES = ("prediction", "filtered_resps", "predict", "response", "pred", "text")
RIGHT = ("label", "labels")  # where LLaMA-Factory and ms-swift repeat the right answer
UNREAD = ("", "null", "none", "nan")


@dataclass(frozen=True)
class AnswerFile:
    """The answers of a file.

    Attributes:
        answers: one a question, in the questions' order.
        by_order: the rows have no ids and were taken in the questions' order.
    """

    answers: list[Answer]
    by_order: bool = False


def read_answers(path: Path, questions: Sequence[Question]) -> list[Answer]:
    """The answers of `read_answer_file`."""
    return read_answer_file(path, questions).answers


def read_answer_file(path: Path, questions: Sequence[Question]) -> AnswerFile:
    """The answers in a file, in the order of the questions.

    Replies are read strictly (`gym_qa.questions.reply.read_answer`): what cannot be read is wrong.

    Args:
        path: ``.csv``, ``.tsv``, ``.xlsx``, a JSON list of rows or JSON lines: our own ``predictions.jsonl``
            and what VLMEvalKit, lmms-eval, LLaMA-Factory, ms-swift and LLaVA write.
        questions: the questions that were asked.

    Raises:
        SefarMLLMError: for a file that lacks questions, has unknown ids or answers twice, with the list; or
            a row without id or answer.
        GymQAError: for a file that is missing or not of its kind.
    """
    rows = read_rows(path)
    known = {question.id: question for question in questions}
    names = _names(path, rows, questions)
    by_order = names is None
    if names is None:
        names = list(known)
        for row, question in zip(rows, questions, strict=True):
            _check_order(row, question)
    answers = {
        name: _answer(row, known[name]) for name, row in zip(names, rows, strict=True) if name in known
    }
    _check(path, list(known), names)
    return AnswerFile([answers[question.id] for question in questions], by_order)


def _names(path: Path, rows: Sequence[Row], questions: Sequence[Question]) -> list[str] | None:
    """The id of the question that each row answers; None where the rows are to be taken in order."""
    known = {question.id for question in questions}
    # LLaVA's question_id is whatever the question file that it was given called so.
    keys = ["id"] + ["question_id"] * any(str(row.cells.get("question_id")) in known for row in rows)
    names = [_name(row.cells, keys, questions) for row in rows]
    if rows and not any(names) and len(rows) == len(questions):
        return None
    ids = []
    for name, row in zip(names, rows, strict=True):
        if name is None:
            count = "" if any(names) else f", and {len(rows)} rows for {len(questions)} questions"
            raise SefarMLLMError(f"{row.place}: no id{count}; {EXPECTED}")
        ids.append(name)
    return ids


def _name(cells: Mapping[str, object], keys: Sequence[str], questions: Sequence[Question]) -> str | None:
    for key in keys:
        if cells.get(key) not in (None, ""):
            return str(cells[key])
    for key in ROW_NUMBERS:
        number = str(cells.get(key, ""))
        if number.isascii() and number.isdigit():
            return questions[int(number)].id if int(number) < len(questions) else f"{key} {number}"
    return None


def _check_order(row: Row, question: Question) -> None:
    """Refuse a row that repeats another right answer than that of the question whose turn it is."""
    for key in RIGHT:
        right = read_answer(str(row.cells.get(key, "")), question.options)
        if right not in (None, question.answer):
            raise SefarMLLMError(
                f"{row.place}, key {key!r}: the right answer is {row.cells[key]!r} there, but "
                f"{ascii_uppercase[question.answer]} in question {question.id}, whose turn it is: other "
                "questions or another order; name the question file that was answered"
            )


def _answer(row: Row, question: Question) -> Answer:
    place, cells, options = row.place, row.cells, question.options
    if "choice" in cells:
        return Answer(
            _choice(place, cells["choice"], len(options)),
            _probabilities(f"{place}, key 'probabilities'", cells.get("probabilities"), len(options)),
        )
    reply = next((cells[key] for key in REPLIES if cells.get(key) is not None), None)
    while isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]
    if reply is None:
        raise SefarMLLMError(f"{place}: no answer; {EXPECTED}")
    return Answer(read_answer(str(reply), options))


def _probabilities(place: str, value: object, options: int) -> tuple[float, ...]:
    """Probabilities as JSON, or as JSON in the text of a table; empty where there are none."""
    values = parse_json(value, place) if isinstance(value, str) and value else value or ()
    try:
        probabilities = tuple(map(float, values))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SefarMLLMError(f"{place}: expected a list of numbers, got {value!r:.80}") from None
    if probabilities and len(probabilities) != options:
        raise SefarMLLMError(f"{place}: expected {options} of them, got {len(probabilities)}")
    return probabilities


def _choice(place: str, value: object, options: int) -> int | None:
    """A choice as JSON or as text of a table: an index, a letter, or nothing."""
    text = "" if value is None else str(value).strip()
    if text.lower() in UNREAD:
        return None
    whole = re.fullmatch(r"(\d+)(?:\.0)?", text)
    choice = int(whole[1]) if whole else ascii_uppercase.find(text.upper()) if len(text) == 1 else -1
    if isinstance(value, bool) or not 0 <= choice < options:
        raise SefarMLLMError(
            f"{place}, key 'choice': expected null or an index up to {options - 1} or a letter, got {value!r}"
        )
    return choice


def _check(path: Path, wanted: list[str], given: list[str]) -> None:
    """Refuse answers that are not one for each question."""
    wanted_set, given_set = set(wanted), set(given)
    faults = {
        "lacks answers to": [name for name in wanted if name not in given_set],
        "has unknown ids": [name for name in dict.fromkeys(given) if name not in wanted_set],
        "answers twice": [name for name, times in Counter(given).items() if times > 1],
    }
    parts = [f"{fault} ({len(names)}): {listed(names)}" for fault, names in faults.items() if names]
    if parts:
        raise SefarMLLMError(
            f"{path}: {'; '.join(parts)}. Expected each of the {len(wanted)} questions exactly once; mend "
            "the file or name the question file that was answered"
        )


def listed(names: Sequence[str]) -> str:
    """Names in a row; of a long list the first ones and how many more there are."""
    more = f" and {len(names) - SHOWN_IDS} more" if len(names) > SHOWN_IDS else ""
    return ", ".join(names[:SHOWN_IDS]) + more
