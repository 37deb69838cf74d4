"""A trained SeFAR encoder as a visual encoder, and the choice of what it hands over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from encoder.errors import EncoderError
from encoder.loading.augment import normalised_crop, view_boxes
from encoder.model.sefar import SefarEncoder
from encoder.visual.base import GRID, EncoderSpec, fingerprint, pool_grid

TOKENS = ("frames", "elements", "clip", "all")


def load_sefar(folder: str | Path) -> SefarEncoder:
    """Loads a folder that training has written, or ``save_pretrained``. Raises EncoderError."""
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        inside = [name for name in ("teacher", "student") if (folder / name / "config.json").is_file()]
        hint = f"name {folder / inside[0]}" if inside else "expected config.json and model.safetensors in it"
        raise EncoderError(f"{folder}: not a SeFAR encoder; {hint}")
    try:
        return SefarEncoder.from_pretrained(str(folder), strict=True)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{folder}: config.json and model.safetensors do not make a SeFAR encoder ({error})"
        ) from None


@dataclass(frozen=True)
class CentreCrop:
    """What :meth:`encoder.model.sefar.SefarEncoder.transform` does with whole frames and one crop.

    Attributes:
        size: Side of the network's input in pixels.
        part: Side of the crop as a part of the frame's short side.
        mean: Mean of the pixels per channel, of values in 0…1.
        std: Deviation of the pixels per channel.
    """

    size: int
    part: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``(B, N, H, W, C)`` uint8 → ``(B, N, C, S, S)``: the centre, resized and normalised."""
        sizes = torch.tensor(frames.shape[2:4]).expand(len(frames), 2)
        (boxes,) = view_boxes(sizes, 1, self.part)
        return normalised_crop(frames, boxes, self.size, self.mean, self.std)


class SefarTokens:
    """See :func:`encoder.visual.factory.open_encoder`."""

    def __init__(self, spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> None:
        spec.allow("tokens", "grid")
        self.spec = spec.text
        self.tokens = spec.choice("tokens", "frames", TOKENS)
        self.grid = spec.number("grid", GRID)
        self.network = load_sefar(spec.name).eval().requires_grad_(False)
        self.dtype = dtype
        network, shape = self.network, self.network.shape
        if self.grid > shape.grid:
            raise EncoderError(f"encoder {spec.text!r}: a frame has {shape.grid} × {shape.grid} patches only")
        self.sampling = network.elements
        patches, clip = self.grid**2 * shape.dim, network.head.classifier.in_features
        self.dim = {
            "frames": patches,
            "elements": shape.dim,
            "clip": clip,
            "all": patches + shape.dim + clip,
        }[self.tokens]
        self.num_tokens = {"elements": len(self.sampling.sizes), "clip": 1}.get(
            self.tokens, self.sampling.n_frames
        )
        facts = {
            "kind": "sefar",
            "tokens": self.tokens,
            "grid": self.grid,
            "elements": str(self.sampling),
            "crop": network.crop,
            "mean": network.mean,
            "std": network.std,
            "shape": str(shape),
        }
        self.fingerprint = fingerprint(network, facts)
        self.transform = CentreCrop(shape.image_size, network.crop, network.mean, network.std)
        network.to(device, dtype)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Input ``(B, N, C, S, S)`` → tokens ``(B, num_tokens, dim)``."""
        network = self.network
        tokens = network.backbone(x.to(self.dtype))
        elements = network.backbone.element_tokens(tokens)
        if self.tokens == "elements":
            return elements.float()
        clip = network.head.feature(elements)[:, None]
        if self.tokens == "clip":
            return clip.float()
        b, n, _, d = tokens.shape
        side = network.shape.grid
        frames = pool_grid(tokens[:, :, 1:].reshape(b * n, side, side, d), self.grid).view(b, n, -1)
        if self.tokens == "all":
            frames = torch.cat([frames, tokens[:, :, 0], clip.expand(b, n, -1)], dim=-1)
        return frames.float()
