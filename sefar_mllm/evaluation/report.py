"""From answer sets to a report: table, differences, groups, reliability, confusions, wrong answers."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from encoder.errors import EncoderError
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import Frames, read_clip
from gym_qa.datasets.table import read_classes
from sefar_mllm.evaluation.metrics import AnswerSet, Headline
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.files import write_json
from sefar_mllm.inference.clip_finder import find_clips
from sefar_mllm.report import (
    Breakdown,
    Comparison,
    Confusion,
    Curves,
    Example,
    Reliability,
    Report,
    ResultRow,
    format_table,
    write_report,
    write_results,
)
from sefar_mllm.statistics import calibration_error

PACKAGES = ("sefar-mllm", "torch", "transformers", "peft", "timm", "accelerate")
WRONG_SHOWN = 8
NO_FRAMES = np.zeros((0, 1, 1, 3), np.uint8)


def write_scores(
    folder: Path,
    title: str,
    question_set: QuestionSet,
    answer_sets: Sequence[AnswerSet],
    comparisons: Sequence[Comparison],
    *,
    headline: Headline | None = None,
    extra_rows: Sequence[ResultRow] = (),
    video_root: Path | None = None,
    settings: Mapping[str, object] | None = None,
    timings: Sequence[tuple[str, float]] = (),
    curves: Sequence[Curves] = (),
    seed: int = 0,
) -> list[ResultRow]:
    """Write results.json, metrics.json, report.html and report.md; returns the rows.

    Args:
        folder: where to.
        title: the report's heading.
        question_set: the questions.
        answer_sets: what answered them, the most important first; the report's details are of those that
            are no controls.
        comparisons: paired tests between them.
        headline: what metrics.json says first.
        extra_rows: rows that were not measured here, such as published ones.
        video_root: folder of the clips, for the frames of wrong answers; None shows them without frames.
        settings: what was configured.
        timings: (stage, seconds).
        curves: how trainings ran.
        seed: of the resampling and of the wrong answers that are shown.
    """
    rows = [answers.row(question_set) for answers in answer_sets] + question_set.model_free_rows()
    detailed = [answers for answers in answer_sets if not answers.control] or list(answer_sets)
    bins = {answers.name: answers.bins(question_set) for answers in detailed}
    matrices = confusions(question_set, detailed)
    report = Report(
        title=title,
        synthetic=question_set.synthetic,
        seed=seed,
        rows=[*rows, *extra_rows],
        comparisons=comparisons,
        breakdowns=[
            Breakdown(f"{answers.name}: by {group}", groups)
            for answers in detailed
            for group, groups in answers.groups(question_set).items()
            if group != "class" or not matrices  # the confusion matrix shows classes
        ],
        reliabilities=[
            Reliability(name, curve, calibration_error(curve)) for name, curve in bins.items() if curve
        ],
        confusions=matrices,
        curves=curves,
        examples=wrong_answers(question_set, detailed[0], video_root, seed),
        examples_note=f"Wrong or unreadable answers of {detailed[0].name}, drawn at random.",
        timings=timings,
        settings=settings or {},
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        chance=question_set.chance,
    )
    write_results(folder / "results.json", report.rows)
    write_json(
        folder / "metrics.json",
        {
            **(headline.as_json() if headline else {}),
            "questions": str(question_set.file),
            "answers": [answers.metrics(question_set, seed).as_json() for answers in answer_sets],
            "differences": [
                {
                    "a": c.a,
                    "b": c.b,
                    "points": 100 * c.test.difference,
                    "low": 100 * c.test.low,
                    "high": 100 * c.test.high,
                    "p": c.test.p,
                    "mcnemar_p": c.mcnemar,
                }
                for c in comparisons
            ],
        },
    )
    write_report(report, folder)
    return list(report.rows)


def confusions(question_set: QuestionSet, answer_sets: Sequence[AnswerSet]) -> list[Confusion]:
    """Which class was taken for which; nothing where the options' classes are not known."""
    classes = question_set.file.parent / "classes.json"
    if not classes.is_file() or not all(question.option_labels for question in question_set.questions):
        return []
    known = read_classes(classes)
    events = {known_class.name: known_class.event for known_class in known}
    true = [known[question.label].name for question in question_set.questions]
    matrices = []
    for answers in answer_sets:
        chosen = [
            None if answer.choice is None else known[question.option_labels[answer.choice]].name
            for run in answers.runs
            for question, answer in zip(question_set.questions, run, strict=True)
        ]
        title = f"{answers.name}: chosen class by true class"
        matrices.append(Confusion.from_choices(title, true * len(answers.runs), chosen, events))
    return matrices


def wrong_answers(
    question_set: QuestionSet, answers: AnswerSet, video_root: Path | None, seed: int
) -> list[Example]:
    """Some of the wrong answers (of the first seed), with the clip's middle frames and the probabilities."""
    pairs = zip(question_set.questions, answers.runs[0], strict=True)
    wrong = [(question, answer) for question, answer in pairs if answer.choice != question.answer]
    drawn = np.random.default_rng(seed).permutation(len(wrong))[:WRONG_SHOWN]
    shown = [wrong[number] for number in sorted(drawn.tolist())]
    clips = find_clips(video_root, (question.video for question, _ in shown)) if video_root else {}
    return [
        Example(
            question.question,
            question.options,
            question.answer,
            answer.choice,
            answer.probabilities,
            frames(clips.get(question.video)),
            question.video,
            answers.name,
        )
        for question, answer in shown
    ]


def frames(clip: Clip | None) -> Frames:
    """Eight frames of a clip, ``(8, H, W, 3)``; none where it is not at hand or cannot be read."""
    if clip is None:
        return NO_FRAMES
    try:
        return read_clip(clip, TemporalElements.parse("8").sample, 128)
    except EncoderError:
        return NO_FRAMES  # an illustration: features may have been extracted on another machine


def print_scores(rows: Sequence[ResultRow], comparisons: Sequence[Comparison]) -> None:
    """The table and the differences, for the terminal."""
    print(f"\n{format_table(rows)}\n")
    for comparison in comparisons:
        test = comparison.test
        print(
            f"{comparison.a} − {comparison.b}: {100 * test.difference:+.1f} points "
            f"(95 % interval {100 * test.low:+.1f} to {100 * test.high:+.1f}); {comparison.verdict}",
            flush=True,
        )
