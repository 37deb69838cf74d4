"""Finding clips by their names: a video file of any usual kind, or a folder of numbered pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from encoder.video.clips import Clip
from encoder.video.pictures import picture_folders
from gym_qa.datasets.clip_files import ENDINGS


def find_clips(folder: Path, names: Iterable[str], rate: float | None = None) -> dict[str, Clip]:
    """The clips of these names that there are below a folder.

    Args:
        folder: where to look, in all its folders too.
        names: clip ids, of each the file's name without its ending, or the folder's.
        rate: pictures a second of folders of pictures.
    """
    wanted = set(names)
    files = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS}
    clips = {name: Clip(files[name], -1) for name in wanted & files.keys()}
    if wanted - clips.keys():
        pictures = {Clip(path, -1).id: path for path in picture_folders(folder)}
        left = (wanted - clips.keys()) & pictures.keys()
        clips |= {name: Clip(pictures[name], -1, rate=rate) for name in left}
    return clips
