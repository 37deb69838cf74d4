"""What is known of a video, and the error for one that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.errors import EncoderError, first_line

Frames = NDArray[np.uint8]

# Frames may stray so far from an even rhythm, in frames, before they are looked up by their times: containers
# round times to milliseconds.
_EVEN = 0.1


@dataclass(frozen=True)
class VideoFacts:
    """A video as it is shown.

    Attributes:
        width: Width in pixels, turned as the file says.
        height: Height in pixels.
        fps: Frames a second where they follow one another evenly; 0 where no times are known.
        n_frames: Frames that are shown.
        seconds: When each frame is shown, from the first on, where they do not follow evenly; None where
            frame ``k`` is shown at ``k / fps``.
    """

    width: int
    height: int
    fps: float
    n_frames: int
    seconds: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, size: tuple[int, int], rate: float, seconds: NDArray[np.float64]) -> VideoFacts:
        """From ``(width, height)``, the rate that the header gives (0 for none), and the frames' times."""
        n = len(seconds)
        if n < 2 or (rate and np.abs(seconds * rate - np.arange(n)).max() < _EVEN):
            return cls(*size, rate, n)
        usual = float(np.median(np.diff(seconds)))
        if usual <= 0:
            return cls(*size, rate, n)
        even = np.abs(seconds / usual - np.arange(n)).max() < _EVEN
        return cls(*size, 1 / usual, n, None if even else seconds)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last; 0 where no times are known."""
        if not self.fps:
            return 0.0
        return self.n_frames / self.fps if self.seconds is None else float(self.seconds[-1]) + 1 / self.fps

    def time(self, frame: int) -> float | None:
        """When a frame is shown, in seconds from the first; None where no times are known."""
        if self.seconds is not None:
            return float(self.seconds[frame])
        return frame / self.fps if self.fps else None

    def scaled(self, short_side: int | None) -> tuple[int, int]:
        """Width and height with the short side brought down to ``short_side``; never enlarged."""
        scale = 1.0 if short_side is None else min(1.0, short_side / min(self.width, self.height))
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


def unreadable(path: Path, reason: object) -> EncoderError:
    """The error for a video that a decoder gave up."""
    return EncoderError(
        f"{path}: its frames cannot be decoded ({first_line(reason)}); it is cut off or damaged, fetch it "
        "again"
    )
