"""The teacher: an exponential moving average of the student that predicts every clip several times."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoder.model.sefar import SefarEncoder


@dataclass(frozen=True)
class PseudoLabels:
    """What the teacher thinks of unlabelled clips.

    Attributes:
        probabilities: ``p̄``, the mean over the predictions, ``(B, C)``.
        confidence: ``max p̄``, ``(B,)``.
        label: ``ŷ = argmax p̄``, ``(B,)``.
        deviation: Unbiased deviation of the probability of ``ŷ`` over the predictions, ``(B,)``; 0 for one
            prediction.
    """

    probabilities: Tensor
    confidence: Tensor
    label: Tensor
    deviation: Tensor


def pseudo_labels(logits: Tensor) -> PseudoLabels:
    """Pseudo-labels from the logits ``(K, B, C)`` of ``K`` predictions (method §5)."""
    each = logits.float().softmax(-1)
    mean = each.mean(0)
    confidence, label = mean.max(1)
    of_label = each.gather(2, label.expand(len(each), -1).unsqueeze(2)).squeeze(2)
    deviation = of_label.std(0) if len(each) > 1 else torch.zeros_like(confidence)
    return PseudoLabels(mean, confidence, label, deviation)


class Teacher(nn.Module):
    """Exponential moving average of a student.

    The decay follows the number of updates, ``min(decay, (1 + t) / (10 + t))``: with a constant 0.9999, a
    thousand updates would leave the teacher where it began.

    Args:
        student: The network to follow; the teacher starts as a copy of it.
        decay: Highest decay of the average.
        constant: Whether the decay is the highest from the first update on.

    Attributes:
        updates: Steps of the average so far; a number of Python's, as reading one from a GPU would wait.
    """

    def __init__(self, student: SefarEncoder, decay: float, constant: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay, self.constant = decay, constant
        self.updates = 0
        self._mine: list[Tensor] = list(self.network.parameters())
        self._theirs: list[Tensor] = list(student.parameters())

    @torch.no_grad()
    def restart(self) -> None:
        """Becomes a copy of the student again, as at the end of the warm-up."""
        torch._foreach_copy_(self._mine, self._theirs)
        self.updates = 0

    @torch.no_grad()
    def follow(self) -> None:
        """One step of the average; call it after every update of the student."""
        rising = (1 + self.updates) / (10 + self.updates)
        decay = self.decay if self.constant else min(self.decay, rising)
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """What a state dict keeps besides the weights: ``updates``."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse of :meth:`get_extra_state`."""
        self.updates = int(state)

    @torch.no_grad()
    def label(self, frames: Tensor, predictions: int | None) -> PseudoLabels:
        """Pseudo-labels of weak views ``(B, N, C, H, W)``.

        The network is in eval mode and runs once: all that is random comes after the clip feature.

        Args:
            frames: Normalised frames in slot order.
            predictions: Draws of the head's dropout; None is one prediction without dropout.
        """
        head = self.network.head
        feature = self.network.clip_feature(frames)
        if predictions is None:
            return pseudo_labels(head.classifier(feature)[None])
        return pseudo_labels(head.predictions(feature, head.dropout_masks(predictions, feature)))
