"""From options to a network and its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from math import cos, pi

import torch
from torch import nn

from encoder.errors import EncoderError
from encoder.loading.augment import AugmentConfig
from encoder.model.backbone import PRESETS, ViTShape
from encoder.model.sefar import SefarEncoder
from encoder.model.starting_weights import StartingWeights, load_starting_weights
from encoder.training.config import ModelConfig, OptimConfig
from encoder.video.clips import ClassInfo

MEAN_STD = (0.5, 0.5, 0.5)


def build_encoder(config: ModelConfig, classes: list[ClassInfo], augment: AugmentConfig) -> SefarEncoder:
    """A network for these classes, started from an image ViT where ``config.weights`` names one.

    Draws its random weights from torch's global generator.

    Raises:
        EncoderError: The weights cannot be had, or contradict the shape that was asked for.
    """
    weights = load_starting_weights(config.weights) if config.weights else None
    shape = network_shape(config, weights)
    model = SefarEncoder(
        num_classes=len(classes),
        shape=asdict(shape),
        elements=config.elements,
        mean=weights.mean if weights else MEAN_STD,
        std=weights.std if weights else MEAN_STD,
        dropout=config.dropout,
        drop_path=config.drop_path,
        # Bodies are to have the size they had in training.
        crop=(augment.crop_min + augment.crop_max) / 2,
        classes=[c.name for c in classes],
    )
    if weights:
        # Only the time embedding and temporal_fc are not in an image network; both start at zero.
        missing, _ = model.backbone.load_state_dict(weights.for_video(config.image_size), strict=False)
        assert all(name == "time_embed" or "temporal_fc" in name for name in missing), missing
    model.backbone.gradient_checkpointing = config.gradient_checkpointing
    return model


def network_shape(config: ModelConfig, weights: StartingWeights | None) -> ViTShape:
    """The shape that is asked for. Raises EncoderError where it contradicts the weights or itself."""
    base = weights.shape if weights else PRESETS[str(config.preset_or_default)]
    given = {name: getattr(config, name) for name in ("patch_size", "dim", "depth", "heads")}
    for name, value in given.items():
        if weights and value is not None and value != getattr(base, name):
            raise EncoderError(
                f"model.{name}: {value} was asked for, but the weights {config.weights!r} have "
                f"{getattr(base, name)}; leave it out"
            )
    shape = replace(base, image_size=config.image_size, **{k: v for k, v in given.items() if v is not None})
    if shape.image_size % shape.patch_size:
        raise EncoderError(
            f"model.image_size: {shape.image_size} px are no whole number of patches; expected a multiple of "
            f"{shape.patch_size}"
        )
    if shape.dim % shape.heads:
        raise EncoderError(
            f"model: width {shape.dim} over {shape.heads} heads: expected a whole number of channels each"
        )
    return shape


def build_optimizer(config: OptimConfig, model: SefarEncoder, fused: bool = False) -> torch.optim.Optimizer:
    """The optimizer; biases, norms and single tokens are not decayed. ``fused`` is one kernel, for GPUs.

    The backbone's rate is scaled but for what no image network has learned: the time embedding and temporal
    attention, whose outputs start at zero like a new head and would not leave it in a short training.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        new = not name.startswith("backbone.") or "time_embed" in name or "temporal" in name
        groups.setdefault((new, parameter.dim() > 1), []).append(parameter)
    parameters = [
        {
            "params": members,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "scale": 1.0 if new else config.backbone_scale,
        }
        for (new, decayed), members in groups.items()
    ]
    if config.name == "sgd":
        momentum = config.momentum_or_default or 0.0
        return torch.optim.SGD(
            parameters, config.learning_rate, momentum=momentum, nesterov=True, fused=fused
        )
    return torch.optim.AdamW(parameters, config.learning_rate, fused=fused)


def learning_rate(config: OptimConfig, updates: int) -> Callable[[int], float]:
    """The learning rate of update ``t`` of ``updates``."""

    def at(t: int) -> float:
        done = t / updates
        factor = {
            "step": 0.01 if done >= 28 / 30 else 0.1 if done >= 25 / 30 else 1.0,
            "cosine": 0.5 * (1 + cos(pi * done)),
            "constant": 1.0,
        }[config.schedule]
        return config.learning_rate * factor * min(1.0, (t + 1) / max(1, config.warmup_updates))

    return at
