"""Decoding clips into the shards of a frame cache."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from torch.utils.data import Dataset
from tqdm import tqdm

from encoder.errors import EncoderError
from encoder.files import write_json
from encoder.loading.batches import Batches, Watch
from encoder.loading.packing import pack
from encoder.video.clips import Clip
from encoder.video.reader import read_clip

log = logging.getLogger("encoder")

#: Of a clip in its shard: first byte, bytes, frames, height and width.
Extent = tuple[int, int, int, int, int]

_SAMPLE = 32  # clips by which the size of all is estimated
_SHARD = 256 * 2**20  # bytes after which a shard is closed; what is in no closed one is lost by a stop
_LEFT = 3600  # seconds after which a half-written file is taken for left behind


def fill(
    folder: Path,
    clips: dict[str, Clip],
    short_side: int | None,
    reader: str,
    workers: int,
    quality: int | None,
) -> dict[str, str]:
    """Decodes clips into new shards; no other process may be at work in the folder.

    Says before how much room they will take, by a sample of them.

    Args:
        folder: The folder of the shards.
        clips: The clips, by their keys.
        short_side, reader, workers, quality: As in :meth:`encoder.loading.cache.FrameCache.build`.

    Returns:
        What was wrong with the clips that cannot be read, by their keys.

    Raises:
        EncoderError: There is not enough room.
    """
    _tidy(folder)
    sample = Random(0).sample(list(clips), min(_SAMPLE, len(clips)))
    first = set(sample)
    keys = [*sample, *(key for key in clips if key not in first)]
    watch = Watch(reader)
    packed = _Packed([clips[key] for key in keys], short_side, reader, quality, watch)
    one_by_one = [[i] for i in range(len(keys))]
    items = Batches(packed, one_by_one, workers, watch, collate_fn=_only)
    broken: dict[str, str] = {}
    shard = _Shard(folder)
    try:
        with tqdm(total=len(keys), desc="decoding", unit="clip", disable=not keys, leave=False) as bar:
            for done, (key, item) in enumerate(zip(keys, items, strict=True), start=1):
                if isinstance(item, str):
                    broken[key] = item
                else:
                    shard.add(key, *item)
                if done == len(sample) < len(keys):
                    _check_room(folder, shard.size, done, len(keys))
                if shard.size > _SHARD:
                    shard.close()
                    shard = _Shard(folder)
                bar.update()
        shard.close()
    finally:
        shard.scratch.unlink(missing_ok=True)
    return broken


def _check_room(folder: Path, written: int, done: int, total: int) -> None:
    """Says how much room the rest will take. Raises EncoderError where there is not as much."""
    each, free = written / done, shutil.disk_usage(folder).free
    needed = each * (total - done)
    text = (
        f"{folder}: {total} clips to decode, about {_bytes(each * total)} "
        f"({_bytes(each)} a clip, by {done} of them); {_bytes(free)} are free"
    )
    if needed > free:
        raise EncoderError(f"{text}; make room, name another disk, or choose a smaller short side or quality")
    log.info(text)


def _bytes(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def _tidy(folder: Path) -> None:
    """Deletes what a stop has left; nothing that another machine, whose lock may not be seen, is writing."""
    for path in folder.iterdir():
        left = path.suffix == ".tmp" or (path.suffix == ".bin" and not path.with_suffix(".json").is_file())
        if left and path.stat().st_mtime < time.time() - _LEFT:
            path.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EncoderError(f"{path.parent}: cannot be written ({error}); make room and start again") from None


class _Packed(Dataset[Any]):
    """The frames of whole clips as bytes with their shape, or what is wrong with them."""

    def __init__(
        self, clips: list[Clip], short_side: int | None, reader: str, quality: int | None, watch: Watch
    ) -> None:
        self.clips, self.short_side, self.reader = clips, short_side, reader
        self.quality, self.watch = quality, watch

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[bytes, tuple[int, ...]] | str:
        clip = self.clips[i]
        try:
            with self.watch.over(clip.path):
                frames = read_clip(clip, None, self.short_side, self.reader)
        except EncoderError as error:
            return str(error)
        return pack(frames, self.quality), frames.shape[:3]


def _only(items: list[Any]) -> Any:
    return items[0]


class _Shard:
    """One file of frames and its index, under names of their own; they appear when they are whole."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid4().hex[:12]}.bin"
        self.scratch = self.path.with_suffix(".bin.tmp")
        self.size = 0
        self.extents: dict[str, Extent] = {}

    def add(self, key: str, content: bytes, shape: tuple[int, int, int]) -> None:
        """Appends a clip."""
        with _writing(self.path), open(self.scratch, "ab") as file:
            file.write(content)
        self.extents[key] = (self.size, len(content), *shape)
        self.size += len(content)

    def close(self) -> None:
        """Lets the shard appear, if there is anything in it."""
        if not self.extents:
            return
        with _writing(self.path):
            self.scratch.replace(self.path)
            write_json(self.path.with_suffix(".json"), {"size": self.size, "clips": self.extents})
