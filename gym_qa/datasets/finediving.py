"""FineDiving's annotations (Xu et al., CVPR 2022): types of whole dives, or the steps of one type of dive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gym_qa.datasets.dataset import DataFiles, DataSet, Pair, folder_of
from gym_qa.datasets.plainpickle import read_plain_pickle
from gym_qa.datasets.table import ActionClass, Clip, ClipTable
from gym_qa.datasets.wordings import DIVING
from gym_qa.errors import GymQAError

#: First digit of an action type in the diving tables of World Aquatics.
DIRECTIONS = {1: "forward", 2: "back", 3: "reverse", 4: "inward", 5: "twisting", 6: "armstand"}

_VIDEO = re.compile(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]")
_TYPE = re.compile(r"[1-6][0-9]{2,3}[A-D]")
_LAST_FRAME = 100_000_000

Key = tuple[str, int]


def read_finediving(coarse: Path, split: Path) -> ClipTable:
    """Whole dives, labelled with their action type.

    Args:
        coarse: ``FineDiving_coarse_annotation.pkl``: ``(video, index)`` -> ``action_type``, ``start_frame``,
            ....
        split: ``train_split.pkl`` or ``test_split.pkl``: a list of ``(video, index)``.

    Returns:
        The split's clips in its order. All action types of the coarse file are classes, in alphabetical
        order, so that both splits agree. Event is the direction of the dive.
    """
    dives = _read_dives(coarse)
    names = sorted({str(dive["action_type"]) for dive in dives.values()})
    classes = tuple(_dive_class(name) for name in names)
    clips = []
    for key in _read_split(split, dives, coarse):
        start, end = _frames(dives[key], f"{coarse}, {key}")
        label = names.index(dives[key]["action_type"])
        clips.append(_clip(key, "", label, start, end))
    return ClipTable(tuple(clips), classes)


def read_finediving_steps(coarse: Path, fine: Path, names: Path, split: Path, action_type: str) -> ClipTable:
    """The steps of all dives of one action type (the paper's 5253B), labelled with their sub-action type.

    Args:
        coarse: see `read_finediving`; it says where a dive starts.
        fine: ``FineDiving_fine-grained_annotation.pkl``: its ``frames_labels`` give every frame's sub-action.
        names: ``Sub_action_Types_Table.pkl``: sub-action number -> name.
        split: see `read_finediving`.
        action_type: e.g. ``5253B``, in either case.
    """
    dives, details, table = _read_dives(coarse), _read_mapping(fine), _read_names(names)
    action_type = action_type.upper()
    steps: list[tuple[Key, int, int, int]] = []  # key, sub-action, first and last frame
    for key, dive in dives.items():
        if dive["action_type"] != action_type:
            continue
        place = f"{fine}, {key}"
        first, _ = _frames(dive, f"{coarse}, {key}")
        for number, run in groupby(_frame_labels(details.get(key), place)):
            length = len(list(run))
            if number not in table:
                raise GymQAError(
                    f"{place}: sub-action {number} is not in {names}; use the files that belong together"
                )
            steps.append((key, number, first, first + length))
            first += length
    if not steps:
        raise GymQAError(f"{coarse}: no dive of action type {action_type!r}; expected e.g. 5253B")
    numbers = sorted({number for _, number, _, _ in steps})
    classes = tuple(ActionClass(table[number], action_type, 0, number) for number in numbers)
    wanted = set(_read_split(split, dives, coarse))
    counts: dict[Key, int] = {}
    clips = []
    for key, number, start, end in steps:
        counts[key] = counts.get(key, 0) + 1
        if key in wanted:
            label = numbers.index(number)
            clips.append(_clip(key, f"_{counts[key]}", label, start, end))
    return ClipTable(tuple(clips), classes)


def _clip(key: Key, step: str, label: int, first: int, last: int) -> Clip:
    video, index = key
    return Clip(f"{video}_{index}{step}", video, label, frames=(first, last))


def _dive_class(name: str) -> ActionClass:
    number = int(name[0])
    return ActionClass(f"({DIRECTIONS[number]}) {name}", DIRECTIONS[number], number)


def _read_mapping(path: Path) -> dict[Any, Any]:
    value = read_plain_pickle(path)
    if not isinstance(value, dict) or not value:
        raise GymQAError(f"{path}: expected a dict, got {type(value).__name__}")
    return value


def _read_dives(path: Path) -> dict[Key, Mapping[str, Any]]:
    """The dives, their action types in capitals: the published file has them in lower case (``5253b``)."""
    dives: dict[Key, Mapping[str, Any]] = {}
    for key, dive in _read_mapping(path).items():
        _check_key(key, str(path))
        action = dive.get("action_type") if isinstance(dive, dict) else None
        if not isinstance(action, str) or not _TYPE.fullmatch(action.upper()):
            raise GymQAError(
                f"{path}, {key}: expected a dict with an action_type like '107B', got {action!r}"
            )
        dives[key] = {**dive, "action_type": action.upper()}
    return dives


def _read_names(path: Path) -> dict[int, str]:
    names = _read_mapping(path)
    for number, name in names.items():
        if type(number) is not int or not isinstance(name, str) or not name.strip():
            raise GymQAError(f"{path}: expected sub-action number -> name, got {number!r}: {name!r}")
    return names


def _read_split(path: Path, dives: Mapping[Key, Any], coarse: Path) -> list[Key]:
    value = read_plain_pickle(path)
    if not isinstance(value, list) or not value:
        raise GymQAError(f"{path}: expected a list of (video, index), got {type(value).__name__}")
    keys: list[Key] = []
    for place, item in enumerate(value):
        key = tuple(item) if isinstance(item, (list, tuple)) else item
        keys.append(_check_key(key, f"{path}, entry {place}"))
        if keys[-1] not in dives:
            raise GymQAError(
                f"{path}, entry {place}: {key} is not in {coarse}; use the files that belong together"
            )
    if len(set(keys)) < len(keys):
        raise GymQAError(f"{path}: a dive stands twice; download it again")
    return keys


def _check_key(key: Any, place: str) -> Key:
    fine = isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str) and type(key[1]) is int
    if not fine or not _VIDEO.fullmatch(key[0]) or not 0 <= key[1] < _LAST_FRAME:
        raise GymQAError(f"{place}: expected (video, index), got {key!r:.80}")
    return key


def _frames(dive: Mapping[str, Any], place: str) -> tuple[int, int]:
    """The first frame, counted from 0, and the one after the last. The files name pictures, counted from 1: a
    dive from 489 to 592 is ``00489.jpg`` to ``00592.jpg``. One from 0 begins with the video."""
    start, end = dive.get("start_frame"), dive.get("end_frame")
    if type(start) is not int or type(end) is not int or not 0 <= start < end < _LAST_FRAME:
        raise GymQAError(f"{place}: expected start_frame < end_frame, got {start!r:.40} and {end!r:.40}")
    return max(start - 1, 0), end


def _frame_labels(details: Any, place: str) -> list[int]:
    labels = details.get("frames_labels") if isinstance(details, dict) else None
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, (list, tuple)) or not labels:
        raise GymQAError(f"{place}: expected frames_labels, one sub-action number a frame")
    whole = (type(label) is int or (isinstance(label, float) and label.is_integer()) for label in labels)
    if not all(whole):
        raise GymQAError(f"{place}: expected whole numbers in frames_labels")
    return [int(label) for label in labels]


def _read_both(files: DataFiles) -> Pair:
    folder = folder_of(files)
    coarse = folder / "FineDiving_coarse_annotation.pkl"
    train, val = folder / "train_split.pkl", folder / "test_split.pkl"
    if files.action_type is None:
        return read_finediving(coarse, train), read_finediving(coarse, val)
    fine, names = folder / "FineDiving_fine-grained_annotation.pkl", folder / "Sub_action_Types_Table.pkl"
    return (
        read_finediving_steps(coarse, fine, names, train, files.action_type),
        read_finediving_steps(coarse, fine, names, val, files.action_type),
    )


FINEDIVING = DataSet(_read_both, DIVING, ("action_type",))
