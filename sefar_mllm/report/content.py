"""What a report holds: small typed pieces that the rest of the project fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.statistics import ConfidenceBin, GroupAccuracy, PairedDifference, confusion_counts


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One line of the results table and of `results.json` (see docs/results-schema.md).

    Attributes:
        encoder: what answered: a visual encoder's name, or a control's.
        questions: name of the question set.
        accuracy: fraction of the n questions answered right.
        ci_low: lower end of the 95 % interval, a fraction.
        ci_high: upper end of the 95 % interval, a fraction.
        n: number of questions, every one counted.
        seconds: wall time to get the row; None where there was no run (a published figure).
        synthetic: whether the questions are about synthetic videos.
        control: whether the row answers without using the video as it should (chance, text only, …).
        note: anything a reader must know beside the number.
        seeds: number of training seeds that accuracy averages.
        seed_std: standard deviation of accuracy between seeds, a fraction; None for a single seed.
        sees_video: a control that is shown its own video after all, with frames or options moved; the others
            are what a score must beat to be better than blind.

    Raises:
        SefarMLLMError: when the numbers cannot be an accuracy and its interval.
    """

    encoder: str
    questions: str
    accuracy: float
    ci_low: float
    ci_high: float
    n: int
    seconds: float | None
    synthetic: bool
    control: bool = False
    note: str = ""
    seeds: int = 1
    seed_std: float | None = None
    sees_video: bool = False

    def __post_init__(self) -> None:
        tiny = 1e-9  # rounding, not tolerance: an interval may end exactly at the accuracy
        if not -tiny <= self.ci_low <= self.accuracy + tiny <= self.ci_high + 2 * tiny <= 1 + 3 * tiny:
            raise SefarMLLMError(
                f"result row {self.encoder!r}: expected fractions 0 <= ci_low <= accuracy <= ci_high <= 1, "
                f"got {self.ci_low}, {self.accuracy}, {self.ci_high}"
            )
        optional = [value for value in (self.seconds, self.seed_std) if value is not None]
        if self.n < 1 or self.seeds < 1 or not all(0 <= value < float("inf") for value in optional):
            raise SefarMLLMError(
                f"result row {self.encoder!r}: expected n >= 1, seeds >= 1, "
                f"seconds and seed_std >= 0 or null, "
                f"got {self.n}, {self.seeds}, {self.seconds}, {self.seed_std}"
            )


@dataclass(frozen=True)
class Comparison:
    """Two rows of one question set, tested on the same questions: how much better ``a`` is than ``b``.

    Attributes:
        a: the one side.
        b: the other side.
        questions: name of the question set.
        test: the difference, resampled by source video.
        mcnemar: p of McNemar's exact test, which takes the questions as independent; None for several seeds.
    """

    a: str
    b: str
    questions: str
    test: PairedDifference
    mcnemar: float | None = None

    @property
    def verdict(self) -> str:
        """Which side is ahead, or that the interval leaves it open."""
        if self.test.low > 0:
            return f"{self.a} is ahead"
        return f"{self.b} is ahead" if self.test.high < 0 else "not told apart"


@dataclass(frozen=True)
class Curves:
    """One chart of named lines; each line is a list of (x, y) in order of x."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Breakdown:
    """Accuracy by event, set, class or attribute, e.g. from `sefar_mllm.statistics.accuracy_by`."""

    title: str
    groups: Sequence[GroupAccuracy]


@dataclass(frozen=True)
class Reliability:
    """How often an answer of a given probability is right; from `sefar_mllm.statistics.calibration`."""

    title: str
    bins: Sequence[ConfidenceBin]
    error: float


@dataclass(frozen=True)
class Confusion:
    """Which class was chosen where which was true.

    Attributes:
        title: whose answers these are.
        classes: class names, grouped by event, shape (C,).
        events: the event of each class, shape (C,).
        counts: questions with true class (row) and chosen class (column), shape (C, C).
        unread: questions whose answer could not be read: wrong, and in no column.
    """

    title: str
    classes: Sequence[str]
    events: Sequence[str]
    counts: npt.NDArray[np.int64]
    unread: int = 0

    @classmethod
    def from_choices(
        cls, title: str, true: Sequence[str], chosen: Sequence[str | None], events: Mapping[str, str]
    ) -> Confusion:
        """Count the answers of n questions.

        Args:
            title: whose answers these are.
            true: the right class's name, shape (n,).
            chosen: the chosen option's class name, None where the answer could not be read.
            events: event of every class name, in the order the classes are to be shown within an event.

        Raises:
            SefarMLLMError: for a class without an event, or lists of different lengths.
        """
        if len(true) != len(chosen):
            raise SefarMLLMError(f"confusion of {len(true)} true classes with {len(chosen)} choices")
        classes = {name for name in (*true, *chosen) if name is not None}
        if missing := sorted(classes - events.keys()):
            raise SefarMLLMError(f"no event is given for class {missing[0]!r} ({len(missing)} such classes)")
        order = [name for event in dict.fromkeys(events.values()) for name in events if events[name] == event]
        order = [name for name in order if name in classes]
        read = [(t, c) for t, c in zip(true, chosen, strict=True) if c is not None]
        number = {name: i for i, name in enumerate(order)}
        counts = confusion_counts([number[c] for _, c in read], [number[t] for t, _ in read], len(order))
        return cls(title, order, [events[name] for name in order], counts, len(true) - len(read))


@dataclass(frozen=True)
class Example:
    """One question with the frames the model saw and what it made of them.

    Attributes:
        question: its text without the options.
        options: texts of the options.
        answer: index of the right option.
        choice: index of the chosen option, None when the answer could not be read.
        probabilities: the model's probability of each option; empty where they are not known.
        frames: uint8, shape (T, H, W, 3), RGB, in order of time; T is 0 where the videos are not at hand.
        clip: clip id.
        model: whose choice it is.
    """

    question: str
    options: Sequence[str]
    answer: int
    choice: int | None
    probabilities: Sequence[float]
    frames: npt.NDArray[np.uint8]
    clip: str
    model: str

    def __post_init__(self) -> None:
        if self.probabilities and len(self.options) != len(self.probabilities):
            raise SefarMLLMError(
                f"example {self.clip}: {len(self.options)} options "
                f"but {len(self.probabilities)} probabilities"
            )
        for option in (self.answer, self.choice):
            if option is not None and not 0 <= option < len(self.options):
                raise SefarMLLMError(
                    f"example {self.clip}: there is no option {option} of {len(self.options)}"
                )
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise SefarMLLMError(
                f"example {self.clip}: expected frames uint8 (T, H, W, 3), "
                f"got {self.frames.dtype} {self.frames.shape}"
            )


@dataclass(frozen=True)
class Report:
    """Everything on one page; parts left empty do not appear.

    Attributes:
        title: heading of the page.
        synthetic: whether any number in it comes from synthetic videos; shown as a banner and at each part.
        seed: the run's seed.
        rows: the results table.
        comparisons: paired tests between rows.
        breakdowns: accuracy by group.
        curves: training curves.
        reliabilities: how far the probabilities can be believed.
        confusions: confusion matrices.
        examples: questions with frames and choices.
        examples_note: how the examples were picked.
        timings: (stage, seconds) in order.
        settings: what was configured.
        versions: of Python and libraries.
        chance: accuracy of guessing, drawn as a line.
    """

    title: str
    synthetic: bool
    seed: int
    rows: Sequence[ResultRow] = ()
    comparisons: Sequence[Comparison] = ()
    breakdowns: Sequence[Breakdown] = ()
    curves: Sequence[Curves] = ()
    reliabilities: Sequence[Reliability] = ()
    confusions: Sequence[Confusion] = ()
    examples: Sequence[Example] = ()
    examples_note: str = ""
    timings: Sequence[tuple[str, float]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    chance: float = 0.25

    def __post_init__(self) -> None:
        if any(row.synthetic for row in self.rows) and not self.synthetic:
            raise SefarMLLMError(
                f"report {self.title!r} holds rows of synthetic data, so it must say synthetic=True"
            )
        kinds = {(row.questions, row.synthetic) for row in self.rows}
        if len(kinds) > len({name for name, _ in kinds}):
            raise SefarMLLMError(
                f"report {self.title!r} calls one question set both synthetic and not; name the sets apart"
            )
