"""Temporal elements: which frames of a clip are looked at, and in which groups (method §1).

A clip gives one frame to each of ``N = sum(sizes)`` *slots*, in order of time. Every slot belongs to one
element; the last element is the *context* element, the others are *fine-grained*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from encoder.errors import EncoderError


def _bin_edges(n_frames: int, n_bins: int) -> list[int]:
    return [i * n_frames // n_bins for i in range(n_bins + 1)]


def _take_bins(
    sizes: tuple[int, ...], n_bins: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Bins of each element. Elements choose from last to first; an element of size ``k`` walks the bins and
    takes bin ``j`` when it is free and ``j >= taken * n_bins / k``. One left short takes a bin in each of
    ``k`` equal stretches, used before or not: drawn with the generator, the middle one without."""
    free = [True] * n_bins
    chosen: list[list[int]] = []
    for size in reversed(sizes):
        bins: list[int] = []
        for j in range(n_bins):
            if len(bins) < size and free[j] and j * size >= len(bins) * n_bins:
                bins.append(j)
        if len(bins) < size:
            edges = _bin_edges(n_bins, size)
            bins = []
            for low, high in pairwise(edges):
                last = max(high - 1, low)
                drawn = generator is not None and low < last
                bins.append(
                    int(torch.randint(low, last + 1, (), generator=generator)) if drawn else (low + last) // 2
                )
        for j in bins:
            free[j] = False
        chosen.append(bins)
    return chosen[::-1]


@dataclass(frozen=True)
class TemporalElements:
    """A combination of temporal elements, such as ``2-2-4``.

    Attributes:
        sizes: Frames of each element; the last is the context element.
        slots: For each element, the slots (positions in time, 0 … N−1) it holds. For ``2-2-4``:
            ``((3, 7), (1, 5), (0, 2, 4, 6))``.
        draws: Independent sets of frames that training takes of a clip, one behind the other.
    """

    sizes: tuple[int, ...] = (2, 2, 4)
    draws: int = field(default=1, kw_only=True)
    slots: tuple[tuple[int, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise EncoderError(f"elements {self.sizes}: every temporal element needs at least one frame")
        slots = _take_bins(self.sizes, self.n_frames)
        object.__setattr__(self, "slots", tuple(map(tuple, slots)))

    @classmethod
    def parse(cls, text: str) -> TemporalElements:
        """``"2-2-4"`` → three elements. Raises EncoderError for anything but numbers joined by ``-``."""
        try:
            return cls(tuple(int(part) for part in str(text).split("-")))
        except ValueError:
            raise EncoderError(
                f"elements {text!r}: expected frame counts joined by '-', such as '2-2-4' or '8'"
            ) from None

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def n_frames(self) -> int:
        """``N``, the frames (slots) of a clip."""
        return sum(self.sizes)

    @property
    def fine(self) -> tuple[tuple[int, ...], ...]:
        """The slots of the fine-grained elements."""
        return self.slots[:-1]

    def owners(self) -> Tensor:
        """The element of each slot, ``(N,)``."""
        owner = torch.empty(self.n_frames, dtype=torch.long)
        for number, element in enumerate(self.slots):
            owner[list(element)] = number
        return owner

    def same_element(self) -> Tensor:
        """Boolean ``(N, N)``: whether two slots belong to one element."""
        owner = self.owners()
        return owner[:, None] == owner[None]

    def sample(
        self, n_frames: int, generator: torch.Generator | None = None, offset: float = 0.5
    ) -> list[int]:
        """Frame index for each slot, in slot order; with a generator, ``draws`` times.

        Cuts the clip into ``N`` equal bins. With a generator a frame is drawn uniformly inside each bin
        (training); without one it is the middle of the bin (evaluation), or at another ``offset`` in it.

        A clip of fewer than ``N`` frames has a bin for each. Elements that find too few free ones share bins
        with others; with a generator these are drawn, as in SeFAR's released code in training. There they are
        drawn in evaluation too; here that is fixed.

        Args:
            n_frames: Frames in the clip, ``F``. Fewer than the context element has is an error.
            generator: Source of randomness, or None for a fixed place.
            offset: Where in its bin the frame lies without a generator: 0 … 1, the start to the end.

        Raises:
            EncoderError: ``F < sizes[-1]``. The caller adds the name of the file.
        """
        if n_frames < self.sizes[-1]:
            raise EncoderError(
                f"has {n_frames} frames, fewer than the {self.sizes[-1]} of the context element of {self}; "
                "leave it out of the clip list or choose a smaller context element"
            )
        if generator is not None:
            return [i for _ in range(self.draws) for i in self._sample_once(n_frames, generator, offset)]
        return self._sample_once(n_frames, None, offset)

    def _sample_once(self, n_frames: int, generator: torch.Generator | None, offset: float) -> list[int]:
        n_bins = min(self.n_frames, n_frames)
        edges = _bin_edges(n_frames, n_bins)
        elements = self.slots if n_bins == self.n_frames else _take_bins(self.sizes, n_bins, generator)
        draws = torch.rand(self.n_frames, generator=generator).tolist() if generator is not None else None
        frames = [0] * self.n_frames
        for slots, bins in zip(self.slots, elements, strict=True):
            for slot, j in zip(slots, bins, strict=True):
                low, high = edges[j], edges[j + 1]
                frames[slot] = low + int((draws[slot] if draws else offset) * (high - low))
        return frames
