"""Videos whose every frame shows its own number, in the containers and codecs that people have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, SIDE = 8, 16
SIZE = (64, BITS * SIDE)


def picture(number: int) -> np.ndarray:
    """Eight columns, white for the ones of a number; red at the upper left, so that a turn is seen."""
    columns = [255 if number >> bit & 1 else 0 for bit in range(BITS)]
    frame = np.repeat(np.repeat(np.array([columns], np.uint8), SIDE, 1), SIZE[0], 0)
    frame = np.repeat(frame[..., None], 3, 2)
    frame[:16, :16] = 255, 0, 0
    return frame


def number_in(frame: np.ndarray | av.VideoFrame) -> int:
    """The number that a frame shows."""
    if isinstance(frame, av.VideoFrame):
        frame = frame.to_ndarray(format="rgb24")
    middle = frame[frame.shape[0] // 2 :].mean((0, 2)).reshape(BITS, -1)[:, 4:-4].mean(1)
    return sum(1 << bit for bit in range(BITS) if middle[bit] > 127)


def write_numbered(
    path: Path,
    n: int = 100,
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    form: str | None = None,
    times: Sequence[int] | None = None,
    rate: int | Fraction = 25,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Encodes the frames 0 … ``n − 1``, or those at ``times`` (in frames), each showing its time."""
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        given = {"preset": "veryfast"} if codec in ("libx264", "libx265") else {}
        stream = container.add_stream(codec, rate=rate, options=given | (codec_options or {}))
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.bit_rate = pix_fmt, 4_000_000
        stream.codec_context.time_base = Fraction(1, rate)
        for time in times or range(n):
            frame = av.VideoFrame.from_ndarray(picture(time), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(
    source: Path,
    path: Path,
    form: str | None = None,
    options: dict[str, str] | None = None,
    shift: float = 0.0,
) -> Path:
    """The packets of a video in another container, ``shift`` seconds later."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=form, options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                ticks = round(shift / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                new.mux(packet)
    return path


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Writes ``a b c d`` of a display matrix into an mp4's track header (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def numbers(path: Path) -> list[int]:
    """The numbers that a video's frames show."""
    with av.open(str(path)) as container:
        return [number_in(frame) for frame in container.decode(video=0)]


def seconds(path: Path) -> list[float]:
    """When a video's frames are shown, from the first on."""
    with av.open(str(path)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        return [float(time - shown[0]) for time in shown]
