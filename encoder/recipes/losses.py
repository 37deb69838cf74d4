"""SeFAR's confidence, weights and losses (method §5 and §6)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_regulation(confidence: Tensor, deviation: Tensor) -> Tensor:
    """``η = 2·σ(e^p − e) · 2·(σ(1/(20·s + 1e-9)) − ½)``: how much a pseudo-label counts, 0…1.

    Args:
        confidence: ``p``, the highest mean probability, ``(B,)``.
        deviation: ``s``, the deviation of that probability over the teacher's predictions, ``(B,)``.
    """
    certain = 2 * torch.sigmoid(torch.exp(confidence) - math.e)
    stable = 2 * (torch.sigmoid(1 / (20 * deviation + 1e-9)) - 0.5)
    return certain * stable


def ramp_up(epoch: int, warmup: int, epochs: int) -> float:
    """``ξ = sin(½π·(e + 1 − W)/(E − W))``, the weight of the unlabelled losses in epoch ``e`` (from 0);
    0 during the ``W`` epochs of warm-up, 1 in the last epoch."""
    if epoch < warmup:
        return 0.0
    return math.sin(0.5 * math.pi * (epoch + 1 - warmup) / (epochs - warmup))


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """``mean(w · CE(logits, label))`` over the batch: logits ``(B, C)``, labels and weights ``(B,)``."""
    return (weights * F.cross_entropy(logits.float(), labels, reduction="none")).mean()


def weighted_squared_error(predictions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """``mean(w · mean_c (prediction − target)²)``: predictions and targets ``(B, C)``, weights ``(B,)``."""
    return (weights * (predictions.float() - targets).square().mean(1)).mean()
