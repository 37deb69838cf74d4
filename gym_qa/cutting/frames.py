"""The frames of one source video, each under its own number and time in every container.

A library's seek cannot be trusted: in some containers it leads past the frame asked for, in others frames
are timed by guesses that differ after a seek. Here every frame that is handed out has been checked against
the times of all packets; where a seek does not stand the check, decoding starts further back, at last at the
beginning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gym_qa.cutting.timeline import Timeline, TooShort

Numbered = tuple[int, VideoFrame]

#: Formats that store when each frame is shown. In others, such as AVI, only the order is known.
_TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "mpegts")


class Misplaced(Exception):
    """Decoding did not give the frames that it should have given after a seek."""


class SourceVideo:
    """A video file.

    Args:
        path: the file.

    Attributes:
        timeline: when each frame is shown.
        leads: how many seconds before the first frame wanted to begin decoding: values to try one after the
            other; None is the beginning of the file, and always right.

    Raises:
        OSError, ValueError: it cannot be opened, or holds no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as (container, stream):
            packets = [(p.pts, p.dts) for p in container.demux(stream) if _is_shown(p)]
            shown = [pts for pts, _ in packets if pts is not None]
            stored = [dts for _, dts in packets if dts is not None]
            self.timed = container.format.name in _TIMED and len(packets) == len(shown) == len({*shown})
            # Without times of its own the n-th frame shown has the n-th place in the file.
            ticks = sorted(shown if self.timed or len(stored) < len(packets) else stored)
            if not packets or len(ticks) < len(packets) or not stream.time_base:
                raise ValueError("it holds no frames with times")
            self.origin = ticks[0]
            self.leads: tuple[float | None, ...] = (0.0, 10.0, None) if self.timed else (None,)
            base = Fraction(stream.time_base)
            self.timeline = _timeline([tick - self.origin for tick in ticks], base, stream)

    def numbered(self, first: int, last: int) -> range:
        """The frames from ``first`` to before ``last``, counted from 0.

        Raises:
            TooShort: where the video has fewer.
        """
        if last > len(self.timeline):
            raise TooShort(f"the video has {len(self.timeline)} frames, the clip ends with its {last}th")
        return range(first, last)

    def frames(self, numbers: range, lead: float | None) -> Iterator[VideoFrame]:
        """Decodes the frames ``numbers``, beginning ``lead`` seconds before the first (see ``leads``).

        Raises:
            Misplaced: decoding gave other frames; to be tried again with another lead.
            OSError, ValueError: the video is damaged.
        """
        try:
            yield from self._checked(numbers, lead)
        except Exception as error:
            if lead is not None:  # whatever a decoder raises that was sent to a wrong place
                raise Misplaced from error
            raise

    def _checked(self, numbers: range, lead: float | None) -> Iterator[VideoFrame]:
        wanted = numbers[0]
        with _opened(self.path) as (container, stream):
            decoded = (
                self._from_start(container, stream)
                if lead is None
                else self._from_seek(container, stream, wanted, lead)
            )
            for number, frame in decoded:
                if number < wanted:
                    continue
                if number > wanted or frame.is_corrupt:
                    break
                yield frame
                wanted += 1
                if wanted == numbers.stop:
                    return
        place = float(self.timeline.seconds(wanted))
        raise ValueError(f"frame {wanted}, at {place:.2f} s, cannot be decoded; fetch the video again")

    def _from_start(self, container: InputContainer, stream: VideoStream) -> Iterator[Numbered]:
        for count, frame in enumerate(container.decode(stream)):
            yield (self._number(frame) if self.timed else count), frame

    def _from_seek(
        self, container: InputContainer, stream: VideoStream, first: int, lead: float
    ) -> Iterator[Numbered]:
        """Decodes from a key frame. What is shown before that key frame may lack what it is made from."""
        ticks = self.timeline.ticks[first] - int(lead / self.timeline.tick)
        container.seek(max(0, ticks) + self.origin, stream=stream, backward=True)
        key: int | None = None
        for packet in container.demux(stream):
            if key is None:
                if not packet.is_keyframe or packet.pts is None:
                    return
                key = packet.pts
            for frame in packet.decode():
                if isinstance(frame, VideoFrame) and frame.pts is not None and frame.pts >= key:
                    yield self._number(frame), frame

    def _number(self, frame: VideoFrame) -> int:
        """The frame's number by its time, or -1."""
        if frame.pts is None:
            return -1
        ticks, tick = self.timeline.ticks, frame.pts - self.origin
        place = bisect_left(ticks, tick)
        return place if place < len(ticks) and ticks[place] == tick else -1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A container and its video: the main one where there are several, or a cover picture besides."""
    # FFmpeg takes what stands before ``:`` in a relative path for a protocol.
    with av.open(str(path.absolute())) as container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise ValueError("it holds no video")
        if stream.codec_context is None:
            raise ValueError("there is no decoder for it: its codec is unknown, or it is encrypted")
        yield container, stream


def _is_shown(packet: Packet) -> bool:
    """Whether a packet holds a frame that is shown, neither cut away by an edit list nor hidden (VP8)."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _timeline(ticks: list[int], base: Fraction, stream: VideoStream) -> Timeline:
    """The timeline, with the rate that the file names where it agrees with the times, else the usual one."""
    usual = median(b - a for a, b in pairwise(ticks)) if len(ticks) > 1 else 0
    named = Fraction(stream.guessed_rate or stream.average_rate or 0)
    if usual and not 0.9 < usual * base * named < 1.1:
        named = 1 / (Fraction(usual) * base)
    if not named:
        raise ValueError("it does not say its frame rate")
    return Timeline(ticks, base, named)
