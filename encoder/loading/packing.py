"""Frames of one clip as bytes, from which single frames can be taken: raw, or as JPEG."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from encoder.errors import EncoderError
from encoder.video.video_facts import Frames

#: Quality of JPEG that is used by default: 25 to 40 kB a frame of 320 lines.
QUALITY = 85


def check_quality(quality: int | None) -> None:
    """Raises EncoderError for what is not a quality of JPEG."""
    if quality is not None and not 1 <= quality <= 100:
        raise EncoderError(f"quality {quality}: expected 1 to 100, or none for raw frames")


def pack(frames: Frames, quality: int | None) -> bytes:
    """Frames ``(n, H, W, 3)`` as bytes: raw for ``quality`` None, otherwise ``n`` lengths (uint32, little
    endian) and as many JPEG images."""
    if quality is None:
        return frames.tobytes()
    images = [_jpeg(frame, quality) for frame in frames]
    return np.array([len(image) for image in images], "<u4").tobytes() + b"".join(images)


def unpack(
    content: NDArray[np.uint8], shape: tuple[int, int, int], chosen: list[int], quality: int | None
) -> Frames:
    """The frames ``chosen`` of what :func:`pack` has made, ``(len(chosen), H, W, 3)``.

    Args:
        content: The bytes.
        shape: Frames, height and width of the clip.
        chosen: Numbers of frames; one may stand several times.
        quality: As it was packed.

    Raises:
        RuntimeError: The images are damaged.
    """
    n, height, width = shape
    if quality is None:
        return content.reshape(n, height, width, 3)[chosen]
    ends = 4 * n + np.cumsum(content[: 4 * n].view("<u4"), dtype=np.int64)
    frames = np.empty((len(chosen), height, width, 3), np.uint8)
    positions: dict[int, int] = {}
    for position, number in enumerate(chosen):
        if number in positions:
            frames[position] = frames[positions[number]]
            continue
        start = ends[number - 1] if number else 4 * n
        frames[position] = _pixels(content[start : ends[number]])
        positions[number] = position
    return frames


def _jpeg(frame: NDArray[Any], quality: int) -> bytes:
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def _pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """torchvision's decoder takes half the time of Pillow's."""
    from torchvision.io import ImageReadMode, decode_jpeg

    # A copy, since the bytes on disk cannot be written to, of which torch would warn.
    return decode_jpeg(torch.from_numpy(image.copy()), ImageReadMode.RGB).permute(1, 2, 0).numpy()
