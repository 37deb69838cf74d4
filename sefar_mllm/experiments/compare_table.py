"""The table that a comparison ends in: our rows over seeds, their controls, and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sefar_mllm.evaluation.controls import CONTROLS, ONE_ORDER
from sefar_mllm.evaluation.metrics import AnswerSet, difference
from sefar_mllm.evaluation.prediction_file import read_answers
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.report import print_scores, write_scores
from sefar_mllm.report import Comparison, Curves, ResultRow

#: Gym-QA-99 and Gym-QA-288 in per cent, Vicuna-7B fine-tuned on 5 % (SeFAR, arXiv 2501.01245, table 5).
PUBLISHED = {
    "CLIP ViT-L/16": (37.3, 41.0),
    "EVA-CLIP ViT-G/14": (43.7, 44.8),
    "ViT-L/14 (LanguageBind)": (44.3, 46.0),
    "SeFAR": (49.0, 56.2),
}
PUBLISHED_SETS = {  # with the validation clips of FineGym v1.1
    "Reported by arXiv 2501.01245, not run here: Gym-QA-99": 8521,
    "Reported by arXiv 2501.01245, not run here: Gym-QA-288": 9646,
}


def published_rows() -> list[ResultRow]:
    """The paper's table 5, for reference: other questions, other videos, a larger language model.

    Beside synthetic data it would compare nothing, and is left out.
    """
    return [
        ResultRow(
            encoder=name,
            questions=questions,
            accuracy=share / 100,
            ci_low=share / 100,
            ci_high=share / 100,
            n=n,
            seconds=None,
            synthetic=False,
        )
        for place, (questions, n) in enumerate(PUBLISHED_SETS.items())
        for name, shares in PUBLISHED.items()
        for share in (shares[place],)
    ]


def write_comparison(
    output: Path,
    asked: QuestionSet,
    runs: Mapping[str, Sequence[Path]],
    text_only: str,
    settings: Mapping[str, object],
    seconds: Mapping[str, float],
    video_root: Path,
    curves: Sequence[Curves] = (),
) -> None:
    """Write results.json, metrics.json and the report, and print the table.

    Args:
        output: the comparison's folder.
        asked: the questions.
        runs: for each row the folders that ``evaluate`` wrote, one a seed.
        text_only: the row of the language model without video, a control.
        settings: what was configured.
        seconds: of every step.
        video_root: folder of the clips.
        curves: how the trainings ran.
    """
    scored = []
    for name, folders in runs.items():
        spent = sum(time for step, time in seconds.items() if f", {name}, seed " in step)
        scored.append(gather(asked, name, folders, "predictions", round(spent, 1), name == text_only))
    mains = [one for one in scored if not one.control]
    controls = [
        replace(
            gather(asked, control.name(one.name), runs[one.name], f"controls/{file}", None, True),
            sees_video=control.sees_video,
            note=ONE_ORDER if file == "circular" and not reordered(runs[one.name]) else "",
        )
        for one in mains
        for file, control in CONTROLS.items()
        if all((folder / "controls" / f"{file}.jsonl").is_file() for folder in runs[one.name])
    ]
    by_name = {one.name: one for one in [*scored, *controls]}
    pairs = [(mains[0], other) for other in [*mains[1:], *(one for one in scored if one.control)]]
    pairs += [(one, by_name[control.name]) for one in mains for control in controls if of(control, one)]
    tested = [difference(a, b, asked) for a, b in pairs]
    comparisons: list[Comparison] = [one for one in tested if one]
    rows = write_scores(
        output,
        f"Visual encoders compared on {asked.name}",
        asked,
        [*scored, *controls],
        comparisons,
        extra_rows=() if asked.synthetic else published_rows(),
        video_root=video_root,
        settings={key: str(value) for key, value in settings.items()},
        timings=list(seconds.items()),
        curves=curves,
    )
    print_scores(rows, comparisons)
    print(f"\n{sum(seconds.values()) / 60:.1f} minutes of work in all; open {output / 'report.html'}")


def reordered(folders: Sequence[Path]) -> bool:
    """Whether the questions were asked with their options in other orders."""
    return any((folder / "controls" / "shifted-1.jsonl").is_file() for folder in folders)


def of(control: AnswerSet, one: AnswerSet) -> bool:
    """Whether a control is this model's."""
    return control.name in {known.name(one.name) for known in CONTROLS.values()}


def gather(
    asked: QuestionSet, name: str, folders: Sequence[Path], file: str, seconds: float | None, control: bool
) -> AnswerSet:
    """One row's answers over the seeds."""
    answers = tuple(read_answers(folder / f"{file}.jsonl", asked.questions) for folder in folders)
    return AnswerSet(name, answers, seconds, control)
