"""What the demo shows: ``results.json``, ``report.html`` and the table in the terminal."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import read_clip
from gym_qa.datasets.table import read_classes
from gym_qa.minigym.elements import SETS
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.evaluation.question_set import source_of
from sefar_mllm.report import (
    Breakdown,
    Comparison,
    Confusion,
    Curves,
    Example,
    Report,
    ResultRow,
    format_table,
    read_series,
    write_report,
    write_results,
)
from sefar_mllm.statistics import accuracy_by, paired_difference, wilson_interval

if TYPE_CHECKING:
    from sefar_mllm.experiments.demo import Folders

PACKAGES = ("sefar-mllm", "torch", "transformers", "peft", "timm", "accelerate")


def report_demo(folders: Folders, size: str, seed: int, seconds: dict[str, float]) -> None:
    """Write results and report into the run's folder and print the table."""
    from sefar_mllm.experiments.demo import BLIND, FRAMES, SEFAR

    label = f"MiniGym {size}, hard"
    questions = read_questions(folders.qa / "val_questions.jsonl")
    answers = {name: read_predictions(folders.answers(name), questions) for name in (SEFAR, FRAMES, BLIND)}
    right = {name: [row["choice"] == row["answer"] for row in rows] for name, rows in answers.items()}
    rows = [result_row(name, label, right[name], seconds, name == BLIND) for name in answers]
    rows += control_rows(folders.qa / "audit.json", label, len(questions))
    videos = [source_of(question) for question in questions]
    comparisons = [
        Comparison(SEFAR, other, label, paired_difference(right[SEFAR], right[other], videos, seed))
        for other in (FRAMES, BLIND)
    ]
    write_results(folders.run / "results.json", rows)
    report = Report(
        title=f"SeFAR and a language model on synthetic gymnastics (MiniGym {size})",
        synthetic=True,
        seed=seed,
        rows=rows,
        comparisons=comparisons,
        breakdowns=[
            Breakdown(
                f"Accuracy of {name} by set",
                accuracy_by(right[name], [f"{q.set} {SETS.get(q.set, '')}" for q in questions]),
            )
            for name in (SEFAR, FRAMES)
        ],
        curves=curves(folders),
        confusions=[confusion(folders.qa / "classes.json", questions, answers[SEFAR], SEFAR)],
        examples=examples(folders.data / "videos", questions, answers[SEFAR], SEFAR),
        examples_note="Eight questions spread evenly over the file, right or wrong.",
        timings=list(seconds.items()),
        settings=settings(folders),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    )
    page = write_report(report, folders.run)
    print(f"\n{format_table(rows)}\n")
    for comparison in comparisons:
        test = comparison.test
        print(
            f"{comparison.a} − {comparison.b}: {100 * test.difference:+.1f} points "
            f"(95 % interval {100 * test.low:+.1f} to {100 * test.high:+.1f}); {comparison.verdict}"
        )
    print(f"\n{sum(seconds.values()) / 60:.1f} minutes of work in all; open {page}")


def read_predictions(folder: Path, questions: list[Question]) -> list[dict[str, Any]]:
    """The predictions in the order of the questions."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["id"]: row for row in map(json.loads, lines)}
    return [rows[question.id] for question in questions]


def result_row(name: str, label: str, right: list[bool], seconds: dict[str, float], blind: bool) -> ResultRow:
    """Accuracy of one fine-tuned model; its seconds are those of fine-tuning and answering."""
    low, high = wilson_interval(sum(right), len(right))
    spent = sum(time for stage, time in seconds.items() if stage in (f"fine-tune, {name}", f"answer, {name}"))
    shown = "language model without video" if blind else name
    return ResultRow(
        shown,
        label,
        sum(right) / len(right),
        low,
        high,
        len(right),
        round(spent, 1),
        synthetic=True,
        control=blind,
    )


def control_rows(audit: Path, label: str, n: int) -> list[ResultRow]:
    """What is scored without any model, from the questions' audit."""
    scores = json.loads(audit.read_text(encoding="utf-8"))["scores"]
    rows = []
    for guesser in ("chance", "commonest class"):
        score = scores[guesser]
        low, high = score["ci_low"], score["ci_high"]
        accuracy = score["accuracy"]
        rows.append(
            ResultRow(
                guesser,
                label,
                accuracy,
                accuracy if low is None else low,
                accuracy if high is None else high,
                n,
                None,
                synthetic=True,
                control=True,
            )
        )
    return rows


def curves(folders: Folders) -> list[Curves]:
    """How the encoder's loss and accuracy and the fine-tuning losses ran."""
    from sefar_mllm.experiments.demo import BLIND, FRAMES, SEFAR

    log = folders.encoder / "metrics.jsonl"
    losses = Curves(
        "SeFAR training: loss", "update", "loss", {"all losses": read_series(log, "update", "loss")}
    )
    accuracy = Curves(
        "SeFAR training: top-1 on all validation clips",
        "update",
        "top-1 (%)",
        {name: read_series(log, "update", f"{name}_top1") for name in ("student", "teacher")},
    )
    fine = {
        name: read_series(folders.model(name) / "metrics.jsonl", "step", "loss")
        for name in (SEFAR, FRAMES, BLIND)
    }
    return [accuracy, losses, Curves("Fine-tuning: loss", "step", "loss of the answer's tokens", fine)]


def confusion(classes: Path, questions: list[Question], rows: list[dict[str, Any]], name: str) -> Confusion:
    """Which class was taken for which."""
    known = read_classes(classes)
    names = [known[question.label].name for question in questions]
    chosen = [
        None if row["choice"] is None else known[question.option_labels[row["choice"]]].name
        for question, row in zip(questions, rows, strict=True)
    ]
    return Confusion.from_choices(
        f"{name}: chosen class by true class", names, chosen, {c.name: c.event for c in known}
    )


def examples(videos: Path, questions: list[Question], rows: list[dict[str, Any]], name: str) -> list[Example]:
    """Eight questions spread evenly over the file, with the frames the encoders saw."""
    sampling = TemporalElements.parse("8")
    step = max(1, len(questions) // 8)
    return [
        Example(
            question.question,
            question.options,
            question.answer,
            row["choice"],
            row["probabilities"],
            read_clip(Clip(videos / f"{question.video}.mp4", -1), sampling.sample),
            question.video,
            name,
        )
        for question, row in list(zip(questions, rows, strict=True))[::step][:8]
    ]


def settings(folders: Folders) -> dict[str, object]:
    """The encoder's and the language model's options, as the runs wrote them down."""
    encoder = json.loads((folders.encoder / "config.json").read_text(encoding="utf-8"))
    return {f"encoder {key}": value for key, value in encoder.items()}
