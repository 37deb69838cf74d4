"""Mean Teacher (Tarvainen & Valpola, 2017): the student agrees with its average on another view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder.augment import Views
from encoder.data import Batch
from encoder.losses import weighted_squared_error
from encoder.model import SefarEncoder
from encoder.recipes.base import Recipe, RecipeConfig
from encoder.teacher import Teacher


class MeanTeacher(Recipe):
    """``L = L_sup + ξ·w_un·mean (softmax(student(strong)) − softmax(teacher(weak)))²``."""

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
        pseudo = self.teacher.label(self.views.weak(unlabelled.frames, unlabelled.sizes), predictions=None)
        student = model(self.strong(unlabelled), self.views.config.feature_dropout).float().softmax(-1)
        everywhere = torch.ones_like(pseudo.confidence)
        error = weighted_squared_error(student, pseudo.probabilities, everywhere)
        losses["consistency"] = self.ramp(epoch) * self.config.unlabelled_weight * error
        return losses, {"confidence": pseudo.confidence.mean()}


RECIPE = MeanTeacher
