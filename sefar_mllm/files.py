"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(raw)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value without NaN; the file appears whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines without NaN; the file appears whole or not at all."""
    write_whole(file, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
