"""Bringing features of any encoder to zero mean and unit spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROUNDING = 1e-4  # relative to the mean


class Standardize(nn.Module):
    """``(x - mean) / deviation`` with the statistics of the training clips: ``(B, n, dim) → (B, n, dim)``.

    Encoders differ in scale by orders of magnitude, and what is common to all clips is often far larger than
    what tells them apart. The mean is one of each token and number, ``(tokens, dim)``, the deviation of each
    number, ``(dim,)``, both fixed buffers that are saved with the projector.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, dim))
        self.register_buffer("deviation", torch.ones(dim))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the statistics of ``features`` ``(clips, tokens, dim)``; numbers that hardly vary become 0."""
        mean = features.float().mean(0)
        deviation = (features.float() - mean).pow(2).mean((0, 1)).sqrt()
        self.mean.copy_(mean)
        # What varies by less than a number in half precision can is rounding, and must not be blown up to
        # size 1.
        varies = deviation > ROUNDING * mean.abs().amax(0)
        self.deviation.copy_(torch.where(varies, deviation, torch.inf))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised features of the same shape."""
        return (features - self.mean) / self.deviation
