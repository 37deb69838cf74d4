"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write a file or a folder under, which becomes ``path`` after the block.

    Where the block fails, the file keeps that name, which ends in ``.tmp``.
    """
    scratch = path.with_name(path.name + ".tmp")
    yield scratch
    os.replace(scratch, path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in one step: a reader sees the old file or the new one."""
    with written_whole(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
