"""What a model that looks at videos itself is shown: chosen frames of clips, their times, and controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from encoder.features.extract import in_order
from encoder.loading.data import derive_seed
from encoder.video.clips import Clip
from encoder.video.reader import read_timed_clip
from encoder.video.video_facts import Frames
from sefar_mllm.errors import SefarMLLMError

#: As the clip is, or a control: its frames in another order, black ones, or the middle one alone.
Showing = Literal["filmed", "shuffled", "reversed", "blank", "one-frame"]


@dataclass(frozen=True)
class Shot:
    """The frames of a clip that are shown.

    Attributes:
        clip: the clip's id.
        frames: ``(n, H, W, 3)`` uint8.
        seconds: when each is shown, counted from the clip's beginning; empty where that is not known.
    """

    clip: str
    frames: Frames
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Footage:
    """Clips of which each gives the same number of frames, decoded when they are asked for.

    A clip is cut into as many equal parts as frames are wanted, and the middle frame of each is taken; a clip
    of fewer frames gives all of them, each once.

    Attributes:
        clips: clip id → clip.
        count: frames of a clip.
        short_side: largest short side of the frames in pixels; none for the size of the video.
        showing: see `Showing`.
        seed: of the shuffled order.
    """

    clips: Mapping[str, Clip]
    count: int = 8
    short_side: int | None = None
    showing: Showing = "filmed"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SefarMLLMError(f"frames: expected at least 1, got {self.count}")

    def shown_as(self, showing: Showing) -> Footage:
        """The same clips under a control."""
        return replace(self, showing=showing)

    def __contains__(self, clip: object) -> bool:
        return clip in self.clips

    def __getitem__(self, name: str) -> Shot:
        """Decode a clip.

        Raises:
            EncoderError: for a video that cannot be read.
        """
        clip = self.clips[name]
        frames, times = read_timed_clip(clip, self._choose, self.short_side)
        begin = clip.start or 0.0
        # The first frame of a clip may be shown just before the second at which it begins.
        seconds = tuple(max(0.0, time - begin) for time in times)
        if self.showing in ("shuffled", "reversed"):
            draw = torch.Generator().manual_seed(derive_seed(self.seed, name))
            frames = frames[in_order(list(range(len(frames))), self.showing, draw)]
        elif self.showing == "blank":
            frames = np.zeros_like(frames)
        return Shot(name, frames, seconds)

    def _choose(self, n_frames: int) -> list[int]:
        count = 1 if self.showing == "one-frame" else min(self.count, n_frames)
        return [(2 * place + 1) * n_frames // (2 * count) for place in range(count)]
