"""Confusion matrices as a picture: true classes down, predicted classes across, grouped by event and set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoder.video.clips import ClassInfo
from sefar_mllm.files import written_whole

Counts = npt.NDArray[np.int64]
MAX_NAMED = 60  # classes whose names can still be read


def class_order(classes: Sequence[ClassInfo]) -> list[int]:
    """Labels with the classes of an event, and in it of a set, side by side; else as they were."""
    events = list(dict.fromkeys(entry.event for entry in classes))
    sets = list(dict.fromkeys((entry.event, entry.set) for entry in classes))
    keys = [(events.index(entry.event), sets.index((entry.event, entry.set))) for entry in classes]
    return sorted(range(len(classes)), key=lambda label: keys[label])


def save_confusion(path: Path, matrices: Mapping[str, Counts], classes: Sequence[ClassInfo]) -> None:
    """Draws matrices ``(C, C)`` side by side, each under its title; a row is shaded by its shares."""
    from matplotlib.figure import Figure

    order = class_order(classes)
    named = len(classes) <= MAX_NAMED
    side = 5.0 + (0.11 * len(classes) if named else 2.0)
    figure = Figure(figsize=(side * len(matrices) + (3.5 if named else 1.0), side), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
    for ax, (title, counts) in zip(axes, matrices.items(), strict=True):
        rows = counts[np.ix_(order, order)].astype(float)
        shares = rows / np.maximum(rows.sum(1, keepdims=True), 1)
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("predicted class")
        _mark_groups(ax, [(classes[i].event, classes[i].set) for i in order])
        ax.set_yticks([])
    axes[0].set_ylabel("true class")
    if named:
        axes[0].set_yticks(range(len(order)), [_short(classes[i].name) for i in order], fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


def _mark_groups(ax: Any, groups: Sequence[tuple[str | None, int | None]]) -> None:
    """Thin lines between sets, thick lines between events, and the events' names below."""
    start = 0
    middles: dict[float, str] = {}
    for event, members in groupby(groups, key=lambda group: group[0]):
        inside = list(members)
        end = start
        for _, of_set in groupby(inside):
            end += len(list(of_set))
            width = 1.2 if end == start + len(inside) else 0.4
            if end < len(groups):
                ax.axhline(end - 0.5, color="0.5", linewidth=width)
                ax.axvline(end - 0.5, color="0.5", linewidth=width)
        middles[start + len(inside) / 2 - 0.5] = event or ""
        start += len(inside)
    ax.set_xticks(list(middles), list(middles.values()), fontsize=8)
    ax.tick_params(length=0)


def _short(name: str, limit: int = 48) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
