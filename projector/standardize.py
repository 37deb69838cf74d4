"""Bringing features of any encoder to zero mean and unit spread."""

from __future__ import annotations

import torch
from torch import Tensor

from projector.errors import ProjectorError

ROUNDING = 1e-4  # relative to the mean


class Standardize:
    """``(x - mean) / deviation`` with the statistics of the training clips: ``(B, n, dim) → (B, n, dim)``.

    Encoders differ in scale by orders of magnitude, and what is common to all clips is often far larger than
    what tells them apart: in bfloat16 the difference would be lost. So this comes before the projector and is
    no part of it: whatever casts, shards or moves the trained modules and their inputs finds features of unit
    size. It computes in float32 on the CPU, where features are loaded.

    The mean is one of each token and number, the deviation of each number. They are saved with the projector.

    Args:
        tokens: feature tokens of one clip.
        dim: width of the features.

    Attributes:
        mean: ``(tokens, dim)``; 0 before `fit`.
        deviation: ``(dim,)``; 1 before `fit`.
    """

    def __init__(self, tokens: int, dim: int) -> None:
        self.mean, self.deviation = torch.zeros(tokens, dim), torch.ones(dim)

    def fit(self, features: Tensor) -> None:
        """Take the statistics of ``features`` ``(clips, tokens, dim)``; numbers that hardly vary become 0.

        Raises:
            ProjectorError: for features that are not numbers.
        """
        if not bool(features.isfinite().all()):
            raise ProjectorError("the features hold values that are not finite: extract them anew")
        self.mean = features.float().mean(0)
        deviation = (features.float() - self.mean).pow(2).mean((0, 1)).sqrt()
        # What varies by less than a number in half precision can is rounding, and must not be blown up to
        # size 1.
        varies = deviation > ROUNDING * self.mean.abs().amax(0)
        self.deviation = torch.where(varies, deviation, torch.inf)

    def take(self, other: Standardize) -> None:
        """Take the statistics of another."""
        self.mean, self.deviation = other.mean, other.deviation

    def __call__(self, features: Tensor) -> Tensor:
        """Standardised features of the same shape, in float32."""
        return (features.float() - self.mean) / self.deviation
