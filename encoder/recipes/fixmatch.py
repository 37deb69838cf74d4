"""FixMatch (Sohn et al., 2020): the student's own confident pseudo-labels on weak views teach it the strong
ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder.data import Batch
from encoder.losses import weighted_cross_entropy
from encoder.recipes.base import Recipe
from encoder.teacher import PseudoLabels, pseudo_labels


class FixMatch(Recipe):
    """``L = L_sup + ξ·w_un·mean(1[max p ≥ τ] · CE(student(strong), ŷ))``."""

    def losses(
        self, model: nn.Module, labelled: Batch, unlabelled: Batch | None, epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        logits = model(self.views.flipped(labelled.frames, labelled.sizes)).float()
        losses = {"sup": F.cross_entropy(logits, labelled.labels)}
        if unlabelled is None:
            return losses, {}
        pseudo = self._own_labels(self.views.weak(unlabelled.frames, unlabelled.sizes))
        counts = (pseudo.confidence >= self.config.threshold).float()
        student = model(self.strong(unlabelled), self.views.config.feature_dropout)
        loss = weighted_cross_entropy(student, pseudo.label, counts)
        losses["un"] = self.ramp(epoch) * self.config.unlabelled_weight * loss
        return losses, {"counted": counts.mean(), "confidence": pseudo.confidence.mean()}

    @torch.no_grad()
    def _own_labels(self, weak: Tensor) -> PseudoLabels:
        self.student.eval()
        logits = self.student(weak)
        self.student.train()
        return pseudo_labels(logits[None])


RECIPE = FixMatch
