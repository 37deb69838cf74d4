"""Frames through decord, which seeks, decodes and resizes in native code.

It keeps numbers of its own and cannot be asked which frame it gave, so it is used for videos alone whose
packets leave no doubt; all others are read through PyAV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from encoder.video.pyav_reader import PyAVReader
from encoder.video.video_facts import Frames, VideoFacts

# decord pads rows and mistakes the padding of these widths for further channels; one pixel more avoids it.
_PADDED_WIDTHS = (8, 12, 16, 24, 32, 48, 96, 144)


class DecordReader:
    """A video, open for reading, as :class:`encoder.video.pyav_reader.PyAVReader` is."""

    def __init__(self, path: Path, short_side: int | None = None) -> None:
        self.path = path
        self._other = PyAVReader(path, short_side)
        self._reader: Any = self._opened(short_side) if self._other.is_plain else None

    def _opened(self, short_side: int | None) -> Any:
        import decord

        width, height = self.facts.scaled(short_side)
        width += width in _PADDED_WIDTHS
        try:
            reader = decord.VideoReader(
                str(self.path.absolute()), decord.cpu(0), width, height, num_threads=1
            )
        except Exception:  # of several classes; what decord cannot open, PyAV may
            return None
        return reader if len(reader) == self.n_frames else None

    @property
    def facts(self) -> VideoFacts:
        """Size, rate and times as shown."""
        return self._other.facts

    @property
    def n_frames(self) -> int:
        """Frames that are shown."""
        return self._other.n_frames

    def read(self, indices: list[int]) -> Frames:
        """The frames ``indices`` of the video, ``(n, H, W, 3)`` RGB."""
        if self._reader is not None:
            try:
                return np.asarray(self._reader.get_batch(indices).asnumpy())
            except Exception:
                self._reader = None
        return self._other.read(indices)

    def close(self) -> None:
        """Closes the file."""
        self._reader = None
        self._other.close()
