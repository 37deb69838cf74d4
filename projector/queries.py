"""Projectors in which learned queries read the features: the perceiver resampler and the Q-Former."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from projector.base import Projector, ProjectorOptions, ProjectorSpec


@dataclass(frozen=True)
class QueryOptions(ProjectorOptions):
    """Options of projectors with queries.

    Attributes:
        depth: layers.
        head_width: width of an attention head; where it does not divide the language model's, the next larger
            that does.
    """

    depth: int = 2
    head_width: int = 64


class Attention(nn.Module):
    """Multi-head attention of ``queries`` ``(B, m, width)`` to ``context`` ``(B, n, width)``."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = max(1, width // head_width)
        while width % self.heads:
            self.heads -= 1
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Attended values, ``(B, m, width)``."""
        query = self._split(self.query(queries))
        key, value = map(self._split, self.key_value(context).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def feed_forward(width: int) -> nn.Sequential:
    """A pre-norm MLP of four times the width."""
    layers = (nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    return nn.Sequential(*layers)


class Reader(nn.Module):
    """Features with a learned position each, brought to the language model's width."""

    def __init__(self, dim: int, hidden: int, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, hidden)
        # Attention has no order of its own: without positions the tokens of a video could be shuffled unseen.
        self.places = nn.Parameter(torch.randn(1, tokens, hidden) * 0.02)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, n, hidden)``."""
        return self.linear(features) + self.places


class ResamplerLayer(nn.Module):
    """Queries read features and themselves in one attention (Alayrac et al. 2022, Flamingo, A.1.1)."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.query_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, head_width)
        self.mlp = feed_forward(width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Updated queries, ``(B, m, width)``."""
        normed = self.query_norm(queries)
        read = self.attention(normed, torch.cat([self.context_norm(context), normed], dim=1))
        queries = queries + read
        return queries + self.mlp(queries)


class QFormerLayer(nn.Module):
    """Queries look at one another, then at the features (Li et al. 2023, BLIP-2, section 3.1)."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.self_norm, self.query_norm, self.context_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention, self.cross_attention = (Attention(width, head_width) for _ in range(2))
        self.mlp = feed_forward(width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Updated queries, ``(B, m, width)``."""
        normed = self.self_norm(queries)
        queries = queries + self.self_attention(normed, normed)
        queries = queries + self.cross_attention(self.query_norm(queries), self.context_norm(context))
        return queries + self.mlp(queries)


class QueryProjector(Projector):
    """Learned queries, ``num_tokens`` of them, through a few layers.

    ``(B, n, dim) → (B, num_tokens, hidden)``.

    Attributes:
        layer: what the queries go through.
    """

    Options = QueryOptions
    layer: ClassVar[type[ResamplerLayer] | type[QFormerLayer]]

    def __init__(self, spec: ProjectorSpec, options: QueryOptions) -> None:
        super().__init__(spec, options)
        hidden = spec.hidden
        self.reader = Reader(spec.dim, hidden, spec.tokens)
        self.queries = nn.Parameter(torch.randn(1, spec.num_tokens, hidden) * 0.02)
        self.layers = nn.ModuleList(self.layer(hidden, options.head_width) for _ in range(options.depth))
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, n, dim)`` → ``(B, num_tokens, hidden)``."""
        context = self.reader(features)
        queries = self.queries.expand(len(features), -1, -1)
        for layer in self.layers:
            queries = layer(queries, context)
        return self.out(self.norm(queries))


class Resampler(QueryProjector):
    """The perceiver resampler."""

    layer = ResamplerLayer


class QFormer(QueryProjector):
    """The Q-Former."""

    layer = QFormerLayer
