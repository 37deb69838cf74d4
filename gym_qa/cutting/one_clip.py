"""Cutting one clip out of a source video, exact to the frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path

import av

from gym_qa.cutting.frames import Misplaced, SourceVideo
from gym_qa.cutting.pictures import SourcePictures
from gym_qa.cutting.timeline import Timeline, TooShort
from gym_qa.cutting.upright import turn_of, turned
from gym_qa.errors import GymQAError
from gym_qa.files import written_whole

#: Numbers of the matrices between YUV and RGB that a file may name (ISO/IEC 23091-2).
_MATRICES = (1, 4, 5, 6, 7, 9)

Source = SourceVideo | SourcePictures


@dataclass(frozen=True)
class Encoding:
    """How clips are written: H.264 in mp4.

    Attributes:
        crf: x264's constant rate factor, lower is better and larger.
        short_side: largest short side in pixels; None keeps the source's size. Never enlarged.
        gop: frames from key frame to key frame, and none of what makes H.264 slow to decode; None leaves both
            to x264.
    """

    crf: int = 18
    short_side: int | None = None
    gop: int | None = None

    def options(self) -> dict[str, str]:
        """x264's options."""
        options = {"preset": "veryfast", "crf": str(self.crf), "threads": "1"}
        if self.gop is not None:
            options |= {"g": str(self.gop), "tune": "fastdecode"}
        return options

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a clip. x264's 4:2:0 needs even sides; an odd one is scaled by a pixel."""
        scale = 1.0 if self.short_side is None else min(1.0, self.short_side / min(width, height))
        if scale == 1.0:
            return max(2, width // 2 * 2), max(2, height // 2 * 2)
        return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def open_source(path: Path, rate: float) -> Source:
    """A source: a video file, or a folder of pictures that are to be shown at ``rate`` a second."""
    return (
        SourcePictures(path, Fraction(rate).limit_denominator(1001)) if path.is_dir() else SourceVideo(path)
    )


def cut_clip(
    source: Source, places: range, target: Path, least: int, encoding: Encoding, note: str = ""
) -> int:
    """Write some frames of a source as a clip.

    Each is shown as long as in the source: an even rate stays even, an uneven one uneven. What is to be shown
    turned is turned.

    Args:
        source: the full video.
        places: the frames, as the source's ``timeline.span`` or ``numbered`` names them.
        target: the file to write; it appears only when it is whole.
        least: frames that a clip must have.
        encoding: size and compression.
        note: kept in the file as its comment.

    Returns:
        The number of frames.

    Raises:
        TooShort: for fewer frames than ``least``.
        OSError, ValueError: where the source cannot be decoded.
    """
    if len(places) < max(1, least):
        raise TooShort(f"{len(places)} frames of {max(1, least)}")
    with written_whole(target) as temporary:
        for lead in source.leads:
            try:
                _encode(source, places, lead, temporary, encoding, note)
                break
            except Misplaced:
                continue
    return len(places)


def _encode(
    source: Source, places: range, lead: float | None, path: Path, encoding: Encoding, note: str
) -> None:
    clock = _Clock(source.timeline, places[0])
    with av.open(str(path.absolute()), "w", format="mp4") as container:
        container.metadata["comment"] = note
        frames = source.frames(places, lead)
        first = next(frames)
        turn, size = turn_of(first), encoding.size(first.width, first.height)
        stream = container.add_stream("libx264", rate=source.timeline.rate, options=encoding.options())
        stream.width, stream.height = size[::-1] if turn.exchanged else size
        stream.pix_fmt, stream.time_base = "yuv420p", clock.tick
        if first.colorspace in _MATRICES:  # otherwise HD's colours would be read as SD's
            stream.codec_context.colorspace = first.colorspace
        for place, frame in zip(places, chain([first], frames), strict=True):
            picture = turned(frame.reformat(*size, "yuv420p"), turn)
            picture.pts, picture.time_base = clock.time(place), clock.tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


class _Clock:
    """Presentation times in a clip, which begins with frame ``first`` of a timeline.

    Attributes:
        tick: seconds of the clip's unit of time, a whole part of a frame.
    """

    def __init__(self, timeline: Timeline, first: int) -> None:
        self.timeline, self.first = timeline, first
        self.step = timeline.rate.denominator * ceil(90_000 / timeline.rate.numerator)
        self.tick = 1 / (timeline.rate * self.step)
        # Containers round times, mkv to thousandths of a second; that makes no rate uneven.
        self.rounding = min(timeline.tick, 1 / (4 * timeline.rate))

    def time(self, place: int) -> int:
        """When frame ``place`` of the source is shown, in ticks from the clip's first."""
        seconds = self.timeline.seconds(place) - self.timeline.seconds(self.first)
        regular = round(seconds * self.timeline.rate) * self.step
        return regular if abs(seconds - regular * self.tick) <= self.rounding else round(seconds / self.tick)


def is_whole(path: Path, least: int, note: str | None = None) -> bool:
    """Whether a clip is there and its index, which is written last, names at least so many frames.

    Raises:
        GymQAError: where the clip is whole and its comment is not ``note``: it was cut in another way.
    """
    try:
        with av.open(str(path.absolute())) as container:
            whole = container.streams.video[0].frames >= least
            comment = container.metadata.get("comment", "")
    except (OSError, ValueError, IndexError):
        return False
    if whole and note is not None and comment != note:
        raise GymQAError(
            f"{path}: was cut in another way ({comment or 'by an earlier version'}; now {note}); "
            "name another output or delete it"
        )
    return whole
