"""Batches of clips whose content is a pure function of the seed and of their place in the training.

Which clips an update sees, and which frames are drawn, follows from ``(seed, position)`` alone. Resuming is
therefore starting at another position, and ``n`` processes see what one process with ``n`` times the
accumulation sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from encoder.errors import EncoderError
from encoder.loading.batches import Batches, Watch
from encoder.loading.cache import FrameCache
from encoder.loading.packing import QUALITY
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import Frames, read_clip


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from several numbers or words; different parts give unrelated seeds."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class Batch:
    """Decoded clips.

    Attributes:
        frames: ``(B, N, H, W, C)`` uint8, in slot order; smaller frames are padded at the right and bottom.
        sizes: Height and width of each clip's own frames in pixels, ``(B, 2)``, on the CPU.
        labels: ``(B,)``.
        clips: Ids of the clips.
        broken: Messages about clips that could not be read and are left out.
    """

    frames: Tensor
    sizes: Tensor
    labels: Tensor
    clips: list[str]
    broken: list[str]

    def pin_memory(self) -> Batch:
        """The same in page-locked memory, from which copies to a GPU do not wait; DataLoader asks for it."""
        return replace(self, frames=self.frames.pin_memory(), labels=self.labels.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``; ``sizes`` stay on the CPU, where boxes are drawn."""
        return replace(
            self,
            frames=self.frames.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class FrameSource:
    """Where frames come from: the video files, or a cache of decoded clips.

    Attributes:
        short_side: Largest short side of decoded frames in pixels; None for that of the video.
        reader: ``pyav`` or ``decord``.
        cache: Decoded clips, or None to decode every time.
        watch: Sees to videos that end the process that decodes them.
    """

    short_side: int | None
    reader: str = "pyav"
    cache: FrameCache | None = None
    watch: Watch = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", Watch(self.reader))

    def read(self, clip: Clip, choose: Callable[[int], list[int]]) -> Frames:
        """``(n, H, W, 3)``: the frames that ``choose`` names, given the number of frames in the clip."""
        if self.cache is not None:
            return self.cache.read(clip, choose)
        with self.watch.over(clip.path):
            return read_clip(clip, choose, self.short_side, self.reader)


class ClipStream(Dataset[Any]):
    """An endless, shuffled stream of clips; item ``p`` is the clip at position ``p``.

    Args:
        clips: The clips.
        source: Where their frames come from.
        elements: The temporal elements, which say how many frames are wanted and from where.
        seed: Seed of order and frames; None keeps the clips in order and takes fixed frames, once.
        views: Without a seed: sets of frames of a clip, one behind the other. Each bin is cut into as many
            parts, and a view takes the middle of its part; one view is that of the middle frames.
    """

    def __init__(
        self,
        clips: list[Clip],
        source: FrameSource,
        elements: TemporalElements,
        seed: int | None,
        views: int = 1,
    ) -> None:
        self.clips, self.source, self.elements, self.seed = clips, source, elements, seed
        self.views = views

    def __getitem__(self, position: int) -> tuple[Frames | None, int, str, str]:
        turn, index = divmod(position, len(self.clips))
        seed = None
        if self.seed is not None:
            index = int(_order(len(self.clips), derive_seed(self.seed, "order", turn))[index])
            seed = derive_seed(self.seed, "frames", position)
        clip = self.clips[index]
        try:
            frames = self.source.read(clip, lambda n: self._choose(n, seed))
            return frames, clip.label, clip.id, ""
        except EncoderError as error:
            return None, clip.label, clip.id, str(error)

    def _choose(self, n_frames: int, seed: int | None) -> list[int]:
        if seed is not None:
            return self.elements.sample(n_frames, torch.Generator().manual_seed(seed))
        offsets = [(view + 0.5) / self.views for view in range(self.views)]
        return [i for offset in offsets for i in self.elements.sample(n_frames, offset=offset)]


@lru_cache(maxsize=8)
def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def collate(items: list[tuple[Frames | None, int, str, str]]) -> Batch:
    """One batch of the clips that could be read. Frames are padded by repeating their last row and column."""
    read = [(frames, label, clip) for frames, label, clip, _ in items if frames is not None]
    broken = [message for *_, message in items if message]
    sizes = [frames.shape[1:3] for frames, _, _ in read]
    height, width = (max((s[axis] for s in sizes), default=0) for axis in (0, 1))
    padded = [
        frames
        if frames.shape[1:3] == (height, width)
        else np.pad(
            frames, ((0, 0), (0, height - frames.shape[1]), (0, width - frames.shape[2]), (0, 0)), "edge"
        )
        for frames, _, _ in read
    ]
    frames = torch.from_numpy(np.stack(padded)) if padded else torch.empty(0, dtype=torch.uint8)
    labels = torch.tensor([label for _, label, _ in read], dtype=torch.long)
    return Batch(frames, torch.tensor(sizes), labels, [clip for *_, clip in read], broken)


def _loader(stream: ClipStream, positions: list[list[int]], workers: int) -> Batches:
    return Batches(
        stream,
        positions,
        workers,
        stream.source.watch,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )


def training_batches(
    stream: ClipStream, batch: int, updates: range, parts: range, n_parts: int, workers: int
) -> Iterator[Batch]:
    """Batches of the given updates, ``len(parts)`` for each update.

    Args:
        stream: The clips.
        batch: Clips in a batch.
        updates: The updates still to come.
        parts: Which of an update's parts this process takes.
        n_parts: Parts of an update: processes × accumulation.
        workers: Worker processes that decode.
    """
    positions = [
        [(update * n_parts + part) * batch + i for i in range(batch)] for update in updates for part in parts
    ]
    return iter(_loader(stream, positions, workers))


def evaluation_batches(
    clips: list[Clip],
    source: FrameSource,
    elements: TemporalElements,
    batch: int,
    rank: int,
    world: int,
    workers: int,
    views: int = 1,
) -> Batches:
    """Every clip once, at fixed frames; process ``rank`` of ``world`` takes every ``world``-th batch.

    So each clip is computed among the same others, and to the same bit, whatever the number of processes.
    With several temporal ``views`` (see :class:`ClipStream`) a batch has ``views · N`` frames of each clip.
    """
    positions = [list(range(i, min(i + batch, len(clips)))) for i in range(0, len(clips), batch)]
    return _loader(ClipStream(clips, source, elements, None, views), positions[rank::world], workers)


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How the clips of a list are read.

    Attributes:
        video_root: Folder that the videos' paths start from; by default each clip list's own.
        short_side: Short side in pixels that frames are decoded to; none for that of the video.
        reader: pyav or decord.
        cache: Folder to keep decoded clips in, so that every video is decoded once for all epochs and runs;
            ``sefar-mllm cache-clips`` fills it beforehand.
        cache_quality: Quality of JPEG in which they are kept; none for raw frames, which are what the videos
            hold to the byte and take 10 to 20 times the room.
        workers: Worker processes that read.
    """

    video_root: Path | None = None
    short_side: int | None = 320
    reader: Literal["pyav", "decord"] = "pyav"
    cache: Path | None = None
    cache_quality: int | None = QUALITY
    workers: int = 2


def open_source(config: ReadConfig, clips: list[Clip]) -> FrameSource:
    """A source for these clips, with their frames decoded into the cache first where one is named.

    Several processes may call it at once, and it may take hours: see :mod:`encoder.processes.waiting`.
    """
    side, reader = config.short_side, config.reader
    if config.cache is None:
        return FrameSource(side, reader)
    cache = FrameCache.build(config.cache, clips, side, reader, config.workers, config.cache_quality)
    return FrameSource(side, reader, cache)
