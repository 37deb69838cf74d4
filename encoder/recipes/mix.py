"""Tube-token mix (method §6): two clips share one clip's patches, split by one mask for all frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from encoder.device import to_device


@dataclass(frozen=True)
class TubeMix:
    """One draw of the mix.

    Attributes:
        ratio: ``λ``, the share of the first clip.
        mask: ``(P,)`` boolean: patches of the first clip, the same in every frame.
        partner: ``π``, the second clip of each clip, ``(B,)``; one for all frames of the clip.
    """

    ratio: float
    mask: Tensor
    partner: Tensor

    @classmethod
    def draw(cls, batch: int, n_patches: int, alpha: float = 10.0) -> TubeMix:
        """``λ ~ Beta(α, α)``; ``⌊P·λ⌋`` of the ``P`` patches at random; a random permutation of the batch.

        Draws on the CPU, so that a seed gives the same mix on every device.
        """
        return cls.of_ratio(float(Beta(alpha, alpha).sample()), batch, n_patches)

    @classmethod
    def of_ratio(cls, ratio: float, batch: int, n_patches: int) -> TubeMix:
        """:meth:`draw` with ``λ`` given."""
        mask = torch.zeros(n_patches, dtype=torch.bool)
        mask[torch.randperm(n_patches)[: int(n_patches * ratio)]] = True
        return cls(ratio, mask, torch.randperm(batch))

    def to(self, device: torch.device) -> TubeMix:
        """The same draw with its tensors on ``device``."""
        return TubeMix(self.ratio, to_device(self.mask, device), to_device(self.partner, device))

    def frames(self, clips: Tensor, partners: Tensor, patch_size: int) -> Tensor:
        """Patches of ``clips`` where the mask is set, of ``partners`` elsewhere; both ``(…, C, H, W)``.

        Patches are embedded one by one, by the same weights and positions, so exchanging their pixels is
        exchanging their tokens.
        """
        grid = clips.shape[-2] // patch_size, clips.shape[-1] // patch_size
        mask = self.mask.view(grid)
        pixels = mask.repeat_interleave(patch_size, 0).repeat_interleave(patch_size, 1)
        return torch.where(pixels, clips, partners)

    def targets(self, values: Tensor) -> Tensor:
        """``λ·v + (1 − λ)·v[π]`` for values ``(B, …)``: probabilities, or confidences."""
        return self.ratio * values + (1 - self.ratio) * values[self.partner]
