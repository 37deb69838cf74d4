"""The data sets by name, and their clips within a scope."""

from __future__ import annotations

from gym_qa.datasets.dataset import DataFiles, DataSet, Pair
from gym_qa.datasets.finediving import FINEDIVING
from gym_qa.datasets.finegym import FINEGYM, MINIGYM
from gym_qa.datasets.scopes import apply_scope
from gym_qa.datasets.splitlists import HMDB51, SOMETHING, UCF101
from gym_qa.errors import GymQAError


def read_tables(files: DataFiles) -> Pair:
    """The training and the validation clips, which share their classes.

    Raises:
        GymQAError: for an unknown data set or scope, an option that is missing or not the data set's, or
            files that are amiss.
    """
    if files.dataset not in DATASETS:
        raise GymQAError(f"data set {files.dataset!r}: expected one of {', '.join(DATASETS)}")
    if not files.frames_per_second > 0:
        raise GymQAError(f"frames_per_second {files.frames_per_second}: expected more than 0")
    data_set = DATASETS[files.dataset]
    data_set.check(files)
    train, val = apply_scope(files.scope, data_set.read(files))
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
    if files.dataset == "minigym":
        return True
    folders = {path if path.is_dir() else path.parent for path in (files.data, files.annotation) if path}
    return any((folder / "minigym.json").exists() for folder in folders)


#: What ``--dataset`` may name; MiniGym's files are FineGym's in form and say by themselves what they are.
DATASETS: dict[str, DataSet] = {
    "finegym": FINEGYM,
    "minigym": MINIGYM,
    "finediving": FINEDIVING,
    "ucf101": UCF101,
    "hmdb51": HMDB51,
    "something": SOMETHING,
}
