"""Sources that are folders of pictures, as FineDiving is handed out: ``00001.jpg``, ``00002.jpg`` …."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from PIL import Image, ImageOps

from gym_qa.cutting.timeline import Timeline, TooShort

_SUFFIXES = {".jpg", ".jpeg", ".png"}


class SourcePictures:
    """A folder of numbered pictures, in it or in its sub-folders (FineDiving has one for each dive).

    Picture 1 is frame 0; the number is the last one in the file's name.

    Args:
        path: the folder.
        rate: pictures a second, which a folder cannot tell.

    Attributes:
        timeline: when each picture is shown, from the first on.
        leads: see `gym_qa.cutting.frames.SourceVideo`; a folder needs one try.

    Raises:
        ValueError: there is no picture, or two have the same number.
    """

    leads: tuple[float | None, ...] = (None,)

    def __init__(self, path: Path, rate: Fraction) -> None:
        by_number: dict[int, Path] = {}
        for picture in sorted(path.rglob("*")):
            number = re.search(r"(\d+)$", picture.stem)
            if picture.suffix.lower() not in _SUFFIXES or number is None:
                continue
            other = by_number.setdefault(int(number[1]), picture)
            if other != picture:
                raise ValueError(f"{picture} and {other} have the same number; a frame is one of them")
        if not by_number:
            raise ValueError("the folder holds no picture with a number, such as 00001.jpg")
        self.numbers = sorted(by_number)
        self.pictures = [by_number[number] for number in self.numbers]
        self.timeline = Timeline([number - self.numbers[0] for number in self.numbers], 1 / rate, rate)

    def numbered(self, first: int, last: int) -> range:
        """Places of the frames from ``first`` to before ``last``, counted from 0.

        Raises:
            TooShort: where a picture is missing.
        """
        places = range(bisect_left(self.numbers, first + 1), bisect_left(self.numbers, last + 1))
        if len(places) < last - first:
            raise TooShort(f"{len(places)} pictures of those from {first + 1} to {last}")
        return places

    def frames(self, numbers: range, lead: float | None = None) -> Iterator[VideoFrame]:
        """Decodes the pictures in these places. Raises OSError for one that is damaged."""
        for place in numbers:
            with Image.open(self.pictures[place]) as picture:
                yield av.VideoFrame.from_image(ImageOps.exif_transpose(picture).convert("RGB"))
