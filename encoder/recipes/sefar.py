"""SeFAR as its paper describes it (arXiv 2501.01245): moderate temporal perturbation, adaptive regulation and
tube-token mix."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encoder.recipes.losses import adaptive_regulation
from encoder.recipes.teacher import PseudoLabels
from encoder.recipes.teacher_mix import TeacherMix, TeacherMixOptions


@dataclass(frozen=True)
class SefarOptions(TeacherMixOptions):
    """SeFAR's options.

    Attributes:
        predictions: Predictions ``K`` of the teacher for every clip.
    """

    predictions: int = 10


class Sefar(TeacherMix):
    """``L = L_sup + ξ·(2·L_un + 2·L_mix)`` (method §6)."""

    Options = SefarOptions
    options: SefarOptions

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """``K`` predictions under dropout."""
        return self.teacher.label(weak, self.options.predictions)

    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """Adaptive regulation."""
        return adaptive_regulation(pseudo.confidence, pseudo.deviation)
