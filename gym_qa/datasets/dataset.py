"""What a data set is to this room: the files it is read from, how they are read, and its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from gym_qa.datasets.table import ClipTable
from gym_qa.errors import GymQAError

Pair = tuple[ClipTable, ClipTable]


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """The annotation files of one data set.

    Attributes:
        dataset: in either case: ``finegym`` (also MiniGym's files), ``minigym``, ``finediving``, ``ucf101``,
            ``hmdb51`` or ``something``.
        data: folder of the data set's annotation files under their official names. For FineGym and MiniGym:
            ``annotation_info.json``, ``categories.txt``, ``train_element.txt``, ``val_element.txt`` and
            ``set_categories.txt``, each of which can be named by itself instead.
        annotation: FineGym's annotation (``finegym_annotation_info_v1.1.json``).
        categories: FineGym's categories (``gym99_categories.txt``).
        train: FineGym's training list (``gym99_train_element_v1.1.txt``).
        val: FineGym's validation list (``gym99_val_element.txt``).
        sets: FineGym's ``set_categories.txt``; optional.
        scope: a part by itself, in either case: ``all``, ``gym99``, ``gym288``, ``gym530``, an event
            (``UB``), a set of an event (``UB-S1``, ``FX-S1``), ``set-41``, ``gym-new``, a height of
            FineDiving (``10m``), ``labels:0,3,7``.
        action_type: FineDiving: the steps of this action type (``5253B`` or ``5253b``) in place of whole
            dives.
        fold: official split of UCF-101 and HMDB-51: 1, 2 or 3.
        contradictory: HMDB-51's clips that stand in the lists of several classes, or whose name says another
            class than their list: ``refuse``, ``leave-out`` or ``keep`` with the list's label.
        frames_per_second: of sources that are folders of pictures, and of the trimmed clips, for the official
            question format's ``frame_length`` where a data set counts in seconds.
    """

    dataset: str = "finegym"
    data: Path | None = None
    annotation: Path | None = None
    categories: Path | None = None
    train: Path | None = None
    val: Path | None = None
    sets: Path | None = None
    scope: str = "all"
    action_type: str | None = None
    fold: int = 1
    contradictory: Literal["refuse", "leave-out", "keep"] = "refuse"
    frames_per_second: float = 25.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", self.dataset.lower())


def folder_of(files: DataFiles) -> Path:
    """``--data``. Raises `GymQAError` where it is not given."""
    if files.data is None:
        raise GymQAError(f"data set {files.dataset!r}: give --data, the folder of its annotation files")
    return files.data


@dataclass(frozen=True)
class DataSet:
    """A data set that ``--dataset`` names.

    Attributes:
        read: from its files to its training and its validation clips, which share their classes.
        wordings: what is asked about its clips, see `gym_qa.datasets.wordings`.
        options: the fields of `DataFiles` that it reads besides ``data`` and those of every data set.
        license: of its annotations, in the Hugging Face Hub's spelling; ``unknown`` where none is published.
    """

    read: Callable[[DataFiles], Pair]
    wordings: Mapping[str, str]
    options: tuple[str, ...] = ()
    license: str = "unknown"

    def check(self, files: DataFiles) -> None:
        """Raises `GymQAError` for an option that another data set has and this one would not look at."""
        known = {*OF_EVERY_DATA_SET, *self.options}
        given = {field.name for field in fields(DataFiles) if getattr(files, field.name) != field.default}
        if strange := given - known:
            own = f"its own are {', '.join(self.options)}" if self.options else "it has none of its own"
            raise GymQAError(f"data set {files.dataset!r} has no option {min(strange)}; {own}")


OF_EVERY_DATA_SET = ("dataset", "data", "scope", "frames_per_second")
