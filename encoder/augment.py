"""Crops, flips and normalisation of whole batches on their device, as plain tensor code (method §4)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import torch
from torch import Tensor

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
        perturbation: Change of the frames' order in the strong view; see ``encoder.perturb``.
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


def interpolation_matrix(start: Tensor, length: Tensor, size: int, n_in: int) -> Tensor:
    """Matrices that resample intervals of a row of pixels: ``(B, size, n_in)``.

    Row ``i`` holds the weights of the input pixels in output pixel ``i``: a triangle (bilinear) filter,
    widened where the interval is shrunk, so that nothing aliases. This is antialiased bilinear resizing.

    Args:
        start: Left edges of the intervals in pixels, ``(B,)``.
        length: Their lengths in pixels, ``(B,)``; negative lengths mirror.
        size: Output pixels.
        n_in: Input pixels.
    """
    scale = length / size
    centres = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * scale[:, None]
    pixels = torch.arange(n_in, device=start.device) + 0.5
    support = scale.abs().clamp(min=1)[:, None, None]
    weights = (1 - (centres[:, :, None] - pixels).abs() / support).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def resample(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cuts a box out of every clip and resizes it to a square.

    Resizing is separable, hence two matrix products for each clip, one per axis. Only what lies in the box
    is turned into floats, which is most of the work when frames are larger than the crop.

    Args:
        frames: ``(B, T, H, W, C)`` uint8.
        boxes: ``(B, 4)``: top, left, height, width in pixels; a negative width mirrors (its left is then the
            right edge).
        size: Side of the output in pixels.

    Returns:
        ``(B, T, C, size, size)`` float, 0…1.
    """
    b, t, h, w, c = frames.shape
    top, left, height, width = boxes.to(frames.device).unbind(1)
    rows = interpolation_matrix(top, height, size, h)
    columns = interpolation_matrix(left, width, size, w) / 255
    out = rows.new_empty(b, t, c, size, size)
    for i, (y, x, dy, dx) in enumerate(boxes.tolist()):
        (y0, y1), (x0, x1) = reach(y, dy, size, h), reach(x, dx, size, w)
        pixels = frames[i, :, y0:y1, x0:x1].permute(0, 3, 1, 2).to(rows.dtype)
        out[i] = rows[i, :, y0:y1] @ (pixels @ columns[i, :, x0:x1].T)
    return out


def reach(start: float, length: float, size: int, n_in: int) -> tuple[int, int]:
    """First and past-the-last input pixel that :func:`interpolation_matrix` can give a weight."""
    support = max(1.0, abs(length) / size)
    low, high = sorted((start, start + length))
    return max(0, floor(low - support)), min(n_in, ceil(high + support))


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
    places = {1: (0.5,), 3: (0.0, 0.5, 1.0)}.get(n_crops)
    if places is None:
        raise EncoderError(f"crops: expected 1 or 3, got {n_crops}")
    side = sizes.min(1).values * part
    room = sizes - side[:, None]
    tall = sizes[:, 0] > sizes[:, 1]
    boxes = []
    for place in places:
        top, left = room[:, 0] * torch.where(tall, place, 0.5), room[:, 1] * torch.where(tall, 0.5, place)
        boxes.append(torch.stack([top, left, side, side], 1))
    return torch.stack(boxes)


def normalised_crop(
    frames: Tensor, boxes: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """:func:`resample`, then subtraction of the mean and division by the deviation of each channel."""
    x = resample(frames, boxes, size)
    shift, scale = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (mean, std))
    return x.sub(shift).div_(scale)


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
