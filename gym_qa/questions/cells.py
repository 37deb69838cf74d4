"""Options and answers as other projects' tables hold them: lists, lettered texts, letters, indices."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from string import ascii_uppercase

from gym_qa.questions.reply import read_answer

_LETTERED = re.compile(r"[(\[]?([A-Z])[.):\]]+\s*(.*)", re.DOTALL)
_NO_ANSWER = ("", "na", "n/a", "none", "null", "nan")


class Unusable(Exception):
    """Why a row is no multiple-choice question with an answer; such rows are left out and counted."""


def options_of(cell: object) -> tuple[str, ...]:
    """The options that a cell spells: a list, an object letter → text, or either as JSON or Python writes it.

    A letter that every option bears itself ("A. left", "B. right") is taken off.
    """
    if isinstance(cell, str):
        cell = _parsed(cell)
    if isinstance(cell, Mapping):
        cell = [cell[key] for key in sorted(cell, key=str)]
    if not isinstance(cell, (list, tuple)):
        raise Unusable("its options are no list")
    texts = [str(text.get("text", "")) if isinstance(text, Mapping) else str(text) for text in cell]
    if len(texts) < 2 or not all(text.strip() for text in texts):
        raise Unusable("it has fewer than two options")
    return without_letters(tuple(texts))


def _parsed(cell: str) -> object:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return cell


def without_letters(options: tuple[str, ...]) -> tuple[str, ...]:
    """The options without their letters, where each bears its own."""
    marks = [_LETTERED.fullmatch(option.strip()) for option in options]
    bare = [mark[2].strip() for mark in marks if mark and mark[2].strip()]
    letters = [mark[1] for mark in marks if mark]
    return (
        tuple(bare) if len(bare) == len(options) and letters == [*ascii_uppercase[: len(bare)]] else options
    )


def split_question(text: str) -> tuple[str, tuple[str, ...]]:
    """A question whose options are written into it, taken apart.

    Options begin with ``A.``, ``(A)``, ``A)`` or ``A:``, each on a line of its own (what follows the last one
    on lines of its own is an instruction) or one after the other in the text.
    """
    for before, after in ((r"(?:\A|\n)\s*", "\n"), (r"\s", None)):
        marks, end = [], 0
        for letter in ascii_uppercase:
            mark = re.compile(rf"{before}[(\[]?{letter}[.):\]]+\s*(?=\S)").search(text, end)
            if mark is None:
                break
            marks.append(mark)
            end = mark.end()
        if len(marks) >= 2:
            starts = [mark.end() for mark in marks]
            ends = [*(mark.start() for mark in marks[1:]), len(text)]
            options = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
            options[-1] = options[-1].split(after)[0].strip()
            return text[: marks[0].start()].strip(), tuple(options)
    raise Unusable("it has no options")


def answer_of(cell: object, options: tuple[str, ...]) -> int:
    """Index of the right option: an index from 0, a letter, an option's text, or letter and text."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _NO_ANSWER):
        raise Unusable("its answer is not published")
    choice = cell if type(cell) is int else read_answer(str(cell), options)
    if choice is None and str(cell).strip().isdecimal():
        choice = int(str(cell))
    if choice is None or not 0 <= choice < len(options):
        raise Unusable("its answer names no single option")
    return choice
