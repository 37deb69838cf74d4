"""SeFAR as its paper describes it (arXiv 2501.01245): moderate temporal perturbation, adaptive regulation and
tube-token mix."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from encoder.augment import Views
from encoder.data import Batch
from encoder.losses import adaptive_regulation, weighted_cross_entropy, weighted_squared_error
from encoder.mix import TubeMix
from encoder.model import SefarEncoder
from encoder.recipes.base import Recipe, RecipeConfig
from encoder.teacher import PseudoLabels, Teacher


class Sefar(Recipe):
    """``L = L_sup + ξ·(2·L_un + 2·L_mix)`` (method §6)."""

    def __init__(self, student: SefarEncoder, views: Views, config: RecipeConfig, epochs: int) -> None:
        super().__init__(student, views, config, epochs)
        self.teacher: Teacher = Teacher(student, config.ema_decay)

    def losses(
        self, model: nn.Module, labelled: Batch, unlabelled: Batch | None, epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        logits = model(self.views.flipped(labelled.frames, labelled.sizes)).float()
        losses = {"sup": F.cross_entropy(logits, labelled.labels)}
        if unlabelled is None:
            return losses, {}
        pseudo = self.pseudo_labels(self.views.weak(unlabelled.frames, unlabelled.sizes))
        weight = self.weight(pseudo)
        strong = self.strong(unlabelled)
        ramp, dropout = self.ramp(epoch), self.views.config.feature_dropout
        student = model(strong, dropout)
        losses["un"] = (
            ramp * self.config.unlabelled_weight * weighted_cross_entropy(student, pseudo.label, weight)
        )
        losses["mix"] = ramp * self.config.mix_weight * self.mix_loss(model, strong, pseudo, weight)
        return losses, {"eta": weight.mean(), "confidence": pseudo.confidence.mean()}

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """The teacher's labels of weak views ``(B, N, C, S, S)``."""
        return self.teacher.label(weak, self.config.predictions)

    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """How much each pseudo-label counts, ``(B,)``: adaptive regulation."""
        return adaptive_regulation(pseudo.confidence, pseudo.deviation)

    def mix_loss(self, model: nn.Module, strong: Tensor, pseudo: PseudoLabels, weight: Tensor) -> Tensor:
        """``L_mix``: the student's probabilities for mixed clips against the teacher's, mixed alike."""
        shape = self.student.shape
        mix = TubeMix.draw(len(strong), shape.n_patches)
        partners = strong[mix.partner.to(strong.device)]
        mixed = model(mix.frames(strong, partners, shape.patch_size), self.views.config.feature_dropout)
        return weighted_squared_error(
            mixed.float().softmax(-1), mix.targets(pseudo.probabilities), mix.targets(weight)
        )


RECIPE = Sefar
