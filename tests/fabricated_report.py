"""A report as a comparison would fill it. Every number is fabricated: drawn at random or written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from sefar_mllm.report import (
    Breakdown,
    Comparison,
    Confusion,
    Curves,
    Example,
    Reliability,
    Report,
    ResultRow,
)
from sefar_mllm.statistics import (
    accuracy_by,
    calibration,
    calibration_error,
    over_seeds,
    paired_difference,
    wilson_interval,
)


def fabricated_row(
    encoder: str, correct: int, n: int = 800, seconds: float | None = 30.0, **more: object
) -> ResultRow:
    low, high = wilson_interval(correct, n)
    values: dict[str, object] = {"questions": "MiniGym hard", "synthetic": True} | more
    return ResultRow(
        encoder=encoder, accuracy=correct / n, ci_low=low, ci_high=high, n=n, seconds=seconds, **values
    )  # type: ignore[arg-type]


def fabricated_classes() -> dict[str, str]:
    """36 class names in FineGym's manner → event."""
    names = {}
    for way in ("forward", "backward"):
        for body in ("tucked", "piked", "stretched"):
            for turns in ("", " with 0.5 turn", " with 1 turn"):
                names[f"(FX) salto {way} {body}{turns}"] = "FX"
    for turns in ("0.5", "1", "1.5", "2"):
        names[f"(BB) {turns} turn in tuck stand on one leg, free leg straight throughout turn"] = "BB"
        names[f"(BB) {turns} turn with heel of free leg forward at horizontal throughout turn"] = "BB"
    for way in ("forward", "backward"):
        for turns in ("", " with 0.5 turn", " with 1 turn", " with 1.5 turn", " with 2 turns"):
            names[f"(UB) giant circle {way}{turns}"] = "UB"
    return names


def fabricated_report() -> Report:
    """Everything a report can hold; every number is drawn from a random generator or written by hand."""
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(40), 20)
    a, b, blind = (rng.random(800) < p for p in (0.66, 0.53, 0.26))
    rows = [
        dataclasses.replace(
            fabricated_row("SeFAR", int(a.sum()), seconds=96.4),
            seeds=3,
            seed_std=over_seeds([0.65, 0.67]).std,
        ),
        fabricated_row(
            "EfficientNet-Lite0", int(b.sum()), seconds=88.0, note="ImageNet weights, frame by frame"
        ),
        fabricated_row("chance", 200, seconds=0.0, control=True),
        fabricated_row("commonest class", 218, seconds=0.1, control=True),
        fabricated_row("language model alone", int(blind.sum()), seconds=61.0, control=True, note="no video"),
    ]
    rows[2] = dataclasses.replace(rows[2], ci_low=0.25, ci_high=0.25)
    sure = np.clip(rng.beta(5, 3, 800), 0.25, 1)
    bins = calibration(sure, a)
    names = fabricated_classes()
    true = rng.choice(list(names), 800)
    near = np.array(list(names))[
        np.clip(rng.integers(-2, 3, 800) + [list(names).index(t) for t in true], 0, 35)
    ]
    chosen = [str(t) if hit else str(n) for t, n, hit in zip(true, near, a, strict=True)]
    steps = np.arange(450)
    curves = [
        Curves(
            "Encoder training: loss",
            "step",
            "loss",
            {
                name: list(
                    zip(
                        steps.tolist(),
                        (3.5 * np.exp(-steps / r) + 0.2 * rng.random(450)).tolist(),
                        strict=True,
                    )
                )
                for name, r in (("supervised", 90), ("unlabelled", 160))
            },
        ),
        Curves(
            "Encoder: top-1 on val",
            "epoch",
            "top-1",
            {
                "student": [(e, 0.6 * (1 - np.exp(-e / 9))) for e in range(30)],
                "teacher": [(e, 0.64 * (1 - np.exp(-e / 12))) for e in range(30)],
            },
        ),
        Curves(
            "Fine-tuning: loss",
            "step",
            "loss per answer token",
            {
                name: [(s, 2.2 * float(np.exp(-s / r)) + 0.3) for s in range(0, 200, 5)]
                for name, r in (("SeFAR", 30), ("EfficientNet-Lite0", 60), ("no video", 400))
            },
        ),
    ]
    options = list(names)[1:5]
    examples = [
        Example(
            "What gymnastics move is this athlete performing?",
            options,
            answer=1,
            choice=choice,
            probabilities=probabilities,
            frames=fabricated_frames(),
            clip="aBcDeFgHiJk_E_000120_000210_A_0031_0034",
            model="SeFAR",
        )
        for choice, probabilities in (
            (1, [0.06, 0.81, 0.1, 0.03]),
            (2, [0.1, 0.32, 0.5, 0.08]),
            (None, [0.25, 0.25, 0.25, 0.25]),
        )
    ]
    return Report(
        title="Fabricated report: SeFAR and frame features on MiniGym",
        synthetic=True,
        seed=0,
        rows=rows,
        comparisons=[
            Comparison("SeFAR", "EfficientNet-Lite0", "MiniGym hard", paired_difference(a, b, videos, 0)),
            Comparison(
                "SeFAR", "language model alone", "MiniGym hard", paired_difference(a, blind, videos, 0)
            ),
            Comparison(
                "EfficientNet-Lite0",
                "EfficientNet-Lite0, frames shuffled",
                "MiniGym hard",
                paired_difference(b, rng.random(800) < 0.53, videos, 0),
            ),
        ],
        breakdowns=[Breakdown("By event", accuracy_by(a, [names[t] for t in true]))],
        curves=curves,
        reliabilities=[Reliability("SeFAR", bins, calibration_error(bins))],
        confusions=[Confusion.from_choices("SeFAR", [str(t) for t in true], chosen, names)],
        examples=examples,
        examples_note="Drawn at random with the run's seed: one right, one wrong, one not readable.",
        timings=[
            ("render videos", 31.2),
            ("train encoder", 240.0),
            ("fine-tune SeFAR", 140.5),
            ("evaluate", 96.4),
        ],
        settings={
            "encoder.recipe": "sefar",
            "lora.rank": 16,
            "learning_rate": 5e-4,
            "data": "runs/demo/data",
        },
        versions={"python": "3.11.7", "torch": "2.9.1", "sefar-mllm": "0.1.0"},
    )


def fabricated_frames() -> np.ndarray:
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    for t in range(8):
        frames[t, ..., 2] = np.linspace(60, 160, 64, dtype=np.uint8)[:, None]
        frames[t, 30 - 3 * t if t < 5 else 3 * t : 50, 6 * t + 4 : 6 * t + 14] = (230, 180, 60)
    return frames
