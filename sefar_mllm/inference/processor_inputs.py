"""What passes into a processor of Transformers beside the frames, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from encoder.video.video_facts import Frames

TICKS = 1000  # a second: times are told to a processor as frames of a video of so many a second

Inputs = dict[str, Tensor]  # of a model, by name


def metadata(frames: Frames, times: Sequence[float]) -> dict[str, Any]:
    """What a processor is told of a video's frames: their times, and what follows of them for the whole.

    Each frame is taken to be shown until the next; the last as long as the mean of those before.
    """
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    duration = max(step * len(times), 1 / TICKS)
    return {
        "total_num_frames": max(1, round(duration * TICKS)),
        "fps": float(TICKS),
        "duration": duration,
        "height": frames.shape[1],
        "width": frames.shape[2],
        "frames_indices": [round(time * TICKS) for time in times],
    }


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], pixels: bool) -> bool:
    """Whether two inputs are equal, all of them or the pixels alone."""
    return all(
        value.shape == other[name].shape and torch.equal(value, other[name])
        for name, value in one.items()
        if "pixel" in name or not pixels
    )
