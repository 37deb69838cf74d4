"""Answers turned into numbers: a row of results, its metrics, and the difference of two sets of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np

from gym_qa.audit.audit import wilson
from sefar_mllm.evaluation.answers import Answer
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.report import Comparison, ResultRow
from sefar_mllm.statistics import (
    ConfidenceBin,
    GroupAccuracy,
    accuracy_by,
    calibration,
    calibration_error,
    clustered_bootstrap,
    mcnemar,
    over_seeds,
    paired_difference,
    wilson_interval,
)


@dataclass(frozen=True)
class Scored:
    """What one model, or one control, answered to every question of a set.

    Attributes:
        name: what tables call it.
        runs: for each training seed, one answer a question.
        seconds: wall time to get the answers; None where they were made elsewhere.
        control: whether it is shown no video, or a wrong one.
        note: what must be known beside the number.
        sees_video: a control that is shown its own video, with frames or options moved.
    """

    name: str
    runs: tuple[Sequence[Answer], ...]
    seconds: float | None = None
    control: bool = False
    note: str = ""
    sees_video: bool = False

    @property
    def unparsed_rate(self) -> float:
        """Share of the answers that could not be read; they count as wrong."""
        chosen = [answer.choice for run in self.runs for answer in run]
        return sum(choice is None for choice in chosen) / len(chosen)

    def right(self, asked: QuestionSet) -> list[list[bool]]:
        """For each seed, whether each question is answered right."""
        verdicts = [
            [answer.choice == question.answer for answer, question in zip(run, asked.questions, strict=True)]
            for run in self.runs
        ]
        for run in verdicts:
            asked.check_right(run)
        return verdicts

    def mean_right(self, asked: QuestionSet) -> list[float]:
        """Share of the seeds that answer each question right."""
        return np.mean(self.right(asked), axis=0).tolist()

    def bins(self, asked: QuestionSet) -> list[ConfidenceBin]:
        """Reliability over all seeds' answers; empty where probabilities are not known for all of them."""
        pairs = [
            (answer.probabilities[answer.choice], answer.choice == question.answer)
            for run in self.runs
            for answer, question in zip(run, asked.questions, strict=True)
            if answer.probabilities and answer.choice is not None
        ]
        if len(pairs) < len(self.runs) * len(asked.questions):
            return []
        return calibration([sure for sure, _ in pairs], [right for _, right in pairs])

    def row(self, asked: QuestionSet) -> ResultRow:
        """Its row of results; over several seeds accuracy is their mean and stands with their spread."""
        runs = self.right(asked)
        n, spread = len(asked.questions), over_seeds([sum(run) / len(run) for run in runs])
        low, high = wilson_interval(sum(runs[0]), n) if len(runs) == 1 else wilson(spread.mean, n)
        unread = f"{self.unparsed_rate:.1%} not readable" if self.unparsed_rate else ""
        return ResultRow(
            self.name,
            asked.name,
            spread.mean,
            min(low, spread.mean),
            max(high, spread.mean),
            n,
            self.seconds,
            asked.synthetic,
            self.control,
            "; ".join(part for part in (self.note, unread, asked.sources_note) if part),
            len(runs),
            spread.std,
            self.sees_video,
        )

    def metrics(self, asked: QuestionSet, seed: int = 0) -> dict[str, Any]:
        """Everything that is measured of the answers, as JSON values (see docs/results-schema.md)."""
        runs, row = self.right(asked), self.row(asked)
        chosen = [answer.choice for run in self.runs for answer in run]
        # A clustered interval needs two source videos: files about one have none.
        several = len(set(asked.sources)) > 1
        clustered = (
            clustered_bootstrap(self.mean_right(asked), asked.sources, seed=seed) if several else (None, None)
        )
        bins = self.bins(asked)
        letters = Counter(ascii_uppercase[choice] for choice in chosen if choice is not None)
        return {
            "name": self.name,
            "accuracy": row.accuracy,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "clustered_ci_low": clustered[0],
            "clustered_ci_high": clustered[1],
            "n": row.n,
            "source_videos": len(set(asked.sources)),
            "source_videos_note": asked.sources_note,
            "seeds": len(runs),
            "seed_std": row.seed_std,
            "seed_accuracies": [sum(run) / len(run) for run in runs],
            "unparsed_rate": self.unparsed_rate,
            "letters_chosen": dict(sorted(letters.items())),
            "groups": {
                title: [asdict(group) for group in groups] for title, groups in self.groups(asked).items()
            },
            "calibration_error": calibration_error(bins) if bins else None,
            "calibration": [asdict(b) for b in bins],
        }

    def groups(self, asked: QuestionSet) -> dict[str, list[GroupAccuracy]]:
        """Accuracy of every group of every grouping; over several seeds, their mean."""
        runs, found = self.right(asked), {}
        for title, keys in asked.groups().items():
            by_run = [accuracy_by(run, keys) for run in runs]
            found[title] = (
                by_run[0] if len(runs) == 1 else [mean_group(same) for same in zip(*by_run, strict=True)]
            )
        return found


def mean_group(runs: Sequence[GroupAccuracy]) -> GroupAccuracy:
    """One group over several seeds; the interval is that of its questions, not of seeds times as many."""
    n, rate = runs[0].n, sum(run.accuracy for run in runs) / len(runs)
    low, high = wilson(rate, n)
    correct = round(sum(run.correct for run in runs) / len(runs))
    return GroupAccuracy(runs[0].key, correct, n, rate, min(low, rate), max(high, rate))


def difference(a: Scored, b: Scored, asked: QuestionSet, seed: int = 0) -> Comparison | None:
    """How much better ``a`` is on the same questions: clustered bootstrap, and McNemar for single seeds.

    None where all questions come from one source video, which leaves nothing to redraw.
    """
    if len(set(asked.sources)) < 2:
        return None
    test = paired_difference(a.mean_right(asked), b.mean_right(asked), asked.sources, seed)
    single = len(a.runs) == len(b.runs) == 1
    exact = mcnemar(a.right(asked)[0], b.right(asked)[0]) if single else None
    return Comparison(a.name, b.name, asked.name, test, exact)
