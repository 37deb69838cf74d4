"""Cross-entropy on the labelled clips alone: what every semi-supervised method has to beat."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from encoder.data import Batch
from encoder.recipes.base import Recipe


class Supervised(Recipe):
    """``L = L_sup``."""

    uses_unlabelled = False

    def losses(
        self, model: nn.Module, labelled: Batch, unlabelled: Batch | None, epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        logits = model(self.views.flipped(labelled.frames, labelled.sizes)).float()
        return {"sup": F.cross_entropy(logits, labelled.labels)}, {}


RECIPE = Supervised
