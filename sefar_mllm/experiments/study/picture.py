"""The picture of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from encoder.video.clips import read_classes
from sefar_mllm.files import written_whole
from sefar_mllm.report.confusion_picture import save_confusion

BINS = 10


def draw(path: Path, results: dict[str, Any], kind: str, classes: Path) -> None:
    """Draws the results of a study as a PNG.

    Args:
        path: The picture.
        results: The contents of the study's ``results.json``.
        kind: ``dots``, ``bins`` or ``confusion``, see :class:`sefar_mllm.experiments.study.plan.Study`.
        classes: ``classes.json`` of the runs, for the confusion matrices.
    """
    if kind == "confusion":
        matrices = {
            f"{row['name']}: {cell['top1']['mean']:.1f} %": np.sum(
                [run["details"]["counts"] for run in cell["runs"]], axis=0
            )
            for row in results["rows"]
            for cell in row["here"]
        }
        save_confusion(path, matrices, read_classes(classes))
        return
    figure = _bins(results) if kind == "bins" else _dots(results)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _new(columns: int, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 + 2.7 * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True)[0]


def _dots(results: dict[str, Any]) -> Any:
    """A panel a column: every seed a small dot, the mean a large one with its deviation."""
    rows = [row for row in results["rows"] if row["here"]]
    figure, axes = _new(len(results["columns"]), 1.3 + 0.35 * len(rows))
    for ax, column in zip(axes, results["columns"], strict=True):
        for place, row in enumerate(rows):
            for cell in row["here"]:
                if cell["column"] == column:
                    values, spread = [run["top1"] for run in cell["runs"]], cell["top1"]
                    ax.plot(values, [place] * len(values), ".", color="0.65", markersize=5)
                    ax.errorbar(
                        spread["mean"], place, xerr=spread["std"] or 0, fmt="o", color="C0", capsize=3
                    )
        ax.set_title(column if len(results["columns"]) > 1 else "", fontsize=9)
        ax.set_xlabel("top-1 (%)", fontsize=8)
        ax.grid(axis="x", color="0.9")
    axes[0].set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle(_title(results), fontsize=9)
    return figure


def _bins(results: dict[str, Any]) -> Any:
    """Accuracy in bins of equally many clips, over the bins' mean confidence and mean deviation."""
    figure, axes = _new(2, 3.6)
    for row in results["rows"]:
        for cell in row["here"]:
            right = np.concatenate([run["details"]["right"] for run in cell["runs"]])
            for ax, key in zip(axes, ("p", "s"), strict=True):
                x, y = binned(np.concatenate([run["details"][key] for run in cell["runs"]]), right)
                ax.plot(x, y, "o-", markersize=4, label=cell["column"])
    for ax, name in zip(axes, ("confidence", "deviation"), strict=True):
        ax.set_xlabel(f"{name} of the teacher's predictions", fontsize=8)
        ax.grid(color="0.9")
    axes[0].set_ylabel("accuracy (%)", fontsize=8)
    axes[0].legend(fontsize=7)
    figure.suptitle(_title(results), fontsize=9)
    return figure


def binned(x: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[list[float], list[float]]:
    """Mean of ``x`` ``(n,)`` and accuracy in per cent in bins of equally many clips, by rising ``x``."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [float(x[part].mean()) for part in parts], [100 * float(right[part].mean()) for part in parts]


def _title(results: dict[str, Any]) -> str:
    note = " — MiniGym, synthetic" if results["data"]["synthetic"] else ""
    return f"{results['study']}: {results['title'].split(' (')[0]}{note}"
