"""Where clips lie: clip id → file below the folder of the clips."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from gym_qa.datasets.cliplist import read_files
from gym_qa.errors import GymQAError

ENDINGS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
LISTS = ("train.csv", "unlabelled.csv", "val.csv")  # what build-qa writes beside the questions
SHOWN = 5


def clip_files(clips: Iterable[str], lists: Path, videos: Path | None = None) -> dict[str, str]:
    """The file of each clip, relative to the folder of the clips.

    It is the one that a clip list names; else the one in ``videos`` that is called like the clip, in whatever
    folder and with whatever ending (or the folder of that name, for clips in single frames); else ``<clip
    id>.mp4``.

    Args:
        clips: clip ids.
        lists: the folder of the clip lists.
        videos: the folder of the clips; with it, every file is looked for.

    Raises:
        GymQAError: for clips that are not in ``videos``, or there twice.
    """
    listed = {
        clip: file
        for name in LISTS
        if (lists / name).is_file()
        for clip, file in read_files(lists / name).items()
    }
    wanted = {clip: listed.get(clip, f"{clip}.mp4") for clip in clips}
    if videos is None:
        return wanted
    if not videos.is_dir():
        raise GymQAError(f"{videos}: no such folder; --videos must name the folder of the clips")
    elsewhere = [clip for clip, file in wanted.items() if not (videos / file).exists()]
    if elsewhere:
        there = _by_name(videos)
        _check(elsewhere, there, videos)
        wanted |= {clip: there[clip][0] for clip in elsewhere}
    return wanted


def _by_name(videos: Path) -> dict[str, list[str]]:
    """Every video below a folder, and every folder, by its name without ending."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for place, folders, files in os.walk(videos, followlinks=True):
        below = Path(place).relative_to(videos)
        for name in folders:
            by_name[name].append((below / name).as_posix())
        for name in files:
            if name.lower().endswith(ENDINGS):
                by_name[Path(name).stem].append((below / name).as_posix())
    return by_name


def _check(clips: Sequence[str], there: dict[str, list[str]], videos: Path) -> None:
    missing = [clip for clip in clips if clip not in there]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise GymQAError(
            f"{videos}: lacks {len(missing)} clips that are asked about: {', '.join(missing[:SHOWN])}{more}; "
            "name their folder, or build questions for what is there (build-qa --available_only)"
        )
    for clip in clips:
        if len(there[clip]) > 1:
            raise GymQAError(f"{videos}: {clip} is there as {' and as '.join(sorted(there[clip]))}; keep one")
