"""A projector that shortens: the mean over stretches of tokens, then the MLP."""

from __future__ import annotations

from torch import Tensor, nn

from projector.errors import ProjectorError


class PoolProjector(nn.Module):
    """Mean over ``num_tokens`` equal stretches of tokens (time, where tokens are frames), then a two-layer
    MLP.

    ``(B, n, dim) → (B, m, hidden)`` with the parameters of `MLPProjector`.

    Raises:
        ProjectorError: when ``num_tokens`` does not divide ``tokens``: stretches would overlap.
    """

    def __init__(self, dim: int, hidden: int, tokens: int, num_tokens: int) -> None:
        super().__init__()
        if tokens % num_tokens:
            raise ProjectorError(
                f"projector 'pool': {tokens} feature tokens cannot be cut into {num_tokens} equal "
                "stretches; choose a divisor"
            )
        self.num_tokens = num_tokens
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, num_tokens, hidden)``."""
        stretches = features.unflatten(1, (self.num_tokens, -1))
        return self.layers(stretches.mean(2))
