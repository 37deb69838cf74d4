"""Projectors that treat every token alike: a linear map, and LLaVA-1.5's two-layer MLP."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from projector.base import Projector, ProjectorOptions, ProjectorSpec


@dataclass(frozen=True)
class MLPOptions(ProjectorOptions):
    """Options of an MLP.

    Attributes:
        depth: linear layers, with a GELU between them.
    """

    depth: int = 2


def mlp(dim: int, hidden: int, depth: int) -> nn.Sequential:
    """``dim → hidden`` in ``depth`` linear layers."""
    layers: list[nn.Module] = [nn.Linear(dim, hidden)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(hidden, hidden)]
    return nn.Sequential(*layers)


class LinearProjector(Projector):
    """One linear map per token: ``(B, n, dim) → (B, n, hidden)``. ``(dim + 1) hidden`` parameters."""

    token_by_token = True

    def __init__(self, spec: ProjectorSpec, options: ProjectorOptions) -> None:
        super().__init__(spec, options)
        self.linear = nn.Linear(spec.dim, spec.hidden)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, n, hidden)``."""
        return self.linear(features)


class MLPProjector(Projector):
    """Two layers with a GELU per token: ``(B, n, dim) → (B, n, hidden)`` (Liu et al. 2024, LLaVA-1.5).

    ``(dim + 1) hidden + (hidden + 1) hidden`` parameters.
    """

    Options = MLPOptions
    token_by_token = True

    def __init__(self, spec: ProjectorSpec, options: MLPOptions) -> None:
        super().__init__(spec, options)
        self.layers = mlp(spec.dim, spec.hidden, options.depth)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, n, hidden)``."""
        return self.layers(features)
