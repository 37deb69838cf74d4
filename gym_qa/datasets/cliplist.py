"""Clip lists: the CSV door to the encoder, and the headerless ``<path> <label>`` and ``<path>,<label>``."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gym_qa.datasets.table import Clip, ClipTable
from gym_qa.errors import GymQAError
from gym_qa.files import read_lines, safe_relative, write_text

_HEADERS = (["video", "label"], ["path", "label"])
_SPACED = re.compile(r"(\S|\S.*[^\s,])\s+([0-9]{1,9})")  # a comma before the space is CSV's


def write_clip_list(path: Path, clips: Sequence[Clip]) -> None:
    """Write a clip list: the header ``video,label``, then each clip's file (below a video root) and label."""
    buffer = io.StringIO()
    rows = ((path_cell(clip.file), clip.label) for clip in clips)
    csv.writer(buffer, lineterminator="\n").writerows([("video", "label"), *rows])
    write_text(path, buffer.getvalue())


def path_cell(file: str) -> str:
    """A relative path as a cell of CSV: as ``./=x`` where a spreadsheet would run it as a formula.

    Many ids of FineGym's videos begin with ``-``; with nothing to compute in them they stay as they are.
    """
    runs = file.startswith(("=", "+", "-", "@")) and not re.fullmatch(r"-[\w./-]*", file, re.ASCII)
    return f"./{file}" if runs else file


def text_cell(text: str) -> str:
    """A text as a cell of CSV or TSV: after a space where a spreadsheet would run it as a formula.

    Readers that compare texts strip them; a spreadsheet leaves a cell that begins with a space alone.
    """
    return f" {text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def read_label_list(path: Path, table: ClipTable, skip_missing: bool = False) -> list[Clip]:
    """The clips of ``table`` that a clip list names, in the list's order.

    Reads CSV with the header ``video,label`` and lines ``<path> <label>`` or ``<path>,<label>`` without one;
    a path's folders are dropped, its name without ending is the clip id.

    Raises:
        GymQAError: for a clip that the table lacks, one named twice, or one whose label differs from the
            table's.
    """
    known = {clip.clip_id: clip for clip in table.clips}
    clips: dict[str, Clip] = {}
    for line, clip_id, label in read_labels(path):
        place = f"{path}, line {line}"
        if clip_id not in known:
            if skip_missing:
                continue
            raise GymQAError(
                f"{place}: {clip_id} is not in the element list; use the lists that belong together"
            )
        if clip_id in clips:
            raise GymQAError(f"{place}: {clip_id} stands twice; remove one of its lines")
        if known[clip_id].label != label:
            raise GymQAError(
                f"{place}: {clip_id} has label {label}, in the element list {known[clip_id].label}; "
                "use the lists that belong together"
            )
        clips[clip_id] = known[clip_id]
    if not clips:
        raise GymQAError(f"{path}: an empty label split; expected at least one labelled clip")
    return list(clips.values())


def read_labels(path: Path) -> list[tuple[int, str, int]]:
    """``(line, clip id, label)`` of every row of a clip list in any form."""
    return [(line, id_of(file), label) for line, file, label in read_rows(path)]


def read_files(path: Path) -> dict[str, str]:
    """Clip id → the file that a clip list names for it, below the folder of the clips.

    Of a path that is absolute or leads out of that folder only the name is taken.
    """
    files = {}
    for _, file, _ in read_rows(path):
        parts = PurePosixPath(file).parts
        files[id_of(file)] = parts[-1] if file.startswith("/") or ".." in parts else "/".join(parts)
    return files


def id_of(file: str) -> str:
    """A clip's id: its file's name without folders and ending."""
    name = PurePosixPath(file).name
    return PurePosixPath(name).stem if "." in name else name


def read_rows(path: Path) -> list[tuple[int, str, int]]:
    """``(line, file, label)`` of every row of a clip list in any form."""
    lines = read_lines(path)
    has_header = bool(lines) and [cell.strip().lower() for cell in lines[0][1].split(",")][:2] in _HEADERS
    rows = []
    for line, text in lines[has_header:]:
        spaced = None if has_header else _SPACED.fullmatch(text)
        row = list(spaced.groups()) if spaced else _cells(text, f"{path}, line {line}")
        place = f"{path}, line {line}"
        if (
            len(row) < 2
            or (len(row) > 2 and not has_header)
            or not re.fullmatch(r"[0-9]{1,9}", row[1].strip())
        ):
            raise GymQAError(
                f"{place}: expected '<video>,<label>' under the header 'video,label', or '<path> <label>' or "
                "'<path>,<label>' without one"
            )
        safe_relative(PurePosixPath(row[0]).name, place)
        rows.append((line, row[0], int(row[1])))
    return rows


def _cells(text: str, place: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error as error:
        raise GymQAError(f"{place}: not a line of CSV ({error}); mend it") from None
