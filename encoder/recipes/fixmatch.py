"""FixMatch (Sohn et al., 2020): the student's own confident pseudo-labels on weak views teach it the strong
ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from encoder.loading.data import Batch
from encoder.recipes.base import Recipe, Term
from encoder.recipes.losses import weighted_cross_entropy
from encoder.recipes.teacher import PseudoLabels, pseudo_labels


class FixMatch(Recipe):
    """``L = L_sup + ξ·w_un·mean(1[max p ≥ τ] · CE(student(strong), ŷ))``."""

    unlabelled_losses = ("un",)

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        pseudo = self._own_labels(self.views.weak(clips.frames, clips.sizes))
        counts = (pseudo.confidence >= self.config.threshold).float()
        student = model(self.strong(clips), self.views.config.feature_dropout)
        loss = weighted_cross_entropy(student, pseudo.label, counts)
        figures = {"counted": counts.mean(), "confidence": pseudo.confidence.mean()}
        yield Term(self.ramp(epoch) * self.config.unlabelled_weight * loss, figures)

    @torch.no_grad()
    def _own_labels(self, weak: Tensor) -> PseudoLabels:
        self.student.eval()
        logits = self.student(weak)
        self.student.train()
        return pseudo_labels(logits[None])


RECIPE = FixMatch
