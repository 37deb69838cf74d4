"""SeFAR as its released code computes it, to see what each difference from the paper costs (method §7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoder.data import Batch
from encoder.losses import weighted_squared_error
from encoder.mix import TubeMix
from encoder.recipes.sefar import Sefar
from encoder.teacher import PseudoLabels
from encoder.transfer import to_device


class SefarReleased(Sefar):
    """:class:`Sefar` with three differences:

    1. The strong view reverses the *colour channels* of the fine-grained elements, never time.
    2. The mix draws a partner for each element, while targets know only the last (context) element's.
    3. The mix loss compares logits with probabilities.
    """

    def strong(self, clips: Batch) -> Tensor:
        """The strong view: cropped, and BGR instead of RGB in the fine-grained elements."""
        view = self.views.flipped(clips.frames, clips.sizes)
        fine = torch.zeros(self.student.elements.n_frames, 1, 1, 1, dtype=torch.bool)
        fine[[slot for element in self.student.elements.fine for slot in element]] = True
        return torch.where(to_device(fine, view.device), view.flip(2), view)

    def mix_loss(self, model: nn.Module, strong: Tensor, pseudo: PseudoLabels, weight: Tensor) -> Tensor:
        """``L_mix`` with a partner for each element, on logits."""
        shape, elements = self.student.shape, self.student.elements
        mix = TubeMix.draw(len(strong), shape.n_patches)
        partner = mix.partner[:, None].repeat(1, elements.n_frames)
        for slots in elements.fine:
            partner[:, list(slots)] = torch.randperm(len(strong))[:, None]
        mix = mix.to(strong.device)
        partners = strong[
            to_device(partner, strong.device), torch.arange(elements.n_frames, device=strong.device)
        ]
        mixed = model(mix.frames(strong, partners, shape.patch_size), self.views.config.feature_dropout)
        return weighted_squared_error(mixed, mix.targets(pseudo.probabilities), mix.targets(weight))


RECIPE = SefarReleased
