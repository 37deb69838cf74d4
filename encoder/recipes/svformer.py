"""SVFormer (Xing et al., CVPR 2023): an EMA teacher, pseudo-labels above a threshold and tube-token mix.

Its own strong view warps time: ``augment.perturbation: warping``; its own backbone has one element of eight
frames: ``model.elements: "8"``.
"""

from __future__ import annotations

from torch import Tensor

from encoder.recipes.sefar import Sefar
from encoder.recipes.teacher import PseudoLabels


class SVFormer(Sefar):
    """``L = L_sup + ξ·(w_un·L_un + w_mix·L_mix)``, a pseudo-label counting where it is confident."""

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """One prediction, without dropout."""
        return self.teacher.label(weak, predictions=None)

    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """1 where the confidence reaches the threshold, else 0; ``(B,)``."""
        return (pseudo.confidence >= self.config.threshold).float()


RECIPE = SVFormer
