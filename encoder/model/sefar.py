"""The SeFAR encoder: backbone and fusion head, with everything needed to use it again."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from encoder.loading.augment import normalised_crop, view_boxes
from encoder.model.backbone import DividedSpaceTimeViT, ViTShape
from encoder.model.head import FusionHead
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import read_clip


class SefarEncoder(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="sefar-mllm",
    tags=["video-classification", "fine-grained-action-recognition"],
):
    """Clips → classes, and the features a language model reads.

    ``SefarEncoder.from_pretrained(folder_or_hub_name)``, ``save_pretrained(folder)``, ``push_to_hub(name)``
    keep ``config.json`` and ``model.safetensors``.

    Args:
        num_classes: Number of classes ``C``.
        shape: Shape of the transformer: the fields of :class:`encoder.model.backbone.ViTShape`.
        elements: Temporal elements, such as ``"2-2-4"``.
        mean: Mean of the pixels per channel, of values in 0…1.
        std: Deviation of the pixels per channel.
        head_width: Width of the clip feature.
        dropout: Dropout before the classifier.
        drop_path: Stochastic depth of the last block.
        crop: Side of the square that :meth:`transform` cuts out, as a part of the frame's short side.
        classes: Names of the classes, index = label.
    """

    def __init__(
        self,
        num_classes: int,
        shape: dict[str, Any] | None = None,
        elements: str = "2-2-4",
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        head_width: int = 256,
        dropout: float = 0.5,
        drop_path: float = 0.1,
        crop: float = 0.7875,
        classes: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.shape = ViTShape(**(shape or {}))
        self.elements = TemporalElements.parse(elements)
        self.mean, self.std = tuple(mean), tuple(std)
        self.crop, self.num_classes, self.classes = crop, num_classes, classes
        self.backbone = DividedSpaceTimeViT(self.shape, self.elements, drop_path)
        self.head = FusionHead(self.shape.dim, len(self.elements.sizes), num_classes, head_width, dropout)

    @classmethod
    def _from_pretrained(cls, **arguments: Any) -> SefarEncoder:
        with redirect_stdout(StringIO()):  # the library says there that it loads from a folder
            return super()._from_pretrained(**arguments)

    def read(self, video: str | Path) -> Tensor:
        """The frames of a video that the network looks at: the middles of the bins, in slot order.

        Returns:
            ``(1, N, H, W, 3)`` uint8, for :meth:`transform`.

        Raises:
            EncoderError: The video is missing, cut off or shorter than the context element.
        """
        return torch.from_numpy(read_clip(Clip(Path(video), -1), self.elements.sample))[None]

    def transform(self, frames: Tensor, sizes: Tensor | None = None, n_crops: int = 1) -> Tensor:
        """Decoded frames ``(B, T, H, W, C)`` uint8 → the network's input ``(n_crops · B, T, C, S, S)``.

        Deterministic, no flips. One crop lies in the centre; three lie along the long side.

        Args:
            frames: The frames, padded at the right and bottom where clips differ in size.
            sizes: Height and width of each clip's own frames in pixels, ``(B, 2)``; by default all of it.
            n_crops: 1 or 3.
        """
        if sizes is None:
            sizes = torch.tensor(frames.shape[2:4]).expand(len(frames), 2)
        boxes = view_boxes(sizes, n_crops, self.crop)
        size = self.shape.image_size
        return torch.cat([normalised_crop(frames, box, size, self.mean, self.std) for box in boxes])

    def forward(self, frames: Tensor, feature_dropout: float = 0.0) -> Tensor:
        """Normalised frames ``(B, N, C, H, W)`` in slot order → logits ``(B, num_classes)``."""
        tokens = self.backbone(frames, feature_dropout)
        return self.head(self.backbone.element_tokens(tokens))

    def clip_feature(self, frames: Tensor) -> Tensor:
        """Normalised frames ``(B, N, C, H, W)`` → the 256-wide clip feature ``(B, head_width)``."""
        return self.head.feature(self.backbone.element_tokens(self.backbone(frames)))
