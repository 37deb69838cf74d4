"""FineGym's files: categories, sets, element lists and the annotation that times every clip.

Formats: Shao et al., "FineGym", CVPR 2020 (https://sdolivia.github.io/FineGym/), versions 1.0 and 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gym_qa.datasets.dataset import DataFiles, DataSet, Pair, folder_of
from gym_qa.datasets.table import ActionClass, Clip, ClipTable
from gym_qa.datasets.wordings import WORDINGS
from gym_qa.errors import GymQAError
from gym_qa.files import read_json, read_lines

# The video id may itself hold "_E_": only the last one, before two six-digit seconds, divides.
_CLIP_ID = re.compile(r"([A-Za-z0-9_-]+)_(E_[0-9]{6}_[0-9]{6})_(A_[0-9]{4}_[0-9]{4})")
_CATEGORY = re.compile(r"((?:[A-Za-z]+:\s*[0-9]{1,9};\s*)+)(\(([A-Z]{2})\)\s*\S.*)")
_FIELD = re.compile(r"([A-Za-z]+):\s*([0-9]+);")
_SET = re.compile(r"set:\s*([0-9]{1,9});\s*(\S.*)")
_ELEMENT = re.compile(r"(\S+)\s+([0-9]{1,9})")

#: The annotation's number of an event, and the event's name in categories.
EVENTS = {1: "VT", 2: "FX", 3: "BB", 4: "UB"}

_LONGEST_VIDEO = 1_000_000.0  # seconds; beyond eleven days a time is a typing error

Span = tuple[float, float]


@dataclass(frozen=True)
class ClipId:
    """A clip's id taken apart."""

    video: str
    event: str
    segment: str

    @classmethod
    def parse(cls, text: str, place: str) -> ClipId:
        """Take ``<video>_E_SSSSSS_EEEEEE_A_SSSS_EEEE`` apart."""
        match = _CLIP_ID.fullmatch(text)
        if not match:
            raise GymQAError(f"{place}: {text!r} is no clip id; expected <video>_E_000000_000000_A_0000_0000")
        return cls(*match.groups())


@dataclass(frozen=True)
class Annotation:
    """What FineGym's annotation says.

    Attributes:
        path: the file.
        spans: of each clip, in seconds of its video.
        events: the name of each event by ``(video, event's id)``.
    """

    path: Path
    spans: dict[str, list[Span]]
    events: dict[tuple[str, str], str]

    @classmethod
    def read(cls, path: Path) -> Annotation:
        """Read ``finegym_annotation_info_v1.x.json``. Raises `GymQAError` naming the place that is wrong."""
        value = read_json(path)
        return cls(path, _spans_by_clip(value, path), _events(value, path))


def read_finegym(
    annotation: Path | Annotation | None, categories: Path, elements: Path, sets: Path | None = None
) -> ClipTable:
    """Read one FineGym element list.

    Args:
        annotation: ``finegym_annotation_info_v1.x.json``, or what was read of it; without it clips have no
            times.
        categories: ``gym99_categories.txt`` and its like.
        elements: ``gym99_train_element_v1.1.txt`` and its like, ``<clip id> <label>`` a line.
        sets: ``set_categories.txt``; given, every class's set must stand in it.

    Returns:
        The clips in the list's order. Labels index the classes in the order of their Clabel (of their Glabel
        in gym530, which has no Clabel).

    Raises:
        GymQAError: naming file and place, for anything the files do not say in FineGym's format, and for a
            list whose labels the categories lack or whose events (by the annotation) are not its labels'.
    """
    numbered = read_categories(categories)
    if sets is not None:
        known = read_sets(sets)
        for _, action in numbered:
            if action.set_id not in known:
                raise GymQAError(f"{sets}: set {action.set_id} of {action.name!r} is missing; add its line")
    index = {number: label for label, (number, _) in enumerate(numbered)}
    timed = Annotation.read(annotation) if isinstance(annotation, Path) else annotation
    clips = []
    clip_ids: set[str] = set()
    unknown: list[str] = []
    elsewhere: list[str] = []
    for line, text in read_lines(elements):
        place = f"{elements}, line {line}"
        match = _ELEMENT.fullmatch(text)
        if not match:
            raise GymQAError(f"{place}: expected '<clip id> <label>', got {_short(text)}")
        clip_id, number = match[1], int(match[2])
        parts = ClipId.parse(clip_id, place)
        if clip_id in clip_ids:
            raise GymQAError(f"{place}: {clip_id} stands twice; remove one of its lines")
        clip_ids.add(clip_id)
        start, end = _times(timed, clip_id, place) if timed is not None else (None, None)
        if number not in index:
            unknown.append(f"{place}: label {number} is not in {categories}")
            continue
        action = numbered[index[number]][1]
        event = timed.events.get((parts.video, parts.event), action.event) if timed else action.event
        if timed and event != action.event:
            elsewhere.append(
                f"{place}: {clip_id} is on {event} in {timed.path}, but its label {number} is "
                f"{action.name!r} in {categories}"
            )
        clips.append(Clip(clip_id, parts.video, index[number], start, end))
    if not clip_ids:
        raise GymQAError(f"{elements}: no clip in it; expected '<clip id> <label>' a line")
    if wrong := unknown or elsewhere:
        raise GymQAError(f"{wrong[0]}; {len(wrong)} of {len(clip_ids)} lines disagree like this. {_TOGETHER}")
    return ClipTable(tuple(clips), tuple(action for _, action in numbered))


_TOGETHER = "Lists, categories and annotation must be of one set (Gym99's with Gym99's): use its own files"


SMALLEST = 4  # classes that a question can be made of


def check_counts(tables: Sequence[ClipTable], categories: Path) -> None:
    """Refuse lists of a smaller set, which use all of its labels from 0 on and none of the other classes.

    Args:
        tables: of all the lists together.
        categories: the file that the tables' classes come from.

    Raises:
        GymQAError: as above.
    """
    used = {clip.label for table in tables for clip in table.clips}
    count, known = len(used), len(tables[0].classes)
    if SMALLEST <= count < known and used == set(range(count)):
        raise GymQAError(
            f"{categories}: holds {known} classes, and the lists use exactly the first {count} of them, as a "
            f"set of {count} classes does. {_TOGETHER}, or take the lines of unused classes out of it"
        )


def _times(timed: Annotation, clip_id: str, place: str) -> Span:
    if clip_id not in timed.spans:
        raise GymQAError(
            f"{place}: {clip_id} is not in {timed.path}; use the annotation of the same version as the list"
        )
    clip_spans = timed.spans[clip_id]
    return clip_spans[0][0], clip_spans[-1][1]


def read_categories(path: Path) -> list[tuple[int, ActionClass]]:
    """Read ``Clabel: 0; set: 1; Glabel: 1; (VT) name`` lines, in the order of their numbers.

    Returns:
        ``(number, class)`` pairs; the number is the Clabel, or the Glabel where a file has no Clabel.
    """
    classes: dict[int, ActionClass] = {}
    for line, text in read_lines(path):
        match = _CATEGORY.fullmatch(text)
        fields = {key.lower(): int(value) for key, value in _FIELD.findall(match[1])} if match else {}
        if not match or "set" not in fields or not ("clabel" in fields or "glabel" in fields):
            raise GymQAError(
                f"{path}, line {line}: expected 'Clabel: 0; set: 1; Glabel: 1; (VT) name', got {_short(text)}"
                "; mend the line or download the file again"
            )
        number = fields.get("clabel", fields.get("glabel", -1))
        if number in classes:
            raise GymQAError(f"{path}, line {line}: label {number} stands twice; remove one of its lines")
        classes[number] = ActionClass(match[2], match[3], fields["set"], fields.get("glabel", -1))
    if not classes:
        raise GymQAError(
            f"{path}: no category in it; expected 'Clabel: 0; set: 1; Glabel: 1; (VT) name' lines"
        )
    return sorted(classes.items(), key=lambda pair: pair[0])


def read_sets(path: Path) -> dict[int, str]:
    """Read ``set: 21; FX_leap_jump_hop`` lines."""
    sets: dict[int, str] = {}
    for line, text in read_lines(path):
        match = _SET.fullmatch(text)
        if not match or int(match[1]) in sets:
            raise GymQAError(
                f"{path}, line {line}: expected 'set: 21; FX_leap_jump_hop', once, got {_short(text)}"
            )
        sets[int(match[1])] = match[2]
    return sets


def read_annotation(path: Path) -> dict[str, list[Span]]:
    """Read the annotation: clip id -> its spans in seconds of the source video (one, or a vault's three)."""
    return _spans_by_clip(read_json(path), path)


def _events(value: Any, path: Path) -> dict[tuple[str, str], str]:
    """``(video, event's id)`` -> name of the event, of a value that `_spans_by_clip` has read."""
    names = {}
    for video, events in value.items():
        for event, body in events.items():
            number = body.get("event")
            if type(number) is not int or number not in EVENTS:
                raise GymQAError(
                    f"{path}, {video}, {event}, event: expected 1 (VT), 2 (FX), 3 (BB) or 4 (UB), "
                    f"got {_short(number)}"
                )
            names[video, event] = EVENTS[number]
    return names


def _spans_by_clip(value: Any, path: Path) -> dict[str, list[Span]]:
    videos = _mapping(value, str(path))
    spans: dict[str, list[Span]] = {}
    for video, events in videos.items():
        for event, body in _mapping(events, f"{path}, {video}").items():
            place = f"{path}, {video}, {event}"
            body = _mapping(body, place)
            event_start = _spans(body.get("timestamps"), place)[0][0]
            segments = body.get("segments")
            if segments is None:  # an event whose elements were not annotated
                continue
            for segment, details in _mapping(segments, f"{place}, segments").items():
                where = f"{place}, {segment}"
                clip_id = f"{video}_{event}_{segment}"
                ClipId.parse(clip_id, where)
                inner = _spans(_mapping(details, where).get("timestamps"), where)
                spans[clip_id] = [(event_start + a, event_start + b) for a, b in inner]
    if not spans:
        raise GymQAError(f"{path}: no timed element in it; expected FineGym's annotation_info")
    return spans


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GymQAError(f"{place}: expected a JSON object, got {_short(value)}")
    return value


def _spans(value: Any, place: str) -> list[Span]:
    wanted = f"{place}, timestamps: expected [[start, end], ...] in seconds, in order, got {_short(value)}"
    if not isinstance(value, list) or not value:
        raise GymQAError(wanted)
    spans: list[Span] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_seconds, pair)):
            raise GymQAError(wanted)
        if pair[0] > pair[1] or (spans and pair[0] < spans[-1][0]):
            raise GymQAError(wanted)
        spans.append((float(pair[0]), float(pair[1])))
    return spans


def _is_seconds(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < _LONGEST_VIDEO  # also false for NaN


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _read_both(files: DataFiles) -> Pair:
    def path(given: Path | None, name: str) -> Path:
        if given is None and files.data is None:
            raise GymQAError(
                f"no file for {name}: give --data, or --annotation, --categories, --train and --val"
            )
        return given or folder_of(files) / name

    annotation = path(files.annotation, "annotation_info.json")
    categories = path(files.categories, "categories.txt")
    train, val = path(files.train, "train_element.txt"), path(files.val, "val_element.txt")
    sets = files.sets
    if sets is None and files.data is not None and (files.data / "set_categories.txt").exists():
        sets = files.data / "set_categories.txt"
    timed = Annotation.read(annotation)
    pair = read_finegym(timed, categories, train, sets), read_finegym(timed, categories, val, sets)
    check_counts(pair, categories)
    return pair


FINEGYM = DataSet(_read_both, WORDINGS, ("annotation", "categories", "train", "val", "sets"), "cc-by-nc-4.0")
#: The same files, made by this project.
MINIGYM = replace(FINEGYM, license="apache-2.0")
