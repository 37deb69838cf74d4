"""A folder of decoded clips, so that many epochs and many runs decode every video once.

One flat file of uint8 frames, memory-mapped (processes share it through the page cache), and an index that
says what was read and how.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from encoder.clips import Clip
from encoder.errors import EncoderError
from encoder.reader import Frames, read_clip


class _Whole(Dataset[Any]):
    def __init__(self, clips: list[Clip], short_side: int | None, reader: str) -> None:
        self.clips, self.short_side, self.reader = clips, short_side, reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Frames | str:
        try:
            return read_clip(self.clips[i], None, self.short_side, self.reader)
        except EncoderError as error:
            return str(error)


class FrameCache:
    """Decoded clips on disk.

    Args:
        folder: A folder that :meth:`build` has written.

    Attributes:
        broken: What was wrong with the clips that could not be read.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.entries: dict[str, tuple[int, tuple[int, ...]]] = {
            clip: (offset, tuple(shape)) for clip, (offset, shape) in index["clips"].items()
        }
        self.broken: dict[str, str] = index["broken"]
        self.frames = (
            np.memmap(folder / "frames.bin", np.uint8, "r") if self.entries else np.empty(0, np.uint8)
        )

    def read(self, clip: Clip, choose: Callable[[int], list[int]] | None = None) -> Frames:
        """Frames of a clip ``(n, H, W, 3)``; ``choose`` as in :func:`encoder.reader.read_clip`."""
        if _key(clip) in self.broken:
            raise EncoderError(self.broken[_key(clip)])
        offset, shape = self.entries[_key(clip)]
        assert self.frames is not None
        frames = self.frames[offset : offset + int(np.prod(shape))].reshape(shape)
        try:
            chosen = list(range(shape[0])) if choose is None else choose(shape[0])
        except EncoderError as error:
            raise EncoderError(f"{clip}: {error}") from None
        return np.asarray(frames[chosen])

    @classmethod
    def build(
        cls, root: Path, clips: list[Clip], short_side: int | None, reader: str = "pyav", workers: int = 0
    ) -> FrameCache:
        """Opens the cache of these clips under ``root``, decoding them when it is not there yet.

        The cache's name is a hash of the files (path, size, time of change), the spans and the way of
        reading, so a changed file is read anew. A clip that cannot be read is kept as such: reading it
        from the cache raises.
        """
        folder = root / _fingerprint(clips, short_side, reader)
        if not (folder / "index.json").is_file():
            scratch = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
            try:
                _write(scratch, _decoded(clips, short_side, reader, workers))
                os.replace(scratch, folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return cls(folder)


def _key(clip: Clip) -> str:
    rate = "" if clip.rate is None else f"|{clip.rate}"
    return f"{clip.path}|{clip.start}|{clip.end}{rate}"


def _fingerprint(clips: list[Clip], short_side: int | None, reader: str) -> str:
    digest = hashlib.sha256(f"{short_side} {reader}".encode())
    for clip in sorted({_key(clip): clip for clip in clips}.values(), key=_key):
        for path in (clip.path, *(sorted(clip.path.iterdir()) if clip.path.is_dir() else ())):
            facts = path.stat()
            digest.update(f"\n{_key(clip)} {path.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _decoded(
    clips: list[Clip], short_side: int | None, reader: str, workers: int
) -> Iterator[tuple[Clip, Frames | str]]:
    unique = list({_key(clip): clip for clip in clips}.values())
    loader: DataLoader[Any] = DataLoader(
        _Whole(unique, short_side, reader), batch_size=None, num_workers=workers, collate_fn=_as_is
    )
    with tqdm(loader, desc="decoding", unit="clip", leave=False) as shown:
        yield from zip(unique, shown, strict=True)


def _as_is(item: Any) -> Any:
    return item


def _write(folder: Path, decoded: Iterator[tuple[Clip, Frames | str]]) -> None:
    folder.mkdir(parents=True)
    entries: dict[str, tuple[int, tuple[int, ...]]] = {}
    broken: dict[str, str] = {}
    with open(folder / "frames.bin", "wb") as file:
        for clip, frames in decoded:
            if isinstance(frames, str):
                broken[_key(clip)] = frames
                continue
            entries[_key(clip)] = (file.tell(), frames.shape)
            file.write(np.ascontiguousarray(frames).data)
    (folder / "index.json").write_text(json.dumps({"clips": entries, "broken": broken}), encoding="utf-8")
