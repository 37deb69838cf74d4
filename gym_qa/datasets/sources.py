"""Which data set, from which files: the options that ``build-qa`` and ``cut-clips`` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gym_qa.datasets.finediving import read_finediving, read_finediving_steps
from gym_qa.datasets.finegym import check_counts, read_finegym
from gym_qa.datasets.scopes import apply_scope
from gym_qa.datasets.splitlists import read_hmdb51, read_something, read_ucf101
from gym_qa.datasets.table import ClipTable
from gym_qa.errors import GymQAError

Pair = tuple[ClipTable, ClipTable]


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """The annotation files of one data set.

    Attributes:
        dataset: in either case: ``finegym`` (also MiniGym), ``finediving``, ``ucf101``, ``hmdb51`` or
            ``something``.
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


def read_tables(files: DataFiles) -> Pair:
    """The training and the validation clips, which share their classes.

    Raises:
        GymQAError: for an unknown data set or scope, a missing option, or files that are amiss.
    """
    if files.dataset not in DATASETS:
        raise GymQAError(f"data set {files.dataset!r}: expected one of {', '.join(DATASETS)}")
    if not files.frames_per_second > 0:
        raise GymQAError(f"frames_per_second {files.frames_per_second}: expected more than 0")
    train, val = apply_scope(files.scope, DATASETS[files.dataset](files))
    for name, table in (("training", train), ("validation", val)):
        if not table.clips:
            raise GymQAError(f"scope {files.scope!r}: no {name} clip is in it; choose a larger scope")
    twice = {clip.clip_id for clip in train.clips} & {clip.clip_id for clip in val.clips}
    if twice:
        raise GymQAError(
            f"{min(twice)} and {len(twice) - 1} other clips are in both lists; use one version of them"
        )
    return train, val


def is_synthetic(files: DataFiles) -> bool:
    """Whether the files are MiniGym's, which says so in a file of its own beside them."""
    folders = {path if path.is_dir() else path.parent for path in (files.data, files.annotation) if path}
    return any((folder / "minigym.json").exists() for folder in folders)


def _folder(files: DataFiles) -> Path:
    if files.data is None:
        raise GymQAError(f"data set {files.dataset!r}: give --data, the folder of its annotation files")
    return files.data


def _finegym(files: DataFiles) -> Pair:
    def path(given: Path | None, name: str) -> Path:
        if given is None and files.data is None:
            raise GymQAError(
                f"no file for {name}: give --data, or --annotation, --categories, --train and --val"
            )
        return given or _folder(files) / name

    annotation = path(files.annotation, "annotation_info.json")
    categories = path(files.categories, "categories.txt")
    train, val = path(files.train, "train_element.txt"), path(files.val, "val_element.txt")
    sets = files.sets
    if sets is None and files.data is not None and (files.data / "set_categories.txt").exists():
        sets = files.data / "set_categories.txt"
    pair = read_finegym(annotation, categories, train, sets), read_finegym(annotation, categories, val, sets)
    check_counts(pair, categories)
    return pair


def _finediving(files: DataFiles) -> Pair:
    folder = _folder(files)
    coarse = folder / "FineDiving_coarse_annotation.pkl"
    train, val = folder / "train_split.pkl", folder / "test_split.pkl"
    if files.action_type is None:
        return read_finediving(coarse, train), read_finediving(coarse, val)
    fine, names = folder / "FineDiving_fine-grained_annotation.pkl", folder / "Sub_action_Types_Table.pkl"
    return (
        read_finediving_steps(coarse, fine, names, train, files.action_type),
        read_finediving_steps(coarse, fine, names, val, files.action_type),
    )


def _ucf101(files: DataFiles) -> Pair:
    folder, fold = _folder(files), files.fold
    classes = folder / "classInd.txt"
    train, val = folder / f"trainlist{fold:02d}.txt", folder / f"testlist{fold:02d}.txt"
    return read_ucf101(classes, train), read_ucf101(classes, val)


def _hmdb51(files: DataFiles) -> Pair:
    folder, fold, treatment = _folder(files), files.fold, files.contradictory
    return read_hmdb51(folder, "train", fold, treatment), read_hmdb51(folder, "val", fold, treatment)


def _something(files: DataFiles) -> Pair:
    folder = _folder(files)
    labels = folder / "labels.json"
    return read_something(labels, folder / "train.json"), read_something(labels, folder / "validation.json")


DATASETS: dict[str, Callable[[DataFiles], Pair]] = {
    "finegym": _finegym,
    "finediving": _finediving,
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "something": _something,
}
