"""Clip lists: which clips there are, where they lie and what they show."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from encoder.errors import EncoderError

#: ``<path> <label>``; a comma before the space is CSV's.
_SPACED = re.compile(r"(\S|\S.*[^\s,])\s+([^\s,]+)")


@dataclass(frozen=True)
class Clip:
    """One clip: a video, or a part of one.

    Attributes:
        path: The video file, or a folder of numbered pictures.
        label: Index of the class; −1 where none is given.
        start: Start of the clip in seconds of the video, or None for its beginning.
        end: End of the clip in seconds, or None for the end of the video.
        rate: Pictures a second of a folder; None where it is not known, and for a video file.
    """

    path: Path
    label: int
    start: float | None = None
    end: float | None = None
    rate: float | None = None

    @property
    def id(self) -> str:
        """The video's name without its ending, and the span in seconds where there is one.

        A folder that has a number for its name has that of the folder above before it: ``dive/3`` is
        ``dive_3``, as FineDiving's clips are called.
        """
        if self.start is None and self.end is None:
            return self._name
        end = "" if self.end is None else f"{self.end:g}"
        return f"{self._name}@{self.start or 0:g}-{end}"

    @property
    def _name(self) -> str:
        numbered = self.path.name.isdigit() and self.path.parent.name
        return f"{self.path.parent.name}_{self.path.name}" if numbered else self.path.stem

    def __str__(self) -> str:
        spanned = self.start is not None or self.end is not None
        return f"{self.path} ({self.id})" if spanned else str(self.path)


@dataclass(frozen=True)
class ClassInfo:
    """A class, as ``classes.json`` gives it: its name, and its event and set where they are known."""

    name: str
    event: str | None = None
    set: int | None = None


def read_clips(path: Path, video_root: Path | None = None) -> list[Clip]:
    """Reads a clip list, as :func:`read_numbered_clips` does, and checks that every video is there.

    Raises:
        EncoderError: No such list, a line that does not parse, no clip in it, or videos that are missing.
    """
    clips = [clip for _, clip in read_numbered_clips(path, video_root)]
    missing = [clip.path for clip in clips if not clip.path.exists()]
    if missing:
        root = path.parent if video_root is None else video_root
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise EncoderError(
            f"{path}: {missing[0]} is not there{more}; put the videos under {root}, name their folder as the "
            "video root, or take them out of the list"
        )
    return clips


def read_numbered_clips(path: Path, video_root: Path | None = None) -> list[tuple[int, Clip]]:
    """Reads a clip list: the number of its line and the clip, whether or not the video is there.

    Two forms: CSV with a header ``video,label[,start,end][,rate]`` (seconds; an empty label means none), or
    lines ``<path> <label>`` or ``<path>,<label>`` without a header, as lists of FineGym and UCF-101 are kept.
    A video is a file, or a folder of numbered pictures, ``rate`` a second; spans in seconds need the rate.

    Args:
        path: The clip list.
        video_root: Folder that the videos' paths start from; None for the clip list's own.

    Raises:
        EncoderError: No such list, a line that does not parse, or no clip in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such clip list") from None
    except (UnicodeDecodeError, OSError) as error:
        raise EncoderError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    root = path.parent if video_root is None else video_root
    has_header = _header(lines[0])[:2] == ["video", "label"]
    read = _csv_lines if has_header else _plain_lines
    try:
        rows = read(path, lines)
    except csv.Error as error:
        raise EncoderError(f"{path}: not CSV ({error}); a quoted path must end on its line") from None
    clips = []
    for number, fields in rows:
        try:
            clips.append((number, _clip(root, fields)))
        except ValueError as error:
            raise EncoderError(
                f"{path}, line {number}: {error}; expected 'video,label[,start,end][,rate]' under such a "
                "header, or '<path> <label>' or '<path>,<label>' without one"
            ) from None
    if not clips:
        raise EncoderError(f"{path}: holds no clip")
    return clips


def _header(line: str) -> list[str]:
    columns = [column.strip().lower() for column in line.split(",")]
    return ["video", *columns[1:]] if columns[0] == "path" else columns


def _csv_lines(path: Path, lines: list[str]) -> list[tuple[int, dict[str, str]]]:
    header = _header(lines[0])
    if header[2:] not in ([], ["start", "end"], ["rate"], ["start", "end", "rate"]):
        raise EncoderError(f"{path}, line 1: expected the header 'video,label[,start,end][,rate]'")
    rows = []
    for number, row in enumerate(csv.reader(lines[1:]), 2):
        if row and len(row) != len(header):
            raise EncoderError(f"{path}, line {number}: expected {len(header)} columns, got {len(row)}")
        if row:
            rows.append((number, dict(zip(header, map(str.strip, row), strict=True))))
    return rows


def _plain_lines(path: Path, lines: list[str]) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        spaced = _SPACED.fullmatch(line)
        parts = spaced.groups() if spaced else next(csv.reader([line]), [])
        if len(parts) not in (0, 2):
            raise EncoderError(
                f"{path}, line {number}: expected '<path> <label>' or '<path>,<label>', got {line[:80]!r}"
            )
        if parts:
            rows.append((number, {"video": parts[0].strip(), "label": parts[1].strip()}))
    return rows


def _clip(root: Path, fields: dict[str, str]) -> Clip:
    if not fields["video"]:
        raise ValueError("the video is empty")
    if not (fields["label"].isascii() and fields["label"].isdigit()) and fields["label"] not in ("", "-1"):
        raise ValueError(f"the label {fields['label']!r} is not a whole number")
    label = int(fields["label"] or -1)
    start, end = (float(fields[key]) if fields.get(key) else None for key in ("start", "end"))
    bounds = [0.0 if start is None else start, math.inf if end is None else end]
    if not 0 <= bounds[0] < bounds[1] or math.isinf(bounds[0]):
        raise ValueError(f"the span {fields.get('start')}–{fields.get('end')} is not one of seconds")
    rate = float(fields["rate"]) if fields.get("rate") else None
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"the rate {fields['rate']} is not one of pictures a second")
    return Clip(root / fields["video"], label, start, end, rate)


def read_classes(path: Path) -> list[ClassInfo]:
    """Reads ``classes.json``: a list, index = label, of ``{"name": …, "event": …, "set": …}`` or of names.

    Raises:
        EncoderError: No such file, or it holds something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(entries, ensure_ascii=False).encode()  # an escape may spell half a character
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; it lists the classes, index = label") from None
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: not JSON in UTF-8 ({error})") from None
    if not isinstance(entries, list) or not entries:
        raise EncoderError(f"{path}: expected a list of classes, index = label")
    classes = []
    for number, entry in enumerate(entries):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise EncoderError(f"{path}, entry {number}: expected an object with a 'name'")
        classes.append(ClassInfo(entry["name"], entry.get("event"), entry.get("set")))
    return classes


def check_labels(clips: list[Clip], classes: list[ClassInfo], path: Path) -> None:
    """Raises EncoderError for the first clip without a label, or with one that ``classes`` has not."""
    for clip in clips:
        if not 0 <= clip.label < len(classes):
            raise EncoderError(
                f"{path}: {clip} has the label {clip.label}; expected 0 … {len(classes) - 1}, "
                f"as there are {len(classes)} classes"
            )
