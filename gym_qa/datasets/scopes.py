"""Parts of a data set that the paper scores by themselves, re-numbered from 0."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gym_qa.datasets.table import ActionClass, ClipTable
from gym_qa.errors import GymQAError

#: Pairs of FineGym classes (Glabel) that differ in direction alone: the 40 classes of Gym-New.
DIRECTION_PAIRS = (
    (171, 183),
    (172, 184),
    (174, 188),
    (175, 189),
    (343, 358),
    (345, 359),
    (350, 371),
    (353, 368),
    (355, 369),
    (399, 403),
    (409, 419),
    (411, 418),
    (416, 421),
    (424, 426),
    (425, 427),
    (433, 438),
    (442, 446),
    (443, 447),
    (471, 472),
    (483, 484),
)
_WHOLE = {"all": None, "gym99": 99, "gym288": 288, "gym530": 530}
_KINDS = (
    "all, gym99, gym288, gym530, an event (UB), a set of an event (UB-S1), a set (set-41), gym-new, "
    "a height of FineDiving (10m), or labels:0,3,7"
)


def apply_scope(name: str, tables: Sequence[ClipTable]) -> list[ClipTable]:
    """Cut tables that share their classes (training and validation) down to a scope.

    Args:
        name: in either case: ``all``; ``gym99`` and its like (the whole, checked for its number of classes);
            an event (``UB``); a set of an event (``UB-S1`` is set 41, ``FX-S1`` set 21); ``set-41``;
            ``gym-new`` (the 20 direction pairs of Gym288, in their published order); a height that source
            videos are named after (``10m``); or ``labels:0,3,7``.
        tables: with equal classes.

    Returns:
        The tables with the scope's classes re-numbered from 0: in their old order, but ``gym-new`` and
        ``labels:`` in the order in which they are listed.

    Raises:
        GymQAError: for an unknown scope, or one of fewer than two classes.
    """
    classes = tables[0].classes
    if re.fullmatch(r"[0-9]{1,3}m", name, re.IGNORECASE):
        tables = [
            table.with_clips(clip for clip in table.clips if _at_height(clip.source_video, name))
            for table in tables
        ]
        labels = sorted({clip.label for table in tables for clip in table.clips})
    else:
        labels = _labels(name, classes)
    if len(labels) < 2:
        raise GymQAError(
            f"scope {name!r}: {len(labels)} classes of this data set are in it; expected {_KINDS}"
        )
    return [table.keep_labels(labels) for table in tables]


def _at_height(video: str, height: str) -> bool:
    return re.search(rf"(?<![0-9]){height}", video, re.IGNORECASE) is not None


def _labels(name: str, classes: Sequence[ActionClass]) -> list[int]:
    everything = range(len(classes))
    name = name.lower()
    if name in _WHOLE:
        wanted = _WHOLE[name]
        if wanted is not None and wanted != len(classes):
            raise GymQAError(
                f"scope {name!r}: the categories file holds {len(classes)} classes, expected {wanted}"
            )
        return list(everything)
    if name == "gym-new":
        return _direction_pairs(classes)
    if match := re.fullmatch(r"labels:([0-9]{1,6}(?:,[0-9]{1,6})*)", name):
        return [int(number) for number in match[1].split(",")]
    if match := re.fullmatch(r"set-([0-9]{1,4})", name):
        return [label for label in everything if classes[label].set_id == int(match[1])]
    event, number = match.groups() if (match := re.fullmatch(r"([a-z]{2})-s([0-9])", name)) else (name, None)
    inside = [label for label in everything if classes[label].event.lower() == event]
    return [label for label in inside if number is None or classes[label].set_id % 10 == int(number)]


def _direction_pairs(classes: Sequence[ActionClass]) -> list[int]:
    label_of = {action.code: label for label, action in enumerate(classes)}
    codes = [code for pair in DIRECTION_PAIRS for code in pair]
    missing = [code for code in codes if code not in label_of]
    if missing:
        raise GymQAError(
            f"scope 'gym-new': Glabel {', '.join(map(str, missing))} are missing; use Gym288's files"
        )
    return [label_of[code] for code in codes]
