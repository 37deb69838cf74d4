"""Fusion head: element tokens → clip feature → classes."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusionHead(nn.Module):
    """Fuses the elements by pairs and singly (method §3).

    Every pair ``i < j`` goes through ``LN(GELU(Linear(2D → width)))``, every single element through
    ``LN(GELU(Linear(D → width)))``; their concatenation through a third such layer becomes the *clip
    feature*. Layers are shared over pairs and over singles. One element alone has no pair layer.

    Args:
        dim: Width ``D`` of an element token.
        n_elements: Number of elements ``E``.
        num_classes: ``C``.
        width: Width of the clip feature.
        dropout: Dropout between the clip feature and the classes.
    """

    pairs: Tensor

    def __init__(self, dim: int, n_elements: int, num_classes: int, width: int = 256, dropout: float = 0.5):
        super().__init__()
        pairs = list(combinations(range(n_elements), 2))
        self.register_buffer("pairs", torch.tensor(pairs, dtype=torch.long).flatten(), persistent=False)
        self.pair = self._layer(2 * dim, width) if pairs else None
        self.single = self._layer(dim, width)
        self.fuse = self._layer((len(pairs) + n_elements) * width, width)
        self.dropout = dropout
        self.classifier = nn.Linear(width, num_classes)

    @staticmethod
    def _layer(n_in: int, n_out: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n_in, n_out), nn.GELU(), nn.LayerNorm(n_out))

    def feature(self, elements: Tensor) -> Tensor:
        """Element tokens ``(B, E, D)`` → clip feature ``(B, width)``."""
        parts = [self.single(elements)]
        if self.pair is not None:
            pairs = elements.index_select(1, self.pairs).unflatten(1, (-1, 2)).flatten(2)
            parts.insert(0, self.pair(pairs))
        return self.fuse(torch.cat(parts, dim=1).flatten(1))

    def forward(self, elements: Tensor) -> Tensor:
        """Element tokens ``(B, E, D)`` → logits ``(B, C)``."""
        feature = F.dropout(self.feature(elements), self.dropout, training=self.training)
        return self.classifier(feature)

    def dropout_masks(self, k: int, feature: Tensor) -> Tensor:
        """``k`` dropout masks for a feature ``(B, width)``: ``(k, B, width)``, 0 or ``1 / (1 − dropout)``."""
        return F.dropout(feature.new_ones(k, *feature.shape), self.dropout, training=True)

    def predictions(self, feature: Tensor, masks: Tensor) -> Tensor:
        """Logits ``(K, B, C)`` of one feature ``(B, width)`` under ``K`` dropout masks ``(K, B, width)``.

        Dropout before the classifier is the only randomness left in eval mode, so these are samples of
        the same distribution as ``K`` full forward passes, at the price of one.
        """
        return self.classifier(feature * masks)
