"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in one step: a reader sees the old file or the new one."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(scratch, path)
