"""A folder of decoded clips, so that many epochs and many runs decode every video once.

The folder holds one folder for each way of reading: short side, reader, quality. In that lie *shards*: a file
of frames, memory-mapped (processes share it through the page cache), and an index of the clips in it, written
last. A clip is found by what was read: path, size and time of change of its file, and the span. So lists that
share clips share their frames, a changed file is read anew, and what was stopped goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.errors import EncoderError
from encoder.loading.cache_writing import Extent, fill
from encoder.loading.packing import QUALITY, check_quality, unpack
from encoder.processes.waiting import one_at_a_time
from encoder.video.clips import Clip
from encoder.video.video_facts import Frames

#: Rises when readers give other frames or these are kept in another way; older folders are then not read.
_VERSION = 2


class FrameCache:
    """Decoded clips on disk.

    Args:
        folder: The folder of one way of reading.
        clips: The clips that are wanted; others may be there.
        quality: Quality of JPEG in which the frames are kept; None for raw frames.

    Attributes:
        missing: Those of the clips that are not there, by their keys.
        broken: What was wrong with the clips that :meth:`build` could not read, by their keys.
    """

    def __init__(self, folder: Path, clips: Iterable[Clip], quality: int | None) -> None:
        self.folder, self.quality = folder, quality
        if quality is not None:
            import torchvision.io  # noqa: F401  (takes a second: here and not in each worker)
        self.keys = {_unlabelled(clip): "" for clip in clips}
        for clip in self.keys:
            self.keys[clip] = _key(clip)
        wanted = set(self.keys.values())
        self.extents: dict[str, tuple[str, Extent]] = {
            key: (shard, extent)
            for shard, extents in _shards(folder)
            for key, extent in extents.items()
            if key in wanted
        }
        self.missing = {key: clip for clip, key in self.keys.items() if key not in self.extents}
        self.broken: dict[str, str] = {}
        self._files: dict[str, NDArray[np.uint8]] = {}

    @property
    def bytes(self) -> int:
        """Room that the frames of the clips take."""
        return sum(extent[1] for _, extent in self.extents.values())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # each process maps the files for itself

    def read(self, clip: Clip, choose: Callable[[int], list[int]] | None = None) -> Frames:
        """Frames of a clip ``(n, H, W, 3)``; ``choose`` as in :func:`encoder.video.reader.read_clip`."""
        key = self.keys[_unlabelled(clip)]
        if key in self.broken:
            raise EncoderError(self.broken[key])
        shard, (offset, size, n, height, width) = self.extents[key]
        try:
            chosen = list(range(n)) if choose is None else choose(n)
        except EncoderError as error:
            raise EncoderError(f"{clip}: {error}") from None
        try:
            content = self._file(shard)[offset : offset + size]
            return unpack(content, (n, height, width), chosen, self.quality)
        except (OSError, RuntimeError, ValueError) as error:
            raise EncoderError(
                f"{self.folder / shard}: cannot be read ({error}); delete it and start again"
            ) from None

    def _file(self, shard: str) -> NDArray[np.uint8]:
        if shard not in self._files:
            self._files[shard] = np.memmap(self.folder / shard, np.uint8, "r").view(np.ndarray)
        return self._files[shard]

    @classmethod
    def build(
        cls,
        root: Path,
        clips: list[Clip],
        short_side: int | None,
        reader: str = "pyav",
        workers: int = 0,
        quality: int | None = QUALITY,
    ) -> FrameCache:
        """Opens the cache of these clips under ``root``, decoding those that are not there yet.

        Of several processes that see the same disk one decodes and the others wait for it. A clip that
        cannot be read is tried again by every build; reading it from the cache raises what was wrong.

        Args:
            root: The folder.
            clips: The clips.
            short_side: Largest short side of the frames in pixels; None for that of the video.
            reader: As in :func:`encoder.video.reader.read_clip`.
            workers: Worker processes that decode.
            quality: Quality of JPEG, or None to keep the frames as they are.

        Raises:
            EncoderError: There is not enough room for the frames.
        """
        check_quality(quality)
        size = "full" if short_side is None else f"{short_side}px"
        folder = root / f"{size}-{reader}-{'raw' if quality is None else f'jpeg{quality}'}-v{_VERSION}"
        cache = cls(folder, clips, quality)
        if cache.missing:
            with one_at_a_time(folder, "run 'sefar-mllm cache-clips' before"):
                cache = cls(folder, clips, quality)  # another process may have decoded them meanwhile
                broken = fill(folder, cache.missing, short_side, reader, workers, quality)
                cache = cls(folder, clips, quality)
                cache.broken = broken
        return cache


def _unlabelled(clip: Clip) -> Clip:
    return replace(clip, label=-1)


def _key(clip: Clip) -> str:
    """A hash of everything that the clip's frames depend on."""
    facts = {**asdict(clip), "path": os.path.abspath(clip.path), "files": _state(clip.path)}
    return blake2b(json.dumps(facts, default=str).encode(), digest_size=16).hexdigest()


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of all files in a folder; nothing where there is none."""
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name) if path.is_dir() else [path]
        return [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries]
    except OSError:
        return []


def _shards(folder: Path) -> Iterator[tuple[str, dict[str, Extent]]]:
    """The shards that are whole, and where the clips are in them."""
    for path in sorted(folder.glob("*.json")):
        shard = path.with_suffix(".bin")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if shard.stat().st_size == index["size"]:
                yield shard.name, index["clips"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # cut off; its clips are decoded anew
