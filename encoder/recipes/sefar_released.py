"""SeFAR as its released code computes it, to see what each difference from the paper costs (method §7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder.device import to_device
from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.losses import weighted_squared_error
from encoder.recipes.mix import TubeMix
from encoder.recipes.sefar import Sefar, SefarOptions
from encoder.recipes.teacher import PseudoLabels, Teacher


@dataclass(frozen=True)
class ElementViews(Views):
    """Views in which every temporal element has a crop and a flip of its own.

    Attributes:
        slots: The slots of each element.
    """

    slots: Sequence[Sequence[int]]

    def _make(self, frames: Tensor, sizes: Tensor, flip: bool) -> Tensor:
        made: dict[int, Tensor] = {}
        for slots in self.slots:
            view = super()._make(torch.stack([frames[:, slot] for slot in slots], 1), sizes, flip)
            made.update(zip(slots, view.unbind(1), strict=True))
        return torch.stack([made[slot] for slot in sorted(made)], 1)


class SefarReleased(Sefar):
    """:class:`Sefar` with these differences, which the released code has from the paper:

    1. The strong view reverses the *colour channels* of the fine-grained elements, never time.
    2. The mix draws a mask and a partner for each element, at one ratio ``λ``, while targets know only the
       last (context) element's partner.
    3. The mix loss compares logits with probabilities.
    4. Feature dropout drops whole colour channels of an element's pixels, not parts of tokens; of a mix, the
       clip's own only, never the partner's.
    5. The teacher's decay is constant, and the teacher takes a step after every part of an update, also where
       the optimizer takes none (``accumulate``). Each process counts the parts of its own.
    6. Every element has its own scale, crop and flip, in all views.
    7. The weak and the strong view draw frames of their own, in the same bins: unlabelled clips are decoded
       twice.

    What else is different there is left as it is in :class:`Sefar`: ``K`` predictions from one pass of the
    backbone (the same distribution), a teacher that is saved, evaluated and resumed, fixed evaluation.
    """

    draws = 2

    def __init__(self, student: SefarEncoder, views: Views, options: SefarOptions, epochs: int) -> None:
        super().__init__(student, views, options, epochs)
        self.teacher = Teacher(student, options.ema_decay, constant=True)
        self.views = ElementViews(**vars(views), slots=student.elements.slots)

    def after_part(self, epoch: int) -> None:
        """A step of the teacher towards a student that has not changed."""
        self.after_update(epoch)

    def weak(self, clips: Batch) -> Tensor:
        """The weak view, of the first draw of frames."""
        return super().weak(replace(clips, frames=clips.frames[:, : self.student.elements.n_frames]))

    def strong(self, clips: Batch) -> Tensor:
        """The strong view, of the last draw: cropped, and BGR instead of RGB in the fine-grained elements."""
        elements = self.student.elements
        view = self.views.flipped(clips.frames[:, -elements.n_frames :], clips.sizes)
        fine = (elements.owners() < len(elements.fine)).view(-1, 1, 1, 1)
        return torch.where(to_device(fine, view.device), view.flip(2), view)

    def predict(self, model: nn.Module, view: Tensor) -> Tensor:
        """The student's logits of a strong view without some of its colour channels."""
        return model(self.drop_channels(view))

    def drop_channels(self, view: Tensor) -> Tensor:
        """Feature dropout of ``(B, N, C, S, S)``: colour channels of the frames of an element, together."""
        b, _, c = view.shape[:3]
        elements = self.student.elements
        kept = F.dropout(view.new_ones(b, len(elements.slots), c), self.views.config.feature_dropout)
        return view * kept[:, to_device(elements.owners(), view.device), :, None, None]

    def mix_loss(self, model: nn.Module, strong: Tensor, pseudo: PseudoLabels, weight: Tensor) -> Tensor:
        """``L_mix`` with a mask and a partner for each element, on logits."""
        shape, device = self.student.shape, strong.device
        *fine, context = self.student.elements.slots
        mix = TubeMix.draw(len(strong), shape.n_patches).to(device)
        own = self.drop_channels(strong)
        mixed = torch.empty_like(strong)
        for slots in context, *fine:
            its = (
                mix
                if slots is context
                else TubeMix.of_ratio(mix.ratio, len(strong), shape.n_patches).to(device)
            )
            for slot in slots:
                mixed[:, slot] = its.frames(own[:, slot], strong[its.partner, slot], shape.patch_size)
        return weighted_squared_error(model(mixed), mix.targets(pseudo.probabilities), mix.targets(weight))
