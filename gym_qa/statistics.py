"""The interval of a share, which the questions' audit and the models' scores have in common."""

from __future__ import annotations

from scipy import stats


def wilson(rate: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927, equation 3); right near 0 and 1 and for small n.

    Unlike scipy's, which it agrees with, it takes a share that is no whole number of n: expected credits,
    means over seeds.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (rate * (1 - rate) / n + z**2 / (4 * n * n)) ** 0.5
    return centre - half if rate > 0 else 0.0, centre + half if rate < 1 else 1.0
