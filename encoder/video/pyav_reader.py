"""Frames through PyAV, each under its own number: the place that it has in one pass from the beginning.

No seek is trusted. After one, the packets are compared with those of the file, and the decoded frames with
the times at which the packets say that they are shown. Where a seek leads astray, the packets before are read
and not decoded; where the packets themselves do not tell the frames, all are counted in one pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.errors import EncoderError
from encoder.video.timetable import PacketList, Start, Timetable
from encoder.video.upright import Turn, turn_of
from encoder.video.video_facts import Frames, VideoFacts, unreadable
from encoder.video.video_file import Astray, VideoFile
from encoder.video.whole import missing_bytes

_WORTH_SEEKING = 8  # frames: a seek costs some of its own
_REMEMBERED = 64


@dataclass(frozen=True)
class _Known:
    """What examining a file has shown."""

    table: Timetable
    facts: VideoFacts
    turn: Turn


# Of the files read last by this process, so that a long video of many clips is examined once.
_known: dict[tuple[str, int, int], _Known] = {}


class PyAVReader:
    """A video, open for reading.

    Args:
        path: The file.
        short_side: Largest short side of the frames in pixels; None for the size of the video.

    Raises:
        EncoderError: It is missing, not a video, cut off, or cannot be decoded.
    """

    def __init__(self, path: Path, short_side: int | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self.path, self._short_side = path, short_side
        self._file = VideoFile(path)
        self._scaler = VideoReformatter()
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._next: int | None = None  # number of the frame that _frames gives next
        state = os.stat(path)
        self._key = str(path), state.st_size, state.st_mtime_ns
        try:
            if self._key in _known:
                self._info = _known[self._key]
            else:
                self._examine()
        except BaseException:
            self.close()
            raise

    @property
    def facts(self) -> VideoFacts:
        """Size, rate and times as shown. Reading may find other frames than the packets said."""
        return self._info.facts

    @property
    def n_frames(self) -> int:
        """Frames that are shown."""
        return self._info.facts.n_frames

    @property
    def is_plain(self) -> bool:
        """Whether any reader finds its frames: in an ordinary container, all of them shown, none turned."""
        return self._file.is_ordinary and self._info.table.plain and self._info.turn == Turn()

    def close(self) -> None:
        """Closes the file."""
        self._frames = iter(())
        self._file.close()

    def read(self, indices: list[int]) -> Frames:
        """The frames ``indices`` of the video, ``(n, H, W, 3)`` RGB.

        Raises:
            EncoderError: One of them is damaged or not there.
        """
        wanted = sorted(set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < self.n_frames:
            raise unreadable(self.path, f"frame {wanted[-1]} of {self.n_frames} is not there")
        try:
            frames = {number: self._frame(number) for number in wanted}
        except EncoderError:
            raise
        except Exception as error:  # of any class: that is up to the decoder
            if self._info.table.counted:
                raise unreadable(self.path, error) from None
            self._count()
            return self.read(indices)
        return np.stack([frames[i] for i in indices])

    def _frame(self, number: int) -> Frames:
        start = self._info.table.start_for(number)
        if self._next is None or number < self._next or start.frame > self._next + _WORTH_SEEKING:
            self._begin(start)
        for position, frame in self._frames:
            self._next = position + 1
            if position == number:
                return self._pixels(frame)
        raise Astray

    def _begin(self, start: Start) -> None:
        self._frames = (
            enumerate(self._file.frames())
            if self._info.table.counted
            else self._file.frames_from(start, self._info.table)
        )
        self._next = start.frame

    def _pixels(self, frame: Any) -> Frames:
        if frame.is_corrupt:
            raise unreadable(self.path, f"frame {self._next} is damaged")
        width, height = self._info.turn.size(*self.facts.scaled(self._short_side))
        scaled = self._scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR")
        return self._info.turn(np.asarray(scaled.to_ndarray(), np.uint8))

    # Examining ----------------------------------------------------------------------------------------------

    def _examine(self) -> None:
        """Finds the frames' times, and sees whether the first frame is the one that they promise."""
        packets = self._packets()
        self._check_whole(packets)
        table = None if self._file.guesses_times else packets.timetable(self._tick)
        if table is None:
            self._count()
            return
        try:
            frames = self._file.frames_from(table.starts[0], table)
            first = next(frames)
        except Exception:
            self._count()
            return
        self._remember(table, first[1])
        self._frames, self._next = chain([first], frames), 0  # reading mostly begins there

    def _packets(self) -> PacketList:
        context = self._file.stream.codec_context
        try:
            return PacketList(self._file.packets(), context.name, context.extradata or b"")
        except Exception as error:
            raise unreadable(self.path, error) from None

    @property
    def _tick(self) -> float:
        return float(self._file.stream.time_base or 0)

    def _check_whole(self, packets: PacketList) -> None:
        missing = missing_bytes(self.path)
        # An AVI without its end has lost its index; where all frames are there, that is no harm. Its count is
        # one of times at which there may be a frame.
        times, promised = packets.decoded.max(initial=-1) + 1, self._file.stream.frames
        if missing and not (self._file.format == "avi" and times >= promised):
            raise EncoderError(
                f"{self.path}: cut off: {missing} bytes at its end are missing; fetch it again"
            )
        # A broadcast may end anywhere.
        if packets.ends_damaged and self._file.format != "mpegts":
            raise EncoderError(f"{self.path}: cut off within its last frame; fetch it again")

    def _count(self) -> None:
        """Counts the frames in one pass."""
        first, shown, decoded = None, [], []
        try:
            for frame in self._file.frames():
                first = frame if first is None else first
                shown.append(frame.pts)
                decoded.append(frame.dts)
        except Exception as error:
            raise unreadable(self.path, error) from None
        # A decoder gives one frame for each packet: the decoding times, in turn, are those of showing.
        seconds = self._seconds(decoded if self._file.stores_order_alone else shown)
        self._remember(Timetable(seconds), first)
        self._next = None

    def _seconds(self, ticks: list[int | None]) -> NDArray[np.float64]:
        """Times of the frames from the first on, of which the last ones may lack theirs."""
        known = np.array([tick for tick in ticks if tick is not None], np.float64)
        gaps = np.diff(known)
        rate = float(self._file.stream.average_rate or 0)
        if None in ticks[: len(known)] or len(known) < 2 or (gaps <= 0).any():
            return np.arange(len(ticks)) / rate if rate else np.zeros(len(ticks))
        rest = np.arange(1, len(ticks) - len(known) + 1) * np.median(gaps)
        return (np.concatenate([known, known[-1] + rest]) - known[0]) * self._tick

    def _remember(self, table: Timetable, first: Any) -> None:
        stream = self._file.stream
        turn = Turn() if first is None else turn_of(first)
        size = (stream.width, stream.height) if first is None else (first.width, first.height)
        rate = float(stream.average_rate or 0)
        self._info = _Known(table, VideoFacts.of(turn.size(*size), rate, table.seconds), turn)
        while len(_known) >= _REMEMBERED:
            del _known[next(iter(_known))]
        _known[self._key] = self._info
