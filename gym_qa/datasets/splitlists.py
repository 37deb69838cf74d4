"""The coarser data sets by their official split files: UCF-101, HMDB-51, Something-Something V2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from gym_qa.datasets.contradictions import Listed, by_class, class_in, contradictions
from gym_qa.datasets.dataset import DataFiles, DataSet, Pair, folder_of
from gym_qa.datasets.table import ActionClass, Clip, ClipTable
from gym_qa.datasets.wordings import ACTION
from gym_qa.errors import GymQAError
from gym_qa.files import read_json, read_lines, safe_relative

_UCF_VIDEO = re.compile(r"([A-Za-z0-9]+)/(v_[A-Za-z0-9]+)_(g[0-9]+)_c[0-9]+\.avi")
_HMDB_SUFFIX = "_test_split{}.txt"
HMDB_PARTS = {"train": "1", "val": "2"}


def read_ucf101(classes: Path, videos: Path) -> ClipTable:
    """UCF-101.

    Args:
        classes: ``classInd.txt``, ``<number from 1> <name>`` a line.
        videos: ``trainlist01.txt`` (``<name>/<video>.avi <number>``) or ``testlist01.txt`` (without the
            number).
    """
    names: list[str] = []
    for line, text in read_lines(classes):
        match = re.fullmatch(r"([0-9]{1,6})\s+([A-Za-z0-9]+)", text)
        if not match or int(match[1]) != len(names) + 1 or match[2] in names:
            raise GymQAError(f"{classes}, line {line}: expected '{len(names) + 1} <name>', got {text!r:.80}")
        names.append(match[2])
    labels = {name: label for label, name in enumerate(names)}
    clips = []
    for line, text in read_lines(videos):
        place = f"{videos}, line {line}"
        path, *number = text.split()
        match = _UCF_VIDEO.fullmatch(path)
        if not match or match[1] not in labels or len(number) > 1:
            raise GymQAError(
                f"{place}: expected '<class>/v_<class>_g01_c01.avi [<number>]', got {text!r:.80}"
            )
        if (
            match[2].lower() != f"v_{match[1]}".lower()
        ):  # the published HandstandPushups has v_HandStandPushups
            raise GymQAError(f"{place}: {path!r:.80} says one class as its folder and another in its name")
        if number and number[0] != str(labels[match[1]] + 1):
            raise GymQAError(
                f"{place}: {match[1]} has number {labels[match[1]] + 1} in {classes}, not {number[0]:.20}"
            )
        clips.append(Clip(Path(path).stem, f"{match[2]}_{match[3]}", labels[match[1]], path=path))
    spoken = tuple(ActionClass(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)) for name in names)
    return _table(clips, spoken, videos)


def read_hmdb51(
    folder: Path, part: str, fold: int = 1, contradictory: Literal["refuse", "leave-out", "keep"] = "refuse"
) -> ClipTable:
    """HMDB-51.

    Args:
        folder: of the ``<class>_test_split<fold>.txt`` files, ``<video>.avi <0|1|2>`` a line: unused, train,
            test.
        part: ``train`` or ``val`` (their test).
        fold: 1, 2 or 3.
        contradictory: what becomes of clips that stand in the lists of several classes, or whose name says
            another class than their list: ``refuse`` (an error that counts them by class), ``leave-out``
            (of either part) or ``keep`` (with the list's label).
    """
    if part not in HMDB_PARTS:
        raise GymQAError(f"part {part!r}: expected one of {', '.join(HMDB_PARTS)}")
    suffix = _HMDB_SUFFIX.format(fold)
    files = (
        sorted(folder.glob(f"*{suffix}"), key=lambda file: file.name[: -len(suffix)])
        if folder.is_dir()
        else []
    )
    if not files:
        raise GymQAError(f"{folder}: no <class>{suffix} in it; name the folder of the official split files")
    names = [file.name[: -len(suffix)] for file in files]
    clips, lines = [], []
    for label, (name, file) in enumerate(zip(names, files, strict=True)):
        for line, text in read_lines(file):
            place = f"{file}, line {line}"
            words = text.rsplit(None, 1)
            if len(words) != 2 or words[1] not in ("0", "1", "2") or not words[0].endswith(".avi"):
                raise GymQAError(f"{place}: expected '<video>.avi <0, 1 or 2>', got {text!r:.80}")
            path = safe_relative(words[0], place)
            stem = path[: -len(".avi")]
            lines.append(Listed(name, stem, words[1]))
            if words[1] == HMDB_PARTS[part]:
                source = stem.rsplit(f"_{class_in(stem, names) or name}_", 1)[0]
                clips.append(Clip(stem, source, label, path=f"{name}/{path}"))
    contradicting = contradictions(lines, names) if contradictory != "keep" else {}
    if contradicting and contradictory == "refuse":
        raise GymQAError(
            f"{folder}: the lists contradict themselves about {len(contradicting)} clips: "
            f"{by_class(contradicting)}. Leave them out with --contradictory leave-out, or keep the lists' "
            "labels with --contradictory keep"
        )
    classes = tuple(ActionClass(name.replace("_", " ")) for name in names)
    return _table([clip for clip in clips if clip.clip_id not in contradicting], classes, folder)


def read_something(labels: Path, videos: Path) -> ClipTable:
    """Something-Something V2.

    Args:
        labels: ``labels.json`` (``something-something-v2-labels.json``), template -> number as text.
        videos: ``train.json`` or ``validation.json``, a list of ``{"id": …, "template": …}``.
    """
    numbers = read_json(labels)
    if not isinstance(numbers, dict) or not numbers:
        raise GymQAError(f"{labels}: expected a JSON object, template -> number")
    names: list[str] = [""] * len(numbers)
    for name, number in numbers.items():
        fine = isinstance(number, str) and re.fullmatch(r"[0-9]{1,6}", number) and name.strip()
        if not fine or int(number) >= len(names) or names[int(number)]:
            raise GymQAError(f"{labels}, {name!r:.60}: expected each number from 0 to {len(names) - 1} once")
        names[int(number)] = name
    index = {name: label for label, name in enumerate(names)}
    rows = read_json(videos)
    if not isinstance(rows, list):
        raise GymQAError(f"{videos}: expected a JSON list of videos")
    clips = [_something_clip(row, index, f"{videos}, entry {place}") for place, row in enumerate(rows)]
    return _table(clips, tuple(ActionClass(name) for name in names), videos)


def _something_clip(row: Any, index: dict[str, int], place: str) -> Clip:
    video, template = (row.get("id"), row.get("template")) if isinstance(row, dict) else (None, None)
    if not isinstance(video, str) or not re.fullmatch(r"[0-9]{1,12}", video) or not isinstance(template, str):
        raise GymQAError(f"{place}: expected an object with 'id' (digits) and 'template'")
    name = template.replace("[", "").replace("]", "")
    if name not in index:
        raise GymQAError(f"{place}, key 'template': {name!r:.60} is not among the labels; use matching files")
    return Clip(video, video, index[name], path=f"{video}.webm")


def _table(clips: list[Clip], classes: tuple[ActionClass, ...], place: Path) -> ClipTable:
    if not clips:
        raise GymQAError(f"{place}: no clip in it")
    clip_ids: set[str] = set()
    for clip in clips:
        if clip.clip_id in clip_ids:
            raise GymQAError(f"{place}: {clip.clip_id} stands twice; remove one of its lines")
        clip_ids.add(clip.clip_id)
    return ClipTable(tuple(clips), classes)


def _ucf101(files: DataFiles) -> Pair:
    folder, fold = folder_of(files), files.fold
    classes = folder / "classInd.txt"
    train, val = folder / f"trainlist{fold:02d}.txt", folder / f"testlist{fold:02d}.txt"
    return read_ucf101(classes, train), read_ucf101(classes, val)


def _hmdb51(files: DataFiles) -> Pair:
    folder, fold, treatment = folder_of(files), files.fold, files.contradictory
    return read_hmdb51(folder, "train", fold, treatment), read_hmdb51(folder, "val", fold, treatment)


def _something(files: DataFiles) -> Pair:
    folder = folder_of(files)
    labels = folder / "labels.json"
    return read_something(labels, folder / "train.json"), read_something(labels, folder / "validation.json")


UCF101 = DataSet(_ucf101, ACTION, ("fold",))
HMDB51 = DataSet(_hmdb51, ACTION, ("fold", "contradictory"))
SOMETHING = DataSet(_something, ACTION)
