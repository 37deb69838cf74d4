"""The frames that were looked at, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sefar_mllm.files import written_whole

HEIGHT, MARGIN, CAPTION, COLUMNS = 160, 4, 16, 8  # pixels, and frames in a row


def write_strip(path: Path, frames: NDArray[np.uint8], seconds: Sequence[float] = ()) -> Path:
    """Write frames side by side, eight in a row, as a PNG.

    Args:
        path: the picture; its folder is made.
        frames: ``(n, H, W, 3)`` RGB.
        seconds: written under the frames; empty for nothing.

    Returns:
        ``path``.
    """
    count, height, width = frames.shape[:3]
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    step = (size[0] + MARGIN, HEIGHT + MARGIN + (CAPTION if seconds else 0))
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    picture = Image.new("RGB", (columns * step[0] + MARGIN, rows * step[1] + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    for number, frame in enumerate(frames):
        left, top = (number % COLUMNS) * step[0] + MARGIN, (number // COLUMNS) * step[1] + MARGIN
        picture.paste(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC), (left, top))
        if seconds:
            draw.text((left + 2, top + HEIGHT + 2), f"{seconds[number]:.2f} s", fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG")
    return path
