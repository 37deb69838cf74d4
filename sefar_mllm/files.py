"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gym_qa.files import written_whole as written_whole
from sefar_mllm.errors import SefarMLLMError


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename, so that a reader never sees half a file.

    Raises:
        SefarMLLMError: for a text that holds half a character (a lone surrogate), which no file can hold.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise SefarMLLMError(f"{path}: cannot be written ({error})") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(raw)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value without NaN; the file appears whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines without NaN; the file appears whole or not at all."""
    write_whole(file, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder``, this process's own: takes its place at the end, removed after an error.

    Raises:
        OSError: at the end, where ``folder`` is there and not empty.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed process of this number left
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
