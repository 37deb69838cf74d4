"""How far a score can be trusted: intervals, paired tests, groups and seeds.

Questions cut from one source video share athlete, camera and lighting, so their answers are not independent.
The intervals here that say *clustered* therefore draw whole source videos, not single questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import confusion_matrix

from gym_qa.statistics import wilson
from sefar_mllm.errors import SefarMLLMError

Values = Sequence[float] | Sequence[bool] | npt.NDArray[np.generic]
Labels = Sequence[str] | Sequence[int] | npt.NDArray[np.generic]


@dataclass(frozen=True)
class GroupAccuracy:
    """Accuracy of the questions that share one key, with its Wilson interval (fractions, not per cent)."""

    key: str | int
    correct: int
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``a - b`` over the same questions, its clustered interval and two-sided p (fractions)."""

    difference: float
    low: float
    high: float
    p: float
    n: int
    clusters: int


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and the unbiased standard deviation between them (None with a single seed)."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class ConfidenceBin:
    """Questions whose chosen option had a probability within one stretch: mean probability, and how many
    were right with the Wilson interval of their share (fractions)."""

    confidence: float
    accuracy: float
    low: float
    high: float
    n: int


def wilson_interval(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, equation 3); right near 0 and 1 and for small n.

    Raises:
        SefarMLLMError: when there are no questions, or more right answers than questions.
    """
    if not 0 <= correct <= n or n == 0:
        raise SefarMLLMError(f"an interval needs n >= 1 and 0 <= correct <= n, got correct={correct}, n={n}")
    return wilson(correct / n, n, confidence)


def clustered_bootstrap(
    values: Values, clusters: Labels, *, seed: int, samples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of ``values`` (n,) when whole clusters are drawn with replacement.

    The percentile interval, widened for few clusters by Student's t (Hesterberg 2015, "expanded percentile").

    Args:
        values: one number a question: right (1) or wrong (0), or its mean over seeds.
        clusters: the source video of each question, in the same order.
        seed: seed of the resampling.
        samples: number of resamples.
        confidence: level of the interval.

    Raises:
        SefarMLLMError: for lengths that differ, values that are not finite, or fewer than two clusters.
    """
    means, count = _resampled_means(values, clusters, seed, samples)
    return _expanded_interval(means, count, confidence)


def paired_difference(
    a_correct: Values,
    b_correct: Values,
    clusters: Labels,
    seed: int,
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
) -> PairedDifference:
    """How much more of the same questions ``a`` answers right than ``b``, resampled by source video.

    With several training seeds, give each question's mean over the seeds: the interval then speaks of other
    questions answered by these runs; `over_seeds` speaks of other runs.

    The p-value is the level at which the interval would just touch zero, so ``p < 0.05`` and "the 95 %
    interval excludes zero" say the same. It cannot fall below what ``samples`` resamples can show.

    Args:
        a_correct: right (1) or wrong (0) a question, shape (n,), or the mean over seeds.
        b_correct: the same questions in the same order.
        clusters: the source video of each question.
        seed: seed of the resampling.
        samples: number of resamples.
        confidence: level of the interval.

    Raises:
        SefarMLLMError: for lengths that differ, values that are not finite, or fewer than two clusters.
    """
    a, b = _as_values(a_correct), _as_values(b_correct)
    if a.shape != b.shape:
        raise SefarMLLMError(f"a paired test needs the same questions on both sides: {len(a)} and {len(b)}")
    means, count = _resampled_means(a - b, clusters, seed, samples)
    low, high = _expanded_interval(means, count, confidence)
    tail = (1 + min(int((means <= 0).sum()), int((means >= 0).sum()))) / (samples + 1)
    t = stats.norm.ppf(min(tail, 0.5)) * np.sqrt((count - 1) / count)
    p = 2 * float(stats.t.cdf(t, df=count - 1))
    return PairedDifference(float(np.mean(a - b)), low, high, min(p, 1.0), len(a), count)


def mcnemar(a_correct: Values, b_correct: Values) -> float:
    """Exact two-sided McNemar test: p of the discordant questions under Binomial(b + c, 1/2); 1 with none.

    It takes the questions as independent; `paired_difference` does not.
    """
    a, b = _as_values(a_correct), _as_values(b_correct)
    if a.shape != b.shape:
        raise SefarMLLMError(f"a paired test needs the same questions on both sides: {len(a)} and {len(b)}")
    if not np.isin(np.concatenate([a, b]), (0, 1)).all():
        raise SefarMLLMError("McNemar's test counts the right answers of one run: values must be 0 or 1")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def accuracy_by(correct: Values, keys: Labels, confidence: float = 0.95) -> list[GroupAccuracy]:
    """Accuracy and Wilson interval of every key (event, set, class, attribute), sorted by key.

    Args:
        correct: right (1) or wrong (0), shape (n,).
        keys: one key a question, all strings or all integers.
        confidence: level of the intervals.

    Raises:
        SefarMLLMError: for lengths that differ, values other than 0 and 1, or keys of mixed kinds.
    """
    right = _as_values(correct)
    if len(right) != len(keys):
        raise SefarMLLMError(f"{len(right)} answers but {len(keys)} keys: there must be one key a question")
    if not np.isin(right, (0, 1)).all():
        raise SefarMLLMError("accuracy by group counts right and wrong answers: values must be 0 or 1")
    if not (all(isinstance(k, str) for k in keys) or all(isinstance(k, int | np.integer) for k in keys)):
        raise SefarMLLMError("keys must be all strings or all integers; name the questions without one")
    names, place = np.unique(np.asarray(keys), return_inverse=True)
    sizes = np.bincount(place, minlength=len(names))
    hits = np.bincount(place, weights=right, minlength=len(names)).astype(int)
    return [
        GroupAccuracy(key, hit, size, hit / size, *wilson_interval(hit, size, confidence))
        for key, hit, size in zip(names.tolist(), hits.tolist(), sizes.tolist(), strict=True)
    ]


def confusion_counts(predicted: Labels, labels: Labels, classes: int) -> npt.NDArray[np.int64]:
    """How many of class ``i`` were taken for class ``j``, ``(classes, classes)``.

    Args:
        predicted: number of the class that each was taken for, shape (n,).
        labels: number of the class that each is of, shape (n,).
        classes: how many there are.
    """
    if not len(labels):
        return np.zeros((classes, classes), np.int64)
    return confusion_matrix(labels, predicted, labels=range(classes))


def calibration(confidences: Values, correct: Values, bins: int = 10) -> list[ConfidenceBin]:
    """Reliability of probabilities: right answers by the chosen option's probability, in equal stretches.

    Args:
        confidences: probability of the chosen option, shape (n,), each in [0, 1].
        correct: right (1) or wrong (0), shape (n,).
        bins: stretches that [0, 1] is cut into; those without questions are left out.

    Raises:
        SefarMLLMError: for lengths that differ or values outside [0, 1].
    """
    sure, right = _as_values(confidences), _as_values(correct)
    if sure.shape != right.shape:
        raise SefarMLLMError(f"{len(sure)} confidences but {len(right)} answers: there must be one each")
    if sure.min() < 0 or sure.max() > 1 or not np.isin(right, (0, 1)).all():
        raise SefarMLLMError("calibration needs confidences from 0 to 1 and answers that are 0 or 1")
    place = np.minimum((sure * bins).astype(int), bins - 1)
    found = []
    for number in np.unique(place):
        inside = place == number
        hits, n = int(right[inside].sum()), int(inside.sum())
        found.append(ConfidenceBin(float(sure[inside].mean()), hits / n, *wilson_interval(hits, n), n))
    return found


def calibration_error(bins: Sequence[ConfidenceBin]) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean gap of confidence and accuracy."""
    return sum(b.n * abs(b.accuracy - b.confidence) for b in bins) / sum(b.n for b in bins)


def over_seeds(values: Values) -> Spread:
    """Mean and standard deviation (n - 1) of one score over training seeds, shape (seeds,)."""
    scores = _as_values(values)
    return Spread(float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else None, len(scores))


def _as_values(values: Values) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise SefarMLLMError(f"expected a list of at least one finite number, got shape {array.shape}")
    return array


def _resampled_means(
    values: Values, clusters: Labels, seed: int, samples: int
) -> tuple[npt.NDArray[np.float64], int]:
    """Means (samples,) of the values over redrawn clusters, and the number of clusters."""
    array = _as_values(values)
    if len(array) != len(clusters):
        raise SefarMLLMError(f"{len(array)} values but {len(clusters)} clusters: there must be one a value")
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    count = len(names)
    if count < 2:
        raise SefarMLLMError(
            "a clustered interval needs at least two source videos, and these questions come from one; "
            "use wilson_interval, which takes them as independent"
        )
    sums = np.bincount(place, weights=array, minlength=count)
    sizes = np.bincount(place, minlength=count)
    result = stats.bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis) / size.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=samples,
        batch=max(1, 2_000_000 // count),  # bounds memory, not the result
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return result.bootstrap_distribution, count


def _expanded_interval(means: npt.NDArray[np.float64], count: int, confidence: float) -> tuple[float, float]:
    widened = np.sqrt(count / (count - 1)) * stats.t.ppf((1 - confidence) / 2, df=count - 1)
    tail = float(stats.norm.cdf(widened))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
