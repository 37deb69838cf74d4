"""Question files of any project: which rows a file or folder holds, and questions from them."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gym_qa.errors import GymQAError
from gym_qa.files import read_json, read_json_lines, read_text
from gym_qa.questions.official import official_from
from gym_qa.questions.published import Columns, QuestionFile, read_published
from gym_qa.questions.questions import Question, question_from, questions_from

log = logging.getLogger("gym_qa")

Rows = list[tuple[str, Any]]
_OWN = ("id", "video", "question", "options", "answer")


def load_questions(path: Path) -> list[Question]:
    """The questions of `read_question_file`."""
    return read_question_file(path).questions


def read_question_file(path: Path, columns: Columns | None = None) -> QuestionFile:
    """Questions from a file or folder of any project.

    Args:
        path: a question file (.jsonl), an official Gym-QA file (.json), a file or folder in one of the forms
            of `gym_qa.questions.published`, a table (.json, .jsonl, .csv, .tsv, .parquet), or a folder of
            such files or that ``datasets`` saved.
        columns: what the columns are called, where it is a table of no form that is known.

    Raises:
        GymQAError: naming file, row and key of what cannot be read.
    """
    if columns is None and path.suffix == ".json":
        value = read_json(path)
        first = next(iter(value.values()), None) if isinstance(value, dict) else None
        if not isinstance(value, (dict, list)) or (isinstance(first, Mapping) and "answer_type" in first):
            official = official_from(value, str(path))
            return QuestionFile([question.as_question() for question in official], "Gym-QA (official)", {})
    rows = rows_of(path)
    if columns is None and _is_own(rows):
        own = (
            [question_from(row, place) for place, row in rows]
            if path.is_dir()
            else questions_from(rows, path)
        )
        return QuestionFile(own, "Gym-QA", {})
    for place, row in rows:
        if not isinstance(row, Mapping):
            raise GymQAError(f"{place}: expected a JSON object, got {type(row).__name__}")
    found = read_published(rows, str(path), columns)
    for reason, count in found.left_out.items():
        log.info(f"{path}: {count} of {count + len(found.questions)} rows are left out: {reason}")
    return found


def _is_own(rows: Rows) -> bool:
    """Whether rows are of our own form, or as good as: what is amiss is then said in its words."""
    first = rows[0][1] if rows else None
    if not isinstance(first, Mapping):
        return True
    return all(key in first for key in _OWN) and not isinstance(first["answer"], str)


def rows_of(path: Path) -> Rows:
    """The rows of a table or folder of tables, each with its place."""
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".jsonl":
        return [(f"{path}, line {line}", row) for line, row in read_json_lines(path)]
    if path.suffix in (".csv", ".tsv"):
        text, delimiter = io.StringIO(read_text(path), newline=""), "\t" if path.suffix == ".tsv" else ","
        lines = csv.DictReader(text, delimiter=delimiter)
        try:
            return [(f"{path}, line {lines.line_num}", row) for row in lines]
        except csv.Error as error:
            raise GymQAError(f"{path}, line {lines.line_num}: not a table ({error}); mend it") from None
    if path.suffix == ".parquet":
        return _parquet(path)
    value = read_json(path)
    if isinstance(value, dict):
        inner = [part for part in value.values() if isinstance(part, list)]
        if len(inner) == 1 and all(isinstance(row, dict) for row in inner[0]):
            value = inner[0]
        else:
            keyed = [(key, row) for key, row in value.items()]
            return [
                (f"{path}, {key}", {"id": key, **row} if isinstance(row, dict) else row) for key, row in keyed
            ]
    if not isinstance(value, list):
        raise GymQAError(f"{path}: expected a JSON list or object of questions, got {type(value).__name__}")
    return [(f"{path}, entry {number}", row) for number, row in enumerate(value)]


def _parquet(path: Path) -> Rows:
    from pyarrow import ArrowException, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise GymQAError(f"{path}: not a parquet file ({error}); download it again") from None
    return [(f"{path}, row {number}", row) for number, row in enumerate(rows)]


def _folder(path: Path) -> Rows:
    """Of a folder that ``datasets`` saved, or of every table below a folder."""
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        from datasets import DatasetDict, load_from_disk

        saved = load_from_disk(str(path))
        parts = saved.values() if isinstance(saved, DatasetDict) else [saved]
        return [(f"{path}, row {number}", row) for part in parts for number, row in enumerate(part)]
    tables = sorted(
        file for file in path.rglob("*") if file.suffix in (".parquet", ".jsonl", ".json", ".csv", ".tsv")
    )
    rows = [row for table in tables for row in rows_of(table)]
    if not rows:
        raise GymQAError(f"{path}: no table in it; expected .parquet, .jsonl, .json, .csv or .tsv files")
    return rows
