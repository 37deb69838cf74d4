"""The verb ``cache-clips``: decode clips before training, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoder.loading.cache import FrameCache
from encoder.loading.packing import QUALITY
from encoder.video.clips import read_clips


@dataclass(frozen=True)
class CacheClipsConfig:
    """Decode clips once for all trainings; ``--data.cache`` with the same settings then reads them.

    Says beforehand how much room the frames will take. Stopped and started again, it goes on. Machines that
    share no disk each need a run. Clips that cannot be read are reported, a line each.

    Attributes:
        clips: Clip lists.
        cache: Folder to keep the frames in.
        video_root: Folder that the videos' paths start from; by default each clip list's own.
        short_side: Short side in pixels that frames are decoded to.
        reader: pyav or decord.
        quality: Quality of JPEG (1 to 100) in which frames are kept; none keeps them as they are, in 10 to 20
            times the room.
        workers: Worker processes that decode.
    """

    clips: list[Path]
    cache: Path
    video_root: Path | None = None
    short_side: int | None = 320
    reader: Literal["pyav", "decord"] = "pyav"
    quality: int | None = QUALITY
    workers: int = 2


def cache_clips(config: CacheClipsConfig) -> FrameCache:
    """Runs the verb.

    Raises:
        EncoderError: A clip list is at fault, or there is not enough room.
    """
    clips = [clip for path in config.clips for clip in read_clips(path, config.video_root)]
    cache = FrameCache.build(
        config.cache, clips, config.short_side, config.reader, config.workers, config.quality
    )
    for message in cache.broken.values():
        print(f"left out: {message}")
    print(
        f"{cache.folder}: {len(cache.extents)} clips, {cache.bytes / 1e9:.2f} GB; "
        f"{len(cache.broken)} left out"
    )
    return cache
