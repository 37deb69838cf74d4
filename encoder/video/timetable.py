"""When each frame of a video is shown and where decoding may begin, from its packets, without decoding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from encoder.video.keyframes import is_clean_start

Integers = NDArray[np.int64]

# Of these every packet holds one picture to show. In others one of a few bytes may say that there is none.
_ALWAYS_PICTURES = ("h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d", "libaom-av1")
_FEW_BYTES = 16
_NO_TIME = np.iinfo(np.int64).min


class Start(NamedTuple):
    """Where decoding may begin.

    Attributes:
        frame: The first frame that comes out right.
        packet: The packet to begin with.
        shown: That packet's presentation time, in the stream's time base.
        decoded: Its decoding time.
    """

    frame: int
    packet: int
    shown: int
    decoded: int


@dataclass(frozen=True)
class Timetable:
    """The frames of a video in the order in which they are shown.

    Attributes:
        seconds: When each frame is shown, in seconds from the first.
        ticks: The same in the stream's time base and from its own zero, which tells a decoded frame's number;
            empty where only counting from the beginning does.
        packets: Presentation times and sizes of all packets in the order of the file, ``(packets, 2)``.
        starts: Where decoding may begin, the beginning first.
        plain: Whether every packet is shown, and every key frame is such a start, behind all that is shown
            before it.
    """

    seconds: NDArray[np.float64]
    ticks: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    packets: Integers = field(default_factory=lambda: np.empty((0, 2), np.int64))
    starts: tuple[Start, ...] = (Start(0, 0, 0, 0),)
    plain: bool = False

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def counted(self) -> bool:
        """Whether frames are told apart by counting alone."""
        return not len(self.ticks)

    def start_for(self, frame: int) -> Start:
        """The last of ``starts`` that gives ``frame``."""
        return self.starts[bisect_right(self.starts, frame, key=lambda start: start.frame) - 1]

    def position_of(self, packet: Any) -> int | None:
        """Which packet of the file this is; None for one that is not in it."""
        matches = np.flatnonzero((self.packets == (_time(packet.pts), packet.size)).all(1))
        return int(matches[0]) if len(matches) == 1 else None

    def is_packet(self, position: int, packet: Any) -> bool:
        """Whether ``packet`` is the one at ``position``."""
        time, size = self.packets[position] if position < len(self.packets) else (_NO_TIME, 0)
        return bool(time == _time(packet.pts) and size == packet.size)


class PacketList:
    """What the packets of a stream tell.

    Args:
        packets: All packets of the stream, as PyAV gives them.
        codec: Name of the decoder.
        extradata: The codec's data from the header.

    Attributes:
        shown: Presentation time of each, in the stream's time base.
        decoded: Decoding time of each.
        size: Bytes of each.
        ends_damaged: Whether the demuxer calls the last one damaged.
    """

    def __init__(self, packets: Iterable[Any], codec: str, extradata: bytes) -> None:
        self.codec = codec
        self.ends_damaged = False
        rows: list[tuple[int, int, int]] = []
        self._keys: list[int] = []
        self._starts: list[int] = []
        self._hidden: list[int] = []
        for packet in packets:
            if not packet.size:
                continue
            position = len(rows)
            rows.append((_time(packet.pts), _time(packet.dts), packet.size))
            if packet.is_keyframe:
                self._keys.append(position)
                if is_clean_start(codec, bytes(packet), extradata):
                    self._starts.append(position)
            # VP8 has frames that are referred to and not shown (RFC 6386, 9.1), in packets of their own.
            unseen = codec in ("vp8", "libvpx") and not memoryview(packet)[0] & 0x10
            if packet.is_discard or unseen:
                self._hidden.append(position)
            self.ends_damaged = packet.is_corrupt
        self.shown, self.decoded, self.size = np.array(rows, np.int64).reshape(-1, 3).T

    def __len__(self) -> int:
        return len(self.size)

    def timetable(self, tick: float) -> Timetable | None:
        """The timetable, or None where the packets do not tell which frames are shown.

        Frames that an edit list leaves out are not shown, nor are those before the first key frame.

        Args:
            tick: Seconds of a unit of the stream's time base.
        """
        if not self._keys or (self.shown == _NO_TIME).any() or len(np.unique(self.shown)) < len(self):
            return None
        if self.codec not in _ALWAYS_PICTURES and self.size.min() < _FEW_BYTES:
            return None
        is_shown = self.shown >= self.shown[self._keys[0]]
        is_shown[: self._keys[0]] = False
        is_shown[self._hidden] = False
        ticks = np.sort(self.shown[is_shown])
        if not len(ticks):
            return None
        starts = [self._start(0, 0)]
        for position in self._starts:
            first = int(np.searchsorted(ticks, self.shown[position]))
            if starts[-1].frame < first < len(ticks):
                starts.append(self._start(first, position))
        plain = (
            len(ticks) == len(self)
            and len(starts) == len(self._keys)
            and all(start.frame == start.packet for start in starts)
        )
        packets = np.stack([self.shown, self.size], 1)
        return Timetable((ticks - ticks[0]) * tick, ticks, packets, tuple(starts), plain)

    def _start(self, frame: int, position: int) -> Start:
        shown, decoded = int(self.shown[position]), int(self.decoded[position])
        return Start(frame, position, shown, shown if decoded == _NO_TIME else decoded)


def _time(ticks: int | None) -> int:
    return _NO_TIME if ticks is None else ticks
