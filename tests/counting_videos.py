"""Videos whose frames tell their number, in all the ways in which real ones come."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAMES = 150


def counting_frame(number: int, side: int = 48) -> np.ndarray:
    """A picture ``(side, side, 3)`` of eight bright or dark stripes: the bits of its number."""
    bits = [(number >> bit) & 1 for bit in range(8)]
    stripes = np.repeat(np.array(bits, np.uint8) * 200 + 20, side // 8)
    return np.ascontiguousarray(np.broadcast_to(stripes[None, :, None], (side, side, 3)))


def number_of(frame: av.VideoFrame) -> int:
    """The number that a picture tells."""
    picture = frame.to_ndarray(format="gray")
    stripes = picture.reshape(picture.shape[0], 8, -1).mean((0, 2)) > 120
    return int(sum(bit << place for place, bit in enumerate(stripes)))


def write_source(
    path: Path,
    speed: int | Fraction = 25,
    frames: int = FRAMES,
    side: int = 48,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    numbers: Sequence[int] | None = None,
    late: int = 0,
) -> Path:
    """A video of numbered frames.

    Args:
        path: the file; its ending says the container.
        speed: frames a second.
        frames: how many.
        side: width and height.
        codec: FFmpeg's name of the encoder.
        options: the encoder's options.
        numbers: the frames that are there, the others are left out and not shown; each at its own time.
        late: by how many frames the first is shown late.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=speed, options=options or {"crf": "10", "g": "50"})
        stream.bit_rate = 2_000_000
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / Fraction(speed)
        for number in range(frames) if numbers is None else numbers:
            frame = av.VideoFrame.from_ndarray(counting_frame(number, side), format="rgb24")
            frame.pts, frame.time_base = number + late, 1 / Fraction(speed)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(path: Path) -> list[int]:
    """The numbers that a video's frames tell."""
    with av.open(str(path)) as container:
        return [number_of(frame) for frame in container.decode(video=0)]


def times(path: Path) -> list[float]:
    """When a video's frames are shown, in seconds from the first."""
    with av.open(str(path)) as container:
        found = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        return [float(time - found[0]) for time in found]


def with_matrix(source: Path, target: Path, a: int, b: int, c: int, d: int) -> Path:
    """A copy of an mp4 whose track header says that pixel (x, y) is shown at (a x + c y, b x + d y)."""
    content = source.read_bytes()
    start = content.index(b"tkhd") + 4 + 40  # version 0 of the box
    assert struct.unpack_from(">i", content, start) == (1 << 16,)
    matrix = struct.pack(">9i", *(value << 16 for value in (a, b)), 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    target.write_bytes(content[:start] + matrix + content[start + 36 :])
    return target
