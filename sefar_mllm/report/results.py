"""The files a report is made from: `results.json` and lines of numbers from `metrics.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_json
from sefar_mllm.report.content import ResultRow

_EXPECTED: dict[str, tuple[str, tuple[type, ...]]] = {
    "str": ("a text", (str,)),
    "bool": ("true or false", (bool,)),
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "float | None": ("a number or null", (int, float, type(None))),
}


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write the rows as `results.json`; the file appears whole or not at all."""
    write_json(path, [asdict(row) for row in rows])


def read_results(path: Path) -> list[ResultRow]:
    """Read `results.json`. Keys that the schema does not know are left out.

    Raises:
        SefarMLLMError: naming file, row and key, when it is not what docs/results-schema.md says.
    """
    content = _parse(_read_text(path), str(path))
    if not isinstance(content, list):
        raise SefarMLLMError(f"{path}: expected a JSON list of result rows, got {type(content).__name__}")
    return [_row(entry, f"{path}: row {number}") for number, entry in enumerate(content, 1)]


def read_series(path: Path, x: str, y: str) -> list[tuple[float, float]]:
    """The (x, y) pairs of a JSON-lines file of metrics; lines without both keys are of another kind.

    Args:
        path: one JSON object a line, such as an encoder's or a fine-tuning's `metrics.jsonl`.
        x: key of the abscissa, e.g. "step".
        y: key of the ordinate, e.g. "loss".

    Raises:
        SefarMLLMError: for a line that is no JSON object, a value that is no number, or no such line.
    """
    points: list[tuple[float, float]] = []
    keys: set[str] = set()
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        entry = _parse(line, f"{path}, line {number}")
        if not isinstance(entry, dict):
            raise SefarMLLMError(f"{path}, line {number}: expected a JSON object, got {type(entry).__name__}")
        keys |= entry.keys()
        if x in entry and y in entry:
            for key in (x, y):
                if isinstance(entry[key], bool) or not isinstance(entry[key], int | float):
                    raise SefarMLLMError(
                        f"{path}, line {number}: {key!r} must be a number, got {entry[key]!r}"
                    )
            points.append((float(entry[x]), float(entry[y])))
    if not points:
        known = ", ".join(sorted(keys)) or "none"
        raise SefarMLLMError(f"{path}: no line holds both {x!r} and {y!r}; the keys there are: {known}")
    return points


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SefarMLLMError(f"{path}: not UTF-8 text (byte {error.start}); was it written whole?") from None
    except OSError as error:
        raise SefarMLLMError(
            f"{path}: cannot be read ({error.strerror}); run the stage that writes it"
        ) from None


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SefarMLLMError(f"{place}: not JSON ({error}); was it written whole?") from None


def _row(entry: object, place: str) -> ResultRow:
    if not isinstance(entry, dict):
        raise SefarMLLMError(f"{place}: expected an object, got {type(entry).__name__}")
    values: dict[str, Any] = {}
    for key in fields(ResultRow):
        if key.name not in entry:
            if key.default is MISSING:
                raise SefarMLLMError(f"{place}: {key.name!r} is missing; see docs/results-schema.md")
            continue
        words, kinds = _EXPECTED[str(key.type)]
        value = entry[key.name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise SefarMLLMError(f"{place}: {key.name!r} must be {words}, got {value!r}")
        values[key.name] = value
    try:
        return ResultRow(**values)
    except SefarMLLMError as error:
        raise SefarMLLMError(f"{place}: {error}") from None
