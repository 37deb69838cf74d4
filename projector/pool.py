"""A projector that shortens: the mean over stretches of tokens, then the MLP."""

from __future__ import annotations

from torch import Tensor

from projector.base import Projector, ProjectorSpec
from projector.errors import ProjectorError
from projector.mlp import MLPOptions, mlp


class PoolProjector(Projector):
    """Mean over ``num_tokens`` equal stretches of tokens (time, where tokens are frames), then a two-layer
    MLP.

    ``(B, n, dim) → (B, m, hidden)`` with the parameters of `MLPProjector`.

    Raises:
        ProjectorError: when ``num_tokens`` does not divide ``tokens``: stretches would overlap.
    """

    Options = MLPOptions

    def __init__(self, spec: ProjectorSpec, options: MLPOptions) -> None:
        super().__init__(spec, options)
        if spec.tokens % spec.num_tokens:
            raise ProjectorError(
                f"projector {spec.kind!r}: {spec.tokens} feature tokens cannot be cut into "
                f"{spec.num_tokens} equal stretches; choose a divisor"
            )
        self.num_tokens = spec.num_tokens
        self.layers = mlp(spec.dim, spec.hidden, options.depth)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, num_tokens, hidden)``."""
        stretches = features.unflatten(1, (self.num_tokens, -1))
        return self.layers(stretches.mean(2))
