"""Clip lists for one column and one seed of a study, from a data set's annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gym_qa.datasets.cliplist import write_clip_list
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.scopes import DIRECTION_PAIRS
from gym_qa.datasets.sources import read_tables
from gym_qa.datasets.splits import label_split
from gym_qa.datasets.table import ActionClass, Clip, ClipTable, write_classes
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments.study.plan import Column

# A scope of our own: every class whose name has a twin with forward and backward exchanged.
DIRECTIONS = "direction pairs"


@dataclass(frozen=True)
class Lists:
    """A folder with ``train.csv``, ``unlabelled.csv``, ``val.csv`` and ``classes.json``."""

    folder: Path

    @property
    def labelled(self) -> Path:
        """Training clips that keep their label."""
        return self.folder / "train.csv"

    @property
    def unlabelled(self) -> Path:
        """The other training clips."""
        return self.folder / "unlabelled.csv"

    @property
    def val(self) -> Path:
        """Validation clips."""
        return self.folder / "val.csv"

    @property
    def classes(self) -> Path:
        """The classes, index = label."""
        return self.folder / "classes.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """All four."""
        return self.labelled, self.unlabelled, self.val, self.classes


def write_lists(
    folder: Path, files: DataFiles, column: Column, fraction: float, seed: int, videos: Path, available: bool
) -> Lists:
    """Writes the clip lists of one column and one seed; the same arguments give the same lists.

    Args:
        folder: Where to write.
        files: The data set.
        column: Which part of it, which labels.
        fraction: Share of the training clips that keep their label, where the column does not say.
        seed: Of the label split.
        videos: Folder of the clips.
        available: Whether to leave out clips that are not there.

    Raises:
        GymQAError: The data set's files, or the scope, are at fault.
        SefarMLLMError: No clip is there.
    """
    wanted = dict(column.files)
    directions = wanted.get("scope") == DIRECTIONS
    if directions:
        del wanted["scope"]
    train, val = read_tables(replace(files, **wanted))
    if directions:
        labels = [label for label, other in enumerate(mirror_classes(train.classes)) if other >= 0]
        train, val = train.keep_labels(labels), val.keep_labels(labels)
    if column.coarse:
        train, val = (_coarse(table, column.coarse) for table in (train, val))
    if available:
        train, val = (
            table.with_clips(clip for clip in table.clips if (videos / clip.file).is_file())
            for table in (train, val)
        )
    if not train.clips or not val.clips:
        raise SefarMLLMError(
            f"{videos}: holds no clip of {column.name}; cut the clips first, or name their folder"
        )
    labelled, unlabelled = label_split(train, column.fraction or fraction, seed)
    folder.mkdir(parents=True, exist_ok=True)
    lists = Lists(folder)
    parts: tuple[tuple[Path, Sequence[Clip]], ...] = (
        (lists.labelled, labelled),
        (lists.unlabelled, unlabelled),
        (lists.val, val.clips),
    )
    for path, clips in parts:
        write_clip_list(path, clips)
    write_classes(lists.classes, train.classes)
    return lists


def _coarse(table: ClipTable, group: str) -> ClipTable:
    """The same clips, with their set or event as their class."""

    def of(entry: ActionClass) -> ActionClass:
        if group == "event":
            return ActionClass(entry.event, entry.event)
        return ActionClass(f"({entry.event}) set {entry.set_id}", entry.event, entry.set_id)

    classes = list(dict.fromkeys(of(entry) for entry in table.classes))
    label = [classes.index(of(entry)) for entry in table.classes]
    return ClipTable(tuple(replace(clip, label=label[clip.label]) for clip in table.clips), tuple(classes))


def mirror_classes(classes: Sequence[ActionClass]) -> list[int]:
    """For every class that of the other direction: by the paper's list of pairs (FineGym's numbers), else by
    the word forward or backward in its name; −1 where there is none."""
    by_name = {entry.name: label for label, entry in enumerate(classes)}
    by_code = {entry.code: label for label, entry in enumerate(classes)}
    other_code = {a: b for pair in DIRECTION_PAIRS for a, b in (pair, pair[::-1])}
    return [
        by_code.get(other_code.get(entry.code, -2), by_name.get(_other_way(entry.name), -1))
        for entry in classes
    ]


def _other_way(name: str) -> str:
    """The name with forward and backward exchanged; empty for one without."""
    words = {"forward": "backward", "backward": "forward"}
    exchanged = " ".join(words.get(word, word) for word in name.split(" "))
    return "" if exchanged == name else exchanged
