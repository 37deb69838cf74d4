"""What is known of a question file from the files that ``build-qa`` leaves beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gym_qa.files import read_json


@dataclass(frozen=True)
class Provenance:
    """Where questions come from.

    Attributes:
        dataset: name of the data set; empty where unknown.
        synthetic: whether the videos are rendered.
    """

    dataset: str = ""
    synthetic: bool = False

    @classmethod
    def beside(cls, folder: Path) -> Provenance:
        """Of the question files in a folder, by its ``config.json``; nothing is known without one."""
        path = folder / "config.json"
        settings = read_json(path) if path.is_file() else {}
        if not isinstance(settings, dict):
            return cls()
        return cls(str(settings.get("dataset") or ""), settings.get("synthetic") is True)
