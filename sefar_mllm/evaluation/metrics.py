"""Answers turned into numbers: a row of results, its metrics, and the difference of two answer sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from string import ascii_uppercase

import numpy as np

from gym_qa.audit.audit import pairs_of
from gym_qa.statistics import wilson
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.inference.prediction import Answer
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
)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The head of metrics.json that ``evaluate`` writes: one model's accuracy by the score that decides.

    Accuracies are fractions; see docs/results-schema.md.

    Attributes:
        unparsed_rate: share of the written replies that could not be read; None where none was written.
        options: the settings of ``evaluate`` as JSON values.
    """

    encoder: str
    accuracy: float
    ci_low: float
    ci_high: float
    n: int
    seconds: float | None
    score: str
    accuracy_by_score: Mapping[str, float]
    unparsed_rate: float | None
    language_model: str
    options: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """As it is written, without what there is not."""
        values = asdict(self)
        if self.unparsed_rate is None:
            del values["unparsed_rate"]
        return values


@dataclass(frozen=True)
class PairAccuracy:
    """How many of the pairs of questions that count together (twins) are answered right in both; fractions.

    Over several seeds the mean, with the interval of its pairs.
    """

    n: int
    accuracy: float
    ci_low: float
    ci_high: float

    def __str__(self) -> str:
        return (
            f"both of a pair right: {self.accuracy:.1%} of {self.n} [{self.ci_low:.1%}, {self.ci_high:.1%}]"
        )


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What is measured of one `AnswerSet`, as metrics.json has it (see docs/results-schema.md); fractions."""

    name: str
    accuracy: float
    ci_low: float
    ci_high: float
    clustered_ci_low: float | None
    clustered_ci_high: float | None
    n: int
    source_videos: int
    source_videos_note: str
    seeds: int
    seed_std: float | None
    seed_accuracies: list[float]
    unparsed_rate: float
    letters_chosen: dict[str, int]
    groups: dict[str, list[GroupAccuracy]]
    calibration_error: float | None
    calibration: list[ConfidenceBin]
    pairs: PairAccuracy | None

    def as_json(self) -> dict[str, object]:
        """As it is written; ``pairs`` only where questions count in pairs."""
        values = asdict(self)
        if self.pairs is None:
            del values["pairs"]
        return values


@dataclass(frozen=True)
class AnswerSet:
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

    def right(self, question_set: QuestionSet) -> list[list[bool]]:
        """For each seed, whether each question is answered right."""
        verdicts = [
            [
                answer.choice == question.answer
                for answer, question in zip(run, question_set.questions, strict=True)
            ]
            for run in self.runs
        ]
        for run in verdicts:
            question_set.check_right(run)
        return verdicts

    def mean_right(self, question_set: QuestionSet) -> list[float]:
        """Share of the seeds that answer each question right."""
        return np.mean(self.right(question_set), axis=0).tolist()

    def bins(self, question_set: QuestionSet) -> list[ConfidenceBin]:
        """Reliability over all seeds' answers; empty where probabilities are not known for all of them."""
        pairs = [
            (answer.probabilities[answer.choice], answer.choice == question.answer)
            for run in self.runs
            for answer, question in zip(run, question_set.questions, strict=True)
            if answer.probabilities and answer.choice is not None
        ]
        if len(pairs) < len(self.runs) * len(question_set.questions):
            return []
        return calibration([sure for sure, _ in pairs], [right for _, right in pairs])

    def row(self, question_set: QuestionSet) -> ResultRow:
        """Its row of results; over several seeds accuracy is their mean and stands with their spread."""
        runs = self.right(question_set)
        n, spread = len(question_set.questions), over_seeds([sum(run) / len(run) for run in runs])
        low, high = wilson(spread.mean, n)
        unread = f"{self.unparsed_rate:.1%} not readable" if self.unparsed_rate else ""
        pairs = self.pairs(question_set)
        notes = (self.note, unread, str(pairs) if pairs else "", question_set.sources_note)
        return ResultRow(
            encoder=self.name,
            questions=question_set.name,
            accuracy=spread.mean,
            ci_low=min(low, spread.mean),
            ci_high=max(high, spread.mean),
            n=n,
            seconds=self.seconds,
            synthetic=question_set.synthetic,
            control=self.control,
            note="; ".join(part for part in notes if part),
            seeds=len(runs),
            seed_std=spread.std,
            sees_video=self.sees_video,
        )

    def metrics(self, question_set: QuestionSet, seed: int = 0) -> Metrics:
        """Everything that is measured of the answers.

        Args:
            question_set: the questions.
            seed: of the resampling.
        """
        runs, row = self.right(question_set), self.row(question_set)
        chosen = [answer.choice for run in self.runs for answer in run]
        sources = question_set.sources
        # A clustered interval needs two source videos: files about one have none.
        several = len(set(sources)) > 1
        low, high = (
            clustered_bootstrap(self.mean_right(question_set), sources, seed=seed)
            if several
            else (None, None)
        )
        bins = self.bins(question_set)
        letters = Counter(ascii_uppercase[choice] for choice in chosen if choice is not None)
        return Metrics(
            name=self.name,
            accuracy=row.accuracy,
            ci_low=row.ci_low,
            ci_high=row.ci_high,
            clustered_ci_low=low,
            clustered_ci_high=high,
            n=row.n,
            source_videos=len(set(sources)),
            source_videos_note=question_set.sources_note,
            seeds=len(runs),
            seed_std=row.seed_std,
            seed_accuracies=[sum(run) / len(run) for run in runs],
            unparsed_rate=self.unparsed_rate,
            letters_chosen=dict(sorted(letters.items())),
            groups=self.groups(question_set),
            calibration_error=calibration_error(bins) if bins else None,
            calibration=bins,
            pairs=self.pairs(question_set),
        )

    def pairs(self, question_set: QuestionSet) -> PairAccuracy | None:
        """Accuracy of whole pairs; None where no questions count together."""
        pairs = pairs_of(question_set.questions)
        if not pairs:
            return None
        both = [all(run[number] for number in pair) for run in self.right(question_set) for pair in pairs]
        rate = sum(both) / len(both)
        low, high = wilson(rate, len(pairs))
        return PairAccuracy(len(pairs), rate, min(low, rate), max(high, rate))

    def groups(self, question_set: QuestionSet) -> dict[str, list[GroupAccuracy]]:
        """Accuracy of every group of every grouping; over several seeds, their mean."""
        runs, groups = self.right(question_set), {}
        for title, keys in question_set.groups().items():
            by_run = [accuracy_by(run, keys) for run in runs]
            groups[title] = (
                by_run[0] if len(runs) == 1 else [mean_group(same) for same in zip(*by_run, strict=True)]
            )
        return groups


def mean_group(runs: Sequence[GroupAccuracy]) -> GroupAccuracy:
    """One group over several seeds; the interval is that of its questions, not of seeds times as many."""
    n, rate = runs[0].n, sum(run.accuracy for run in runs) / len(runs)
    low, high = wilson(rate, n)
    correct = round(sum(run.correct for run in runs) / len(runs))
    return GroupAccuracy(runs[0].key, correct, n, rate, min(low, rate), max(high, rate))


def difference(a: AnswerSet, b: AnswerSet, question_set: QuestionSet, seed: int = 0) -> Comparison | None:
    """How much better ``a`` is on the same questions: clustered bootstrap, and McNemar for single seeds.

    None where all questions come from one source video, which leaves nothing to redraw.
    """
    if len(set(question_set.sources)) < 2:
        return None
    test = paired_difference(
        a.mean_right(question_set), b.mean_right(question_set), question_set.sources, seed
    )
    single = len(a.runs) == len(b.runs) == 1
    exact = mcnemar(a.right(question_set)[0], b.right(question_set)[0]) if single else None
    return Comparison(a.name, b.name, question_set.name, test, exact)
