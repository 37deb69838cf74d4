"""SVFormer (Xing et al., CVPR 2023): an EMA teacher, pseudo-labels above a threshold and tube-token mix.

Its own strong view warps time: ``augment.perturbation: warping``; its own backbone has one element of eight
frames: ``model.elements: "8"``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encoder.recipes.teacher import PseudoLabels
from encoder.recipes.teacher_mix import TeacherMix, TeacherMixOptions


@dataclass(frozen=True)
class SVFormerOptions(TeacherMixOptions):
    """SVFormer's options.

    Attributes:
        threshold: Least confidence of a pseudo-label that counts.
    """

    threshold: float = 0.8


class SVFormer(TeacherMix):
    """``L = L_sup + ξ·(w_un·L_un + w_mix·L_mix)``, a pseudo-label counting where it is confident."""

    Options = SVFormerOptions
    options: SVFormerOptions

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """One prediction, without dropout."""
        return self.teacher.label(weak, predictions=None)

    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """1 where the confidence reaches the threshold, else 0; ``(B,)``."""
        return (pseudo.confidence >= self.options.threshold).float()
