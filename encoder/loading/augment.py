"""Crops, flips and normalisation of whole batches on their device, as plain tensor code (method §4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from encoder.device import to_device
from encoder.errors import EncoderError


@dataclass(frozen=True)
class AugmentConfig:
    """How training clips are cropped. One crop holds for all frames of a clip.

    Attributes:
        crop_min: Smallest side of the crop, as a part of the frame's short side. The paper resizes the short
            side to 256–320 px and crops 224, which is 0.7–0.875.
        crop_max: Largest side of the crop, as a part of the short side.
        horizontal_flip: Whether labelled and strong views are mirrored half of the time. Wrong for classes
            told apart by left and right.
        perturbation: Change of the frames' order in the strong view; see ``encoder.recipes.perturb``.
        feature_dropout: Dropout on the student's input tokens of the strong view.
    """

    crop_min: float = 0.7
    crop_max: float = 0.875
    horizontal_flip: bool = False
    perturbation: str = "mod-perturb"
    feature_dropout: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.crop_min <= self.crop_max <= 1:
            raise EncoderError(
                f"augment: expected 0 < crop_min <= crop_max <= 1, got {self.crop_min} and {self.crop_max}"
            )
        if not 0 <= self.feature_dropout < 1:
            raise EncoderError(f"augment: feature_dropout must be in [0, 1), got {self.feature_dropout}")


def resample(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cuts a box out of every clip and resizes it to a square, by antialiased bilinear interpolation.

    Args:
        frames: ``(B, T, H, W, C)`` uint8.
        boxes: ``(B, 4)`` on the CPU: top, left, height, width, brought to whole pixels; a negative width
            mirrors (its left is then the right edge).
        size: Side of the output in pixels.

    Returns:
        ``(B, T, C, size, size)`` float, 0…255; whole numbers on the CPU, where bytes are resized as they are.
    """
    if frames.is_cuda:
        return resample_by_products(frames, boxes, size)
    b, t, _, _, c = frames.shape
    out = torch.empty(b, t, c, size, size, device=frames.device)
    for i, (top, left, height, width) in enumerate(boxes.round().int().tolist()):
        low = min(left, left + width)
        pixels = frames[i, :, top : top + height, low : low + abs(width)].permute(0, 3, 1, 2)
        square = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        out[i] = square.flip(-1) if width < 0 else square
    return out


# Clips whose pixels are held as numbers of 16 bits at one time: half a gigabyte at 320 × 427 pixels.
_CLIPS_AT_ONCE = 32


def resample_by_products(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """:func:`resample` of all clips at once, as a matrix for the columns and one for the rows of each clip.

    On a GPU that takes a few kernels, where clip by clip takes some for each. In float16, whose errors (a
    quarter of a grey value) are smaller than those of whole numbers.
    """
    top, left, height, width = to_device(boxes.round(), frames.device).unbind(1)
    rows = _weights(top, height, size, frames.shape[2])[:, None]
    columns = _weights(left, width, size, frames.shape[3])[:, None]
    out = []
    # Autocast would make bfloat16 of it, whose errors are as large as a grey value.
    with torch.autocast(frames.device.type, enabled=False):
        for clips, of_rows, of_columns in zip(
            *(x.split(_CLIPS_AT_ONCE) for x in (frames, rows, columns)), strict=True
        ):
            b, t, h, w, c = clips.shape
            pixels = clips.permute(0, 1, 4, 2, 3).to(rows.dtype, memory_format=torch.contiguous_format)
            narrow = pixels.view(b, 1, t * c * h, w) @ of_columns.mT
            square = of_rows @ narrow.view(b, t * c, h, size)
            out.append(square.view(b, t, c, size, size).float())
    return torch.cat(out)


def _weights(start: Tensor, extent: Tensor, size: int, n: int) -> Tensor:
    """What each of ``n`` pixels gives to each of ``size`` places over ``extent`` pixels from ``start``.

    Triangles of PyTorch's antialiased bilinear interpolation, cut off at the box and brought to a sum of 1.

    Args:
        start: ``(B,)``, whole pixels; where the extent is negative, the box ends there and is mirrored.
        extent: ``(B,)``.
        size: Places.
        n: Pixels.

    Returns:
        ``(B, size, n)`` in float16.
    """
    start, extent = start[:, None, None], extent[:, None, None]
    step = extent / size
    position = torch.arange(size, device=start.device)[:, None] + 0.5
    pixel = torch.arange(n, device=start.device) + 0.5
    distance = (start + step * position - pixel).abs()
    inside = (pixel > torch.minimum(start, start + extent)) & (pixel < torch.maximum(start, start + extent))
    weights = (1 - distance / step.abs().clamp(min=1)).clamp(min=0) * inside
    return (weights / weights.sum(-1, keepdim=True)).half()


def random_boxes(
    sizes: Tensor, config: AugmentConfig, flip: bool, generator: torch.Generator | None = None
) -> Tensor:
    """Random square boxes ``(B, 4)`` inside frames of ``sizes`` ``(B, 2)`` (height, width in pixels).

    Draws on the CPU, so that a seed gives the same crops on every device.
    """
    draws = torch.rand(4, len(sizes), generator=generator)
    side = sizes.min(1).values * (config.crop_min + (config.crop_max - config.crop_min) * draws[0])
    top, left = draws[1] * (sizes[:, 0] - side), draws[2] * (sizes[:, 1] - side)
    if not flip:
        return torch.stack([top, left, side, side], 1)
    mirrored = draws[3] < 0.5
    return torch.stack(
        [top, torch.where(mirrored, left + side, left), side, torch.where(mirrored, -side, side)], 1
    )


def view_boxes(sizes: Tensor, n_crops: int = 1, part: float = 1.0) -> Tensor:
    """Deterministic square boxes ``(n_crops, B, 4)`` for evaluation, no flips.

    One crop lies in the centre; three lie at the start, centre and end of the long side.

    Args:
        sizes: Height and width of each clip's frames in pixels, ``(B, 2)``.
        n_crops: 1 or 3.
        part: Side of the crop as a part of the short side.
    """
    positions = {1: (0.5,), 3: (0.0, 0.5, 1.0)}.get(n_crops)
    if positions is None:
        raise EncoderError(f"crops: expected 1 or 3, got {n_crops}")
    side = sizes.min(1).values * part
    room = sizes - side[:, None]
    tall = sizes[:, 0] > sizes[:, 1]
    boxes = []
    for position in positions:
        top, left = (
            room[:, 0] * torch.where(tall, position, 0.5),
            room[:, 1] * torch.where(tall, 0.5, position),
        )
        boxes.append(torch.stack([top, left, side, side], 1))
    return torch.stack(boxes)


def normalised_crop(
    frames: Tensor, boxes: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """:func:`resample`, then subtraction of the mean and division by the deviation of each channel."""
    x = resample(frames, boxes, size)
    for channel, shift, scale in zip(x.unbind(2), mean, std, strict=True):
        channel.sub_(255 * shift).div_(255 * scale)
    return x


@dataclass(frozen=True)
class Views:
    """Turns decoded frames into the random views a recipe needs.

    Attributes:
        config: Crops, flips and perturbation.
        image_size: Side of the views in pixels.
        mean: Mean of the pixels per channel, of values in 0…1.
        std: Deviation of the pixels per channel.
    """

    config: AugmentConfig
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def _make(self, frames: Tensor, sizes: Tensor, flip: bool) -> Tensor:
        boxes = random_boxes(sizes, self.config, flip)
        return normalised_crop(frames, boxes, self.image_size, self.mean, self.std)

    def weak(self, frames: Tensor, sizes: Tensor) -> Tensor:
        """Random crop. Frames ``(B, T, H, W, C)`` uint8, valid ``sizes`` ``(B, 2)`` → ``(B, T, C, S, S)``."""
        return self._make(frames, sizes, flip=False)

    def flipped(self, frames: Tensor, sizes: Tensor) -> Tensor:
        """Random crop, mirrored half of the time where the data set allows it: the labelled view, and the
        spatial part of the strong one."""
        return self._make(frames, sizes, flip=self.config.horizontal_flip)
