"""When the frames of a source video are shown, and which of them a span of seconds holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median


class TooShort(Exception):
    """The source video ends before the clip does, or the clip has fewer frames than asked for."""


@dataclass(frozen=True)
class Timeline:
    """The presentation times of a video's frames; no frame rate is assumed.

    Attributes:
        ticks: times of the frames, ascending, counted from the first.
        tick: seconds of a tick.
        rate: frames a second where they follow one another regularly.
    """

    ticks: Sequence[int]
    tick: Fraction
    rate: Fraction

    def __len__(self) -> int:
        return len(self.ticks)

    def seconds(self, number: int) -> Fraction:
        """When frame ``number``, counted from 0, is shown."""
        return self.ticks[number] * self.tick

    def span(self, start: float, end: float) -> range:
        """Numbers of the frames shown from ``start`` (inclusive) to ``end`` (exclusive), in seconds.

        A frame counts as shown at its own time. Times are compared to within half a frame, at the rate and
        between the neighbours, since annotations are rounded. Spans that touch share no frame and leave none
        out.

        Raises:
            TooShort: where the video ends more than a frame before the span does.
        """
        gaps = [after - before for before, after in pairwise(self.ticks)]
        usual, last = (median(gaps), gaps[-1]) if gaps else (1 / self.rate / self.tick,) * 2
        finish = float((self.ticks[-1] + last) * self.tick)
        if end > finish + 1.5 * float(usual * self.tick):
            raise TooShort(f"the video ends at {finish:.2f} s, the clip at {end:.2f} s")
        return range(self._first_at(start), self._first_at(end))

    def _first_at(self, seconds: float) -> int:
        """The first frame shown at ``seconds`` or later, or less than half a frame earlier."""
        # Sums of rounded times are off by less than a microsecond; without it a tie would fall by chance.
        time = Fraction(round(seconds * 1_000_000), 1_000_000) / self.tick
        place = bisect_left(self.ticks, time)
        if place == 0:
            return 0
        near = self.ticks[max(0, place - 2) : place + 1]
        gaps = [Fraction(after - before) for before, after in pairwise(near)]
        frame = min([1 / self.rate / self.tick, *gaps])
        return place - 1 if 2 * (time - self.ticks[place - 1]) <= frame else place
