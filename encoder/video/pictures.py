"""Clips that are folders of numbered pictures, ``00001.jpg``, ``00002.jpg`` and so on, one for each frame."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from encoder.errors import EncoderError
from encoder.video.video_facts import Frames, VideoFacts

_NUMBERED = re.compile(
    r"(?P<before>|[^.].*?)(?P<number>\d+)(?P<ending>\.(jpe?g|png|bmp|webp))", re.IGNORECASE
)


def numbered_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers, which may begin anywhere.

    Raises:
        EncoderError: There is none, one is missing in between, or there are several series of them.
    """
    pictures: dict[int, Path] = {}
    series: set[tuple[str, str]] = set()
    for path in sorted(folder.iterdir()):
        if match := _NUMBERED.fullmatch(path.name):
            series.add((match["before"], match["ending"]))
            other = pictures.setdefault(int(match["number"]), path)
            if other != path and len(series) == 1:
                raise EncoderError(f"{path}: has the same number as {other.name}; take one of them away")
    if not pictures:
        raise EncoderError(f"{folder}: holds no numbered pictures; expected 00001.jpg, 00002.jpg and so on")
    if len(series) > 1:
        names = ", ".join(f"{before}…{ending}" for before, ending in sorted(series))
        raise EncoderError(f"{folder}: holds several series of pictures ({names}); keep one of them in it")
    numbers = sorted(pictures)
    if len(numbers) <= numbers[-1] - numbers[0]:
        gap = next(number for number in range(numbers[0], numbers[-1]) if number not in pictures)
        before, ending = series.pop()
        width = len(_NUMBERED.fullmatch(pictures[numbers[0]].name)["number"])  # type: ignore[index]
        missing = folder / f"{before}{gap:0{width}}{ending}"
        raise EncoderError(
            f"{missing}: is not there, though {pictures[numbers[-1]].name} is; fetch the pictures again"
        )
    return [pictures[number] for number in numbers]


def picture_folders(root: Path) -> list[Path]:
    """Folders under ``root``, itself among them, that hold numbered pictures."""
    return [
        Path(folder) for folder, _, names in sorted(os.walk(root)) if any(map(_NUMBERED.fullmatch, names))
    ]


class PictureReader:
    """A folder of pictures, read as :class:`encoder.video.pyav_reader.PyAVReader` reads a video.

    Args:
        path: The folder.
        short_side: Largest short side of the frames in pixels; None for the size of the pictures.
        rate: Pictures a second; None where it is not known.

    Raises:
        EncoderError: The pictures are not a series without gaps, or the first is damaged.
    """

    def __init__(self, path: Path, short_side: int | None = None, rate: float | None = None) -> None:
        self.path = path
        self._pictures = numbered_pictures(path)
        self._full = _read(self._pictures[0]).size
        self.facts = VideoFacts(*self._full, rate or 0.0, len(self._pictures))
        self._size = self.facts.scaled(short_side)

    @property
    def n_frames(self) -> int:
        """Number of pictures."""
        return len(self._pictures)

    def read(self, indices: list[int]) -> Frames:
        """The pictures at ``indices``, counted from 0 at the first, ``(n, H, W, 3)`` RGB.

        Raises:
            EncoderError: One of them is damaged or of another size.
        """
        return np.stack([self._pixels(self._pictures[i]) for i in indices])

    def _pixels(self, path: Path) -> Frames:
        picture = _read(path)
        if picture.size != self._full:
            sizes = [f"{width} × {height}" for width, height in (picture.size, self._full)]
            raise EncoderError(f"{path}: has {sizes[0]} pixels, {self._pictures[0].name} has {sizes[1]}")
        return np.asarray(picture.resize(self._size, Image.Resampling.BILINEAR))

    def close(self) -> None:
        """Nothing stays open."""


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except Exception as error:  # of any class: that is up to the decoder
        raise EncoderError(f"{path}: cannot be read as a picture ({error}); fetch it again") from None
