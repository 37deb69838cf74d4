"""How the trainings behind a comparison ran, from the logs that lie in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from encoder.visual.base import EncoderSpec
from sefar_mllm.report import Curves, read_series


def training_run(spec: str) -> Path | None:
    """The folder of the training run that a SeFAR encoder lies in; None for any other encoder."""
    parsed = EncoderSpec.parse(spec)
    run = Path(parsed.name).expanduser().parent
    return run if parsed.kind == "sefar" and (run / "metrics.jsonl").is_file() else None


def training_curves(encoders: Mapping[str, Path], models: Mapping[str, Path]) -> list[Curves]:
    """Charts of loss and accuracy; those without a point are left out.

    Args:
        encoders: name → folder of an encoder's training run.
        models: name → folder of a fine-tuning.
    """
    accuracy = {
        f"{name}, {network}": series(run, "update", f"{network}_top1")
        for name, run in encoders.items()
        for network in ("student", "teacher")
    }
    losses = {name: series(run, "update", "loss") for name, run in encoders.items()}
    fine = {name: series(run, "step", "loss") for name, run in models.items()}
    charts = [
        Curves("Encoder training: top-1 on all validation clips", "update", "top-1 (%)", accuracy),
        Curves("Encoder training: loss", "update", "loss", losses),
        Curves("Fine-tuning: loss", "step", "loss of the answer's tokens", fine),
    ]
    drawn = [{name: line for name, line in chart.lines.items() if line} for chart in charts]
    return [
        Curves(chart.title, chart.x_label, chart.y_label, lines)
        for chart, lines in zip(charts, drawn, strict=True)
        if lines
    ]


def series(run: Path, x: str, y: str) -> list[tuple[float, float]]:
    """The (x, y) pairs of a run's log; none where it logged no ``y``, as a run of a few steps does not."""
    log = run / "metrics.jsonl"
    logged = log.is_file() and f'"{y}":' in log.read_text(encoding="utf-8")
    return read_series(log, x, y) if logged else []
