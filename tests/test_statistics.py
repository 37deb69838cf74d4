"""Intervals and tests against closed forms, exact sums and simulated coverage."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.statistics import (
    accuracy_by,
    calibration,
    calibration_error,
    clustered_bootstrap,
    mcnemar,
    over_seeds,
    paired_difference,
    wilson_interval,
)


def wilson_closed_form(k: int, n: int, z: float) -> tuple[float, float]:
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return centre - half, centre + half


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_is_the_closed_form(pair: tuple[int, int]) -> None:
    k, n = pair
    assert wilson_interval(k, n) == pytest.approx(wilson_closed_form(k, n, 1.959963984540054), abs=1e-12)
    assert wilson_interval(k, n, 0.9)[0] >= wilson_interval(k, n)[0]


def test_wilson_at_known_values() -> None:
    # Newcombe (1998), table I, method 3: 81/263 and 0/20
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(SefarMLLMError, match=f"correct={k}, n={n}"):
        wilson_interval(k, n)


def test_bootstrap_of_single_questions_is_the_t_interval() -> None:
    """One normal value a cluster: Student's interval is exact, the plain percentile one 15 % short."""
    values = 3 + 2 * stats.norm.ppf((np.arange(12) + 0.5) / 12)
    low, high = clustered_bootstrap(values, list(range(12)), seed=0, samples=40_000)
    t_low, t_high = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert (low, high) == pytest.approx((t_low, t_high), abs=0.04 * (t_high - t_low))


def test_bootstrap_of_equal_clusters_is_that_of_their_means() -> None:
    means = np.array([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    repeated, names = np.repeat(means, 4), np.repeat(list("abcdef"), 4)
    assert clustered_bootstrap(repeated, names, seed=3) == clustered_bootstrap(
        means, [0, 1, 2, 3, 4, 5], seed=3
    )


def test_bootstrap_covers_where_an_interval_blind_to_clusters_does_not() -> None:
    """Questions of one video share a difficulty: 95 % must hold over new videos, not over new questions."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 15)
    clustered = blind = 0
    trials = 200
    for trial in range(trials):
        right = rng.random(300) < np.repeat(rng.beta(2, 2, 20), 15)
        low, high = clustered_bootstrap(right, clusters, seed=trial, samples=500)
        clustered += low <= 0.5 <= high
        low, high = wilson_interval(int(right.sum()), 300)
        blind += low <= 0.5 <= high
    assert 0.91 <= clustered / trials <= 0.99
    assert blind / trials < 0.8


def test_paired_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(25), 8)
    ps = []
    for trial in range(200):
        difficulty = np.repeat(rng.beta(2, 2, 25), 8)
        a, b = rng.random(200) < difficulty, rng.random(200) < difficulty
        ps.append(paired_difference(a, b, clusters, trial, samples=500).p)
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.10
    assert 0.4 <= np.mean(np.array(ps) < 0.5) <= 0.6


@given(st.integers(0, 10_000), st.floats(-0.4, 0.4))
@settings(max_examples=60, deadline=None)
def test_p_and_interval_say_the_same(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(120) < 0.5 + shift, rng.random(120) < 0.5
    clusters = rng.integers(0, 30, 120)
    result = paired_difference(a, b, clusters, seed, samples=999)
    if not 0.04 < result.p < 0.06:  # the two count ties and interpolate in slightly different ways
        assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    assert result.difference == pytest.approx(a.mean() - b.mean())
    back = paired_difference(b, a, clusters, seed, samples=999)
    assert (back.difference, back.p) == pytest.approx((-result.difference, result.p))
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low))


def test_paired_difference_of_equal_answers_is_no_difference() -> None:
    answers = [1, 0, 1, 1, 0, 0]
    result = paired_difference(answers, answers, list("aabbcc"), 0)
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert (result.n, result.clusters) == (6, 3)


def test_bootstrap_depends_on_the_seed_alone() -> None:
    values, clusters = np.random.default_rng(2).random(90), np.repeat(np.arange(30), 3)
    assert clustered_bootstrap(values, clusters, seed=7) == clustered_bootstrap(values, clusters, seed=7)
    assert clustered_bootstrap(values, clusters, seed=7) != clustered_bootstrap(values, clusters, seed=8)


def test_one_source_video_has_no_clustered_interval() -> None:
    with pytest.raises(SefarMLLMError, match="at least two source videos"):
        clustered_bootstrap([0, 1, 1], ["v", "v", "v"], seed=0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(deadline=None)
def test_mcnemar_is_the_exact_binomial_sum(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    only_a = sum(x and not y for x, y in pairs)
    only_b = sum(y and not x for x, y in pairs)
    n, k = only_a + only_b, min(only_a, only_b)
    expected = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert mcnemar(a, b) == pytest.approx(expected)


def test_mcnemar_refuses_averages_over_seeds() -> None:
    with pytest.raises(SefarMLLMError, match="0 or 1"):
        mcnemar([0.5, 1.0], [0.0, 1.0])


def test_accuracy_by_counts_every_question_once() -> None:
    rng = np.random.default_rng(4)
    right, events = rng.random(500) < 0.6, rng.choice(["BB", "FX", "UB", "VT"], 500)
    groups = accuracy_by(right, events)
    assert [group.key for group in groups] == ["BB", "FX", "UB", "VT"]
    assert sum(group.n for group in groups) == 500
    for group in groups:
        mine = [bool(r) for r, e in zip(right, events, strict=True) if e == group.key]
        assert (group.correct, group.n) == (sum(mine), len(mine))
        assert group.accuracy == sum(mine) / len(mine)
        assert (group.low, group.high) == wilson_interval(group.correct, group.n)
    assert [group.key for group in accuracy_by([1, 0, 1], [21, 3, 21])] == [3, 21]


def test_accuracy_by_refuses_questions_without_a_key() -> None:
    with pytest.raises(SefarMLLMError, match="all strings or all integers"):
        accuracy_by([1, 0], ["turn", None])  # type: ignore[list-item]
    with pytest.raises(SefarMLLMError, match="2 answers but 1 keys"):
        accuracy_by([1, 0], ["turn"])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
@settings(deadline=None)
def test_calibration_is_scikit_learns(pairs: list[tuple[float, bool]]) -> None:
    sure, right = np.array([s for s, _ in pairs]), np.array([r for _, r in pairs])
    # Probabilities at the very edge of a stretch may fall on either side in floating point.
    sure = np.where(np.isclose(sure * 10 % 1, 0) | np.isclose(sure * 10 % 1, 1), sure / 2 + 0.013, sure)
    bins = calibration(sure, right)
    accuracies, confidences = calibration_curve(right, sure, n_bins=10)
    assert [b.accuracy for b in bins] == pytest.approx(accuracies.tolist())
    assert [b.confidence for b in bins] == pytest.approx(confidences.tolist())
    assert sum(b.n for b in bins) == len(pairs)
    weights = np.array([b.n for b in bins]) / len(pairs)
    assert calibration_error(bins) == pytest.approx(float((weights * np.abs(accuracies - confidences)).sum()))


def test_calibration_at_known_values() -> None:
    bins = calibration([0.95, 0.95, 0.95, 0.95, 0.3, 1.0], [1, 1, 1, 0, 0, 1])
    assert [(b.n, b.accuracy) for b in bins] == [(1, 0.0), (5, 0.8)]
    assert calibration_error(bins) == pytest.approx((1 * 0.3 + 5 * (0.96 - 0.8)) / 6)
    with pytest.raises(SefarMLLMError, match="from 0 to 1"):
        calibration([1.5], [1])
    with pytest.raises(SefarMLLMError, match="1 confidences but 2"):
        calibration([0.5], [1, 0])


def test_spread_over_seeds() -> None:
    spread = over_seeds([0.60, 0.64, 0.62])
    assert (spread.mean, spread.std, spread.n) == (pytest.approx(0.62), pytest.approx(0.02), 3)
    assert over_seeds([0.6]).std is None
    with pytest.raises(SefarMLLMError, match="finite"):
        over_seeds([0.6, math.nan])


def test_statistics_do_not_load_torch() -> None:
    code = "import sys, sefar_mllm.statistics, sefar_mllm.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
