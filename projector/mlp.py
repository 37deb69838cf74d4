"""Projectors that treat every token alike: a linear map, and LLaVA-1.5's two-layer MLP."""

from __future__ import annotations

from torch import Tensor, nn


class LinearProjector(nn.Module):
    """One linear map per token: ``(B, n, dim) → (B, n, hidden)``. ``(dim + 1) hidden`` parameters."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, n, hidden)``."""
        return self.linear(features)


class MLPProjector(nn.Module):
    """Two layers with a GELU per token: ``(B, n, dim) → (B, n, hidden)`` (Liu et al. 2024, LLaVA-1.5).

    ``(dim + 1) hidden + (hidden + 1) hidden`` parameters.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, n, hidden)``."""
        return self.layers(features)
