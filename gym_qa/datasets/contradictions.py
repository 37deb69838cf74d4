"""HMDB-51's lists against themselves: clips under several classes, or under another than their name says."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Listed(NamedTuple):
    """One line of a class's list: its class, the clip's name without ending, and 0 (unused), 1 or 2."""

    name: str
    clip: str
    part: str


def contradictions(lines: Iterable[Listed], classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Clips that the lists use and contradict themselves about.

    Args:
        lines: of all classes' lists.
        classes: names as the lists' files have them, e.g. ``climb_stairs``.

    Returns:
        Clip -> the class that lists it and the other class that also does, or that its name says.
    """
    listed: dict[str, list[Listed]] = defaultdict(list)
    for line in lines:
        listed[line.clip].append(line)
    contradicting = {}
    for clip, rows in listed.items():
        used = [row for row in rows if row.part != "0"]
        if not used:
            continue
        name = used[0].name
        others = [row.name for row in rows if row.name != name] or [class_in(clip, classes) or name]
        if others[0] != name:
            contradicting[clip] = (name, others[0])
    return contradicting


def class_in(clip: str, classes: Sequence[str]) -> str:
    """The class that a clip's name says, ``<film>_<class>_f_cm_np1_ba_med_0``; empty where it says none.

    It is the last class in the name, the longest of several that end there: ``climb_stairs``, not ``climb``.
    """
    ends = {
        name: (match.end(), len(name))
        for name in classes
        if (match := re.search(rf".*_{re.escape(name)}(?=_|$)", clip))
    }
    return max(ends, key=lambda name: ends[name], default="")


def by_class(contradicting: Mapping[str, tuple[str, str]]) -> str:
    """How many clips of which classes contradict, with one example of each."""
    counts = Counter(contradicting.values())
    first = {pair: clip for clip, pair in reversed(list(contradicting.items()))}
    return "; ".join(
        f"{count} listed under {pair[0]} and named or also listed as {pair[1]} ({first[pair]})"
        for pair, count in sorted(counts.items())
    )
