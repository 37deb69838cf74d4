"""Files in and out: UTF-8 and JSON or an error that names the line; writes that never leave half a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gym_qa.errors import GymQAError

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a character that takes two escapes
_HALF = re.compile("[\ud800-\udfff]")
# No control characters, no separators of any system, no letter of a Windows drive.
_NAME = re.compile(r"(?![A-Za-z]:)[^\x00-\x1f\x7f/\\]+")


def read_text(path: Path) -> str:
    """The file's text. Raises `GymQAError` where it is missing, unreadable or not UTF-8."""
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise GymQAError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise GymQAError(f"{path}: cannot be read ({error}); check the path and its permissions") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise GymQAError(f"{path}, line {line}: not UTF-8 text; download the file again") from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The file's lines that hold something, stripped, each with its number (from 1)."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def parse_json(text: str, place: str) -> Any:
    """The value that ``text`` spells; ``place`` is what an error calls it."""
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        if _ESCAPED_HALF.search(text):
            check_characters(json.dumps(value, ensure_ascii=False))
        return value
    except json.JSONDecodeError as error:
        raise GymQAError(
            f"{place}, line {error.lineno}: not JSON ({error.msg}); the file may be cut off"
        ) from None
    except (ValueError, RecursionError) as error:
        raise GymQAError(f"{place}: not usable JSON ({error}); mend or download it again") from None


def check_characters(text: str) -> None:
    """Raises ValueError for a text that holds half a character (a lone surrogate), which no file can hold."""
    if half := _HALF.search(text):
        raise ValueError(f"half a character, {half[0]!a}, before {text[half.end() : half.end() + 20]!a}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return value


def read_json(path: Path) -> Any:
    """The JSON value in a file."""
    return parse_json(read_text(path), str(path))


def read_json_lines(path: Path) -> list[tuple[int, Any]]:
    """The JSON values of a file with one a line, each with its line number."""
    return [(number, parse_json(line, f"{path}, line {number}")) for number, line in read_lines(path)]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path``, this process's own: renamed to ``path`` at the end, removed after an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
    except (OSError, UnicodeEncodeError) as error:
        raise GymQAError(f"{path}: cannot be written ({error}); choose another output") from None


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def plain_name(name: str, place: str) -> str:
    """``name``, if a file can be called like it. Raises `GymQAError` for what leads to another folder."""
    if "/" in name or not name.strip():
        raise GymQAError(f"{place} {name!r}: expected a plain name, without '/'")
    return safe_relative(name, place)


def safe_relative(name: str, place: str) -> str:
    """``name``, if it stays inside the folder it is joined to.

    Raises `GymQAError` for absolute paths, ``..``, control characters and other systems' separators.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or not _NAME.fullmatch(part) for part in parts):
        raise GymQAError(
            f"{place}: {name!r} is not a plain relative path; expected names joined by '/' without '..'"
        )
    return name
