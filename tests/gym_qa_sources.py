"""Annotation files for the Gym-QA tests: MiniGym's always, FineGym's where they lie beside the checkout."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gym_qa.benchmark.build import BuildQAConfig
from gym_qa.datasets.finegym import read_finegym
from gym_qa.datasets.table import ClipTable
from gym_qa.minigym import MiniGymConfig, make_minigym

FINEGYM = Path(__file__).parents[1].parent / "shared" / "finegym"
SOURCES = ["minigym", "finegym"] if FINEGYM.is_dir() else ["minigym"]


@dataclass(frozen=True)
class Source:
    """One data set's files."""

    annotation: Path
    categories: Path
    train: Path
    val: Path
    sets: Path

    def table(self, elements: Path) -> ClipTable:
        return read_finegym(self.annotation, self.categories, elements, self.sets)

    def config(self, output: Path, **changes: object) -> BuildQAConfig:
        files = {
            "annotation": self.annotation,
            "categories": self.categories,
            "train": self.train,
            "val": self.val,
        }
        return BuildQAConfig(output=output, sets=self.sets, **files, **changes)  # type: ignore[arg-type]

    def arguments(self) -> list[str]:
        """The same files as command-line options."""
        names = ("annotation", "categories", "train", "val", "sets")
        return [word for name in names for word in (f"--{name}", str(getattr(self, name)))]


_TEMPORARY = tempfile.TemporaryDirectory(prefix="minigym-")


@cache
def source(name: str) -> Source:
    """The files of a data set by name."""
    if name == "finegym":
        return Source(
            FINEGYM / "annotation_info_gym99.json",
            FINEGYM / "gym99_categories.txt",
            FINEGYM / "gym99_train_element_v1.1.txt",
            FINEGYM / "gym99_val_element.txt",
            FINEGYM / "set_categories.txt",
        )
    folder = Path(_TEMPORARY.name)
    make_minigym(MiniGymConfig(output=folder, size="mini", seed=0, videos=False))
    return Source(
        folder / "annotation_info.json",
        folder / "categories.txt",
        folder / "train_element.txt",
        folder / "val_element.txt",
        folder / "set_categories.txt",
    )


@cache
def tables(name: str) -> tuple[ClipTable, ClipTable]:
    """Its training and validation clips, read once."""
    files = source(name)
    return files.table(files.train), files.table(files.val)
