"""FixMatch (Sohn et al., 2020): the student's own confident pseudo-labels on weak views teach it the strong
ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoder.loading.data import Batch
from encoder.recipes.base import SemiSupervised, SemiSupervisedOptions, Term
from encoder.recipes.losses import weighted_cross_entropy
from encoder.recipes.teacher import PseudoLabels, pseudo_labels


@dataclass(frozen=True)
class FixMatchOptions(SemiSupervisedOptions):
    """FixMatch's options.

    Attributes:
        threshold: Least confidence of a pseudo-label that counts.
    """

    threshold: float = 0.8


class FixMatch(SemiSupervised):
    """``L = L_sup + ξ·w_un·mean(1[max p ≥ τ] · CE(student(strong), ŷ))``."""

    Options = FixMatchOptions
    options: FixMatchOptions
    unlabelled_losses = ("un",)

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        pseudo = self._own_labels(self.views.weak(clips.frames, clips.sizes))
        counts = (pseudo.confidence >= self.options.threshold).float()
        student = model(self.strong(clips), self.views.config.feature_dropout)
        loss = weighted_cross_entropy(student, pseudo.label, counts)
        figures = {"counted": counts.mean(), "confidence": pseudo.confidence.mean()}
        yield Term(self.ramp(epoch) * self.options.unlabelled_weight * loss, figures)

    @torch.no_grad()
    def _own_labels(self, weak: Tensor) -> PseudoLabels:
        self.student.eval()
        logits = self.student(weak)
        self.student.train()
        return pseudo_labels(logits[None])
