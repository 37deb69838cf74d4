"""A core of a question file: few questions, chosen so that models rank on them as on the whole.

A random sample ranks models nearly right already. Better is a *balanced* one: questions are exchanged, one
for another, until every known answerer's accuracy on the sample is what it is on the whole file. Another
model's is then nearer too, as far as it gets right what the known ones do. "Always A", "always B" and so on
are answerers as well, so that the letters stay as they are in the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from gym_qa.audit.audit import pairs_of
from gym_qa.errors import GymQAError
from gym_qa.questions.questions import Question

FEWEST = 4  # answerers: two to choose by and two to rank
EXCHANGES = 5000  # tried; more change little
SPLITS = 40

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """How well cores rank answerers that they were not chosen by.

    The answerers are halved at random many times; one half chooses the core, the other is ranked on it.

    Attributes:
        spearman: correlation of the ranks on the core and on the whole file, the mean of all halvings.
        low: the 2.5th percentile of the halvings.
        high: the 97.5th.
        error: root of the mean squared difference of an accuracy on the core and on the whole, a fraction.
        ranked: answerers that are ranked each time.
    """

    spearman: float
    low: float
    high: float
    error: float
    ranked: int

    def __str__(self) -> str:
        return (
            f"Spearman {self.spearman:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.ranked} answerers "
            f"that did not choose; accuracies off by {100 * self.error:.1f} points (root mean square)"
        )


def choose_core(
    questions: Sequence[Question], right: Sequence[Sequence[float]], size: int, seed: int = 0
) -> list[int]:
    """Places of the chosen questions, in order; pairs are taken whole.

    Args:
        questions: of the whole file.
        right: for each answerer whether each question is answered right (or the share of seeds that do);
            none at all gives a random core with even letters.
        size: questions to choose; one fewer where pairs leave an odd number.
        seed: of what is tried.
    """
    if not 2 <= size < len(questions):
        raise GymQAError(f"size {size}: expected 2 to {len(questions) - 1}, fewer than there are questions")
    rng = np.random.default_rng(seed)
    units = _units(questions)
    lengths = np.array([len(unit) for unit in units])
    order = rng.permutation(len(units))
    fits = np.cumsum(lengths[order]) <= size
    inside, outside = order[fits], order[~fits]
    letters = sorted({question.answer for question in questions})
    constant = [[float(question.answer == letter) for question in questions] for letter in letters]
    answers = np.array([*right, *constant])
    sums = np.stack([answers[:, unit].sum(1) for unit in units])  # (units, answerers)
    error = sums[inside].sum(0) / lengths[inside].sum() - answers.mean(1)
    step = sums / lengths[inside].sum()
    for out, new in zip(
        rng.integers(len(inside), size=EXCHANGES), rng.integers(len(outside), size=EXCHANGES), strict=True
    ):
        if lengths[inside[out]] != lengths[outside[new]]:
            continue
        after = error + step[outside[new]] - step[inside[out]]
        if after @ after < error @ error:
            error = after
            inside[out], outside[new] = outside[new], inside[out]
    return sorted(place for unit in inside for place in units[unit])


def agreement(
    questions: Sequence[Question], right: Sequence[Sequence[float]], size: int, seed: int = 0
) -> Agreement:
    """How cores of this size rank answerers that did not help to choose them.

    Args:
        questions: see `choose_core`.
        right: see `choose_core`; at least four answerers.
        size: see `choose_core`.
        seed: of halves and cores.

    Raises:
        GymQAError: for fewer answerers.
    """
    if len(right) < FEWEST:
        raise GymQAError(f"a ranking needs the answers of at least {FEWEST} models, got {len(right)}")
    answers, rng = np.array(right, float), np.random.default_rng(seed)
    found, errors = [], []
    for split in range(SPLITS):
        order = rng.permutation(len(answers))
        choosing, ranked = order[: len(order) // 2], answers[order[len(order) // 2 :]]
        core = choose_core(questions, answers[choosing].tolist(), size, seed + split)
        whole, small = ranked.mean(1), ranked[:, core].mean(1)
        errors.append(float(((whole - small) ** 2).mean()))
        if len(set(whole)) > 1 and len(set(small)) > 1:
            found.append(float(stats.spearmanr(whole, small).statistic))
    if not found:
        raise GymQAError("all models answer equally many questions right: there is no ranking to agree with")
    low, high = np.quantile(found, [0.025, 0.975])
    error = float(np.sqrt(np.mean(errors)))
    return Agreement(float(np.mean(found)), float(low), float(high), error, len(ranked))


def _units(questions: Sequence[Question]) -> list[list[int]]:
    """Places that are taken together: pairs, and each other question by itself."""
    pairs = pairs_of(questions)
    paired = {place for places in pairs for place in places}
    return pairs + [[place] for place in range(len(questions)) if place not in paired]
