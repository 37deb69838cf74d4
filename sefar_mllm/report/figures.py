"""Geometry of the figures; `figures.html` draws them.

Positions are per cent of the drawing area, so that a figure takes any width without its text shrinking.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator
from PIL import Image

from sefar_mllm.report.content import Confusion, Curves

MAX_POINTS = 200  # of a line: more cannot be seen and only make the file heavy
MAX_CLASSES = 48  # of a confusion matrix: more cannot be read
THUMBNAIL_HEIGHT = 128  # pixels


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float], margin: float = 0.0, steps: int = 5) -> Axis:
        """The smallest stretch between round ticks that holds all values and a margin on both sides."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        ticks = MaxNLocator(steps, steps=[1, 2, 2.5, 5, 10]).tick_values(
            min(finite) - margin, max(finite) + margin
        )
        return cls(float(ticks[0]), float(ticks[-1]), tuple(float(tick) for tick in ticks))

    def within(self, low: float, high: float) -> Axis:
        """The part of it between two bounds."""
        start, end = max(self.low, low), min(self.high, high)
        return Axis(start, end, tuple(tick for tick in self.ticks if start <= tick <= end))

    def at(self, value: float) -> float:
        """Position of a value, 0 at the low end and 100 at the high end."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, its points for an SVG polyline and its last value."""

    name: str
    points: str
    last: float


@dataclass(frozen=True)
class Chart:
    """A line chart: two axes, the lines, and how many values each point averages."""

    curves: Curves
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    averaged: int


def line_chart(curves: Curves) -> Chart:
    """Place every line; long ones are averaged over equal bins, non-finite values are left out."""
    longest = max((len(line) for line in curves.lines.values()), default=0)
    size = max(1, math.ceil(longest / MAX_POINTS))
    thinned = {name: _averaged(line, size) for name, line in curves.lines.items() if len(line)}
    x = Axis.over(value for line in thinned.values() for value, _ in line)
    y = Axis.over((value for line in thinned.values() for _, value in line), steps=4)
    lines = tuple(
        Line(
            name,
            " ".join(f"{x.at(a)},{round(100 - y.at(b), 3)}" for a, b in line if math.isfinite(b)),
            line[-1][1],
        )
        for name, line in thinned.items()
    )
    return Chart(curves, x, y, lines, size)


def _averaged(line: Iterable[tuple[float, float]], size: int) -> list[tuple[float, float]]:
    table = np.asarray(list(line), dtype=np.float64)
    return [tuple(table[i : i + size].mean(0).tolist()) for i in range(0, len(table), size)]


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix that is not empty: its position, count, and share of its row."""

    row: int
    column: int
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix ready to draw.

    Attributes:
        classes: (number, name, questions asked, share right) of each row; numbers start at 1.
        spans: (event, first row, rows) of each event.
        cells: the cells that are not empty.
        worst: (true, chosen, count, asked) of the commonest confusions.
        hidden: classes left out because the matrix would not be readable.
    """

    title: str
    classes: tuple[tuple[int, str, int, float], ...]
    spans: tuple[tuple[str, int, int], ...]
    cells: tuple[Cell, ...]
    worst: tuple[tuple[str, str, int, int], ...]
    hidden: int
    unread: int


def confusion_figure(confusion: Confusion, worst: int = 8) -> Matrix:
    """Lay out the matrix; with many classes, only those that take part in most confusions."""
    counts = np.asarray(confusion.counts)
    wrong = counts - np.diag(np.diag(counts))
    totals = counts.sum(1)
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
    kept = np.sort(order[:MAX_CLASSES])
    pairs = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: -wrong[pair])[:worst]
    names = confusion.classes
    events = [confusion.events[i] for i in kept]
    return Matrix(
        title=confusion.title,
        classes=tuple(
            (row, names[i], int(totals[i]), float(counts[i, i] / max(totals[i], 1)))
            for row, i in enumerate(kept, 1)
        ),
        spans=tuple((event, events.index(event), events.count(event)) for event in dict.fromkeys(events)),
        cells=tuple(
            Cell(row, column, int(counts[i, j]), float(counts[i, j] / totals[i]))
            for row, i in enumerate(kept)
            for column, j in enumerate(kept)
            if counts[i, j]
        ),
        worst=tuple((names[i], names[j], int(wrong[i, j]), int(totals[i])) for i, j in pairs),
        hidden=len(names) - len(kept),
        unread=confusion.unread,
    )


def data_uri(frame: npt.NDArray[np.uint8]) -> str:
    """A frame (H, W, 3) as a JPEG inside the page."""
    picture = Image.fromarray(frame)
    picture.thumbnail((10 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
