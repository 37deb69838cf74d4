"""Mean Teacher (Tarvainen & Valpola, 2017): the student agrees with its average on another view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.base import SemiSupervised, SemiSupervisedOptions, Term
from encoder.recipes.losses import weighted_squared_error
from encoder.recipes.teacher import Teacher


@dataclass(frozen=True)
class MeanTeacherOptions(SemiSupervisedOptions):
    """Mean Teacher's options.

    Attributes:
        ema_decay: Highest decay of the teacher's average; it follows the number of updates up to this.
    """

    ema_decay: float = 0.9999


class MeanTeacher(SemiSupervised):
    """``L = L_sup + ξ·w_un·mean (softmax(student(strong)) − softmax(teacher(weak)))²``."""

    Options = MeanTeacherOptions
    options: MeanTeacherOptions
    unlabelled_losses = ("consistency",)
    has_teacher = True

    def __init__(self, student: SefarEncoder, views: Views, options: MeanTeacherOptions, epochs: int) -> None:
        super().__init__(student, views, options, epochs)
        self.teacher: Teacher = Teacher(student, options.ema_decay)

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        pseudo = self.teacher.label(self.views.weak(clips.frames, clips.sizes), predictions=None)
        student = model(self.strong(clips), self.views.config.feature_dropout).float().softmax(-1)
        everywhere = torch.ones_like(pseudo.confidence)
        error = weighted_squared_error(student, pseudo.probabilities, everywhere)
        figures = {"confidence": pseudo.confidence.mean()}
        yield Term(self.ramp(epoch) * self.options.unlabelled_weight * error, figures)
