"""Answers to questions, from our own predictions.jsonl or from other tools' files; each question once."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_qa.files import read_json, read_json_lines, read_text
from gym_qa.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.reply import read_answer

SHOWN_IDS = 20  # of a list of ids in an error
ROW_NUMBERS = ("index", "doc_id")  # VLMEvalKit's and lmms-eval's number of a row, from 0
EXPECTED = (
    "expected CSV, TSV, JSON lines or a JSON list of rows with 'id' (or the row number 'index' or 'doc_id') "
    "and 'prediction' (or 'choice', or lmms-eval's 'filtered_resps')"
)


@dataclass(frozen=True)
class Answer:
    """What was answered to one question.

    Attributes:
        choice: index of the chosen option; None where the answer could not be read.
        probabilities: of each option; empty where they are not known.
    """

    choice: int | None
    probabilities: tuple[float, ...] = ()


def read_answers(path: Path, questions: Sequence[Question]) -> list[Answer]:
    """The answers in a file, in the order of the questions.

    Replies are read strictly (`sefar_mllm.reply.read_answer`): what cannot be read is wrong.

    Args:
        path: ``.csv``, ``.tsv``, ``.json`` (a list of rows) or JSON lines; our own ``predictions.jsonl``,
            VLMEvalKit's TSV or JSON and lmms-eval's samples as they are.
        questions: the questions that were asked.

    Raises:
        SefarMLLMError: for a file that lacks questions, has unknown ids or answers twice, with the list; or
            a row without id or answer.
        GymQAError: for a file that is missing or not of its kind.
    """
    known = {question.id: question for question in questions}
    found: list[tuple[str, Answer]] = []
    for place, row in _rows(path):
        name = _id(row, questions, place)
        if name in known:
            found.append((name, _answer(row, known[name], place)))
        else:
            found.append((name, Answer(None)))
    _check(path, list(known), [name for name, _ in found])
    answers = dict(found)
    return [answers[question.id] for question in questions]


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The file's rows, each with its place."""
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        reader = csv.DictReader(io.StringIO(read_text(path)), delimiter="," if kind == ".csv" else "\t")
        try:
            # Row numbers, not lines: a quoted reply may hold line breaks.
            return [(f"{path}, row {number}", dict(row)) for number, row in enumerate(reader, 1)]
        except csv.Error as error:
            raise SefarMLLMError(f"{path}: not {kind[1:].upper()} ({error}); {EXPECTED}") from None
    if kind == ".json":
        content = read_json(path)
        if not isinstance(content, list):
            raise SefarMLLMError(f"{path}: got {type(content).__name__} instead of a list; {EXPECTED}")
        found = [(f"{path}, row {number}", row) for number, row in enumerate(content, 1)]
    else:
        found = [(f"{path}, line {line}", row) for line, row in read_json_lines(path)]
    for place, row in found:
        if not isinstance(row, dict):
            raise SefarMLLMError(f"{place}: got {type(row).__name__}; {EXPECTED}")
    return found


def _id(row: dict[str, Any], questions: Sequence[Question], place: str) -> str:
    if row.get("id") not in (None, ""):
        return str(row["id"])
    for key in ROW_NUMBERS:
        number = str(row.get(key, ""))
        if number.isascii() and number.isdigit():
            return questions[int(number)].id if int(number) < len(questions) else f"{key} {number}"
    raise SefarMLLMError(f"{place}: no id; {EXPECTED}")


def _answer(row: dict[str, Any], question: Question, place: str) -> Answer:
    options = question.options
    if "choice" in row:
        choice = row["choice"]
        if choice is not None and (type(choice) is not int or not 0 <= choice < len(options)):
            raise SefarMLLMError(
                f"{place}, key 'choice': expected null or an index up to {len(options) - 1}, got {choice!r}"
            )
        probabilities = row.get("probabilities") or ()
        if probabilities and len(probabilities) != len(options):
            raise SefarMLLMError(
                f"{place}, key 'probabilities': expected {len(options)} of them, got {len(probabilities)}"
            )
        return Answer(choice, tuple(map(float, probabilities)))
    reply = row.get("prediction")
    if reply is None and "filtered_resps" in row:
        reply = row["filtered_resps"]
        while isinstance(reply, list) and len(reply) == 1:
            reply = reply[0]
    if reply is None:
        raise SefarMLLMError(f"{place}: no answer; {EXPECTED}")
    return Answer(read_answer(str(reply), options))


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
