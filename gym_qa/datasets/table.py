"""The one typed table that every data set becomes: clips, and the classes their labels index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gym_qa.errors import GymQAError
from gym_qa.files import read_json, write_text


@dataclass(frozen=True)
class ActionClass:
    """One class of action.

    Attributes:
        name: its text with the event prefix, e.g. ``(FX) salto forward tucked``.
        event: the apparatus or other coarse group, e.g. ``FX``; empty where a data set has none.
        set_id: the group of similar classes inside the event; 0 where a data set has none.
        code: the class's number in its data set at large (FineGym's Glabel); -1 where there is none.
    """

    name: str
    event: str = ""
    set_id: int = 0
    code: int = -1

    @property
    def text(self) -> str:
        """The name without its event prefix, as an option shows it."""
        prefix = f"({self.event}) "
        cut = self.event and self.name.startswith(prefix)
        return (self.name[len(prefix) :] if cut else self.name).strip()


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        clip_id: name of the clip, also of its file without the ending.
        source_video: the video it was cut from.
        label: index into the table's classes.
        start: seconds from the start of the source video; None where unknown.
        end: seconds from the start of the source video; None where unknown.
        path: the clip's file relative to a video root; derived from ``clip_id`` where empty.
        frames: its frames in the source video, counted from 0: the first, and the one after the last; for
            data sets that count in frames.
    """

    clip_id: str
    source_video: str
    label: int
    start: float | None = None
    end: float | None = None
    path: str = ""
    frames: tuple[int, int] | None = None

    @property
    def file(self) -> str:
        """The clip's file relative to a video root."""
        return self.path or f"{self.clip_id}.mp4"

    def length(self, frames_per_second: float) -> int:
        """Its length in frames; 0 where unknown."""
        if self.frames is not None:
            return self.frames[1] - self.frames[0]
        if self.start is None or self.end is None:
            return 0
        return round((self.end - self.start) * frames_per_second)


@dataclass(frozen=True)
class ClipTable:
    """Clips with the classes that their labels index."""

    clips: tuple[Clip, ...]
    classes: tuple[ActionClass, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def class_of(self, clip: Clip) -> ActionClass:
        """The class of one clip."""
        return self.classes[clip.label]

    def counts(self) -> Counter[int]:
        """Clips per label; labels without a clip are absent."""
        return Counter(clip.label for clip in self.clips)

    def with_clips(self, clips: Iterable[Clip]) -> ClipTable:
        """The same classes with other clips."""
        return replace(self, clips=tuple(clips))

    def keep_labels(self, labels: Sequence[int]) -> ClipTable:
        """Only the given classes, re-numbered from 0 in the given order."""
        new = {label: index for index, label in enumerate(labels)}
        if len(new) < len(labels) or not all(0 <= label < len(self.classes) for label in new):
            raise GymQAError(
                f"labels {list(labels)}: expected different numbers from 0 to {len(self.classes) - 1}"
            )
        clips = tuple(replace(clip, label=new[clip.label]) for clip in self.clips if clip.label in new)
        return ClipTable(clips, tuple(self.classes[label] for label in labels))


def write_classes(path: Path, classes: Sequence[ActionClass]) -> None:
    """Write ``classes.json``: a list whose index is the label."""
    rows = [{"name": c.name, "event": c.event, "set": c.set_id, "code": c.code} for c in classes]
    write_text(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def read_classes(path: Path) -> tuple[ActionClass, ...]:
    """Read ``classes.json``."""
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise GymQAError(f"{path}: expected a JSON list of classes, one object a label")
    return tuple(_read_class(row, f"{path}, entry {label}") for label, row in enumerate(rows))


def _read_class(row: object, place: str) -> ActionClass:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"].strip():
        raise GymQAError(f'{place}: expected {{"name": text, "event": text, "set": int}}, got {row!r}')
    event, set_id, code = row.get("event", ""), row.get("set", 0), row.get("code", -1)
    if not isinstance(event, str) or type(set_id) is not int or type(code) is not int:
        raise GymQAError(f"{place}: expected event as text, set and code as int, got {row!r}")
    return ActionClass(row["name"], event, set_id, code)
