"""The verb ``cut-clips``: from downloaded source videos to the trimmed clips that training reads."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from tqdm import tqdm

from gym_qa.cutting.one_clip import Encoding, cut_clip, is_whole, open_source
from gym_qa.cutting.timeline import TooShort
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import read_tables
from gym_qa.datasets.table import Clip
from gym_qa.errors import GymQAError, in_a_line
from gym_qa.files import write_text

log = logging.getLogger("gym_qa")

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")


@dataclass(frozen=True, kw_only=True)
class CutClipsConfig(DataFiles):
    """Cut trimmed clips out of downloaded source videos, exact to the frame, each at its source's rate.

    For training, ``--short-side 320 --gop 8``: what takes most of the time of reading a clip is then gone.

    Started again, it skips every clip that is there and whole. It ends in a report of what is missing,
    unreadable or too short, also written to ``cut_report.json`` beside the clips.

    Attributes:
        sources: folder of the source videos, ``<video id>.mp4`` (or .mkv, .webm, .mov, .avi), or folders
            ``<video id>`` of pictures ``00001.jpg``, ``00002.jpg`` …, to be shown at ``frames_per_second``.
        output: folder for the clips, ``<clip id>.mp4``.
        least_frames: a clip with fewer is reported and not written; SeFAR's context element needs 4.
        crf: quality of the clips: x264's constant rate factor, lower is better and larger.
        short_side: largest short side of the clips in pixels; by default the source's.
        gop: a key frame every so many frames, and encoded for fast decoding (x264's ``fastdecode``); by
            default x264's own choice, which is slow to read from.
        workers: processes; 0 means one per processor.
    """

    sources: Path
    output: Path
    least_frames: int = 4
    crf: int = 18
    short_side: int | None = None
    gop: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("short_side", 16), ("gop", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise GymQAError(f"{name}: expected at least {least}, got {value}")
        if not 0 <= self.crf <= 51:
            raise GymQAError(f"crf: expected 0 to 51, got {self.crf}")


@dataclass
class CutReport:
    """What became of the clips.

    Attributes:
        cut: written now.
        kept: were there and whole.
        missing: source video -> its clips, where the video is not there.
        unreadable: clip -> why its source video could not be decoded.
        too_short: clip -> frames found of those needed.
    """

    cut: int = 0
    kept: int = 0
    missing: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    too_short: dict[str, str] = field(default_factory=dict)

    def add(self, clip: str, outcome: str, why: str) -> None:
        """Counts one clip."""
        if outcome == "cut":
            self.cut += 1
        else:
            (self.unreadable if outcome == "unreadable" else self.too_short)[clip] = why

    def __str__(self) -> str:
        absent = sum(map(len, self.missing.values()))
        return (
            f"{self.cut} clips cut, {self.kept} were there; "
            f"{absent} lack their source video ({len(self.missing)} videos missing), "
            f"{len(self.unreadable)} unreadable, {len(self.too_short)} too short"
        )


#: One clip's outcome: what happened, and why.
Outcome = tuple[str, str]


def cut_clips(config: CutClipsConfig) -> CutReport:
    """Run the verb."""
    train, val = read_tables(config)
    clips = (*train.clips, *val.clips)
    untimed = [clip.clip_id for clip in clips if clip.frames is None and None in (clip.start, clip.end)]
    if untimed:
        raise GymQAError(
            f"{untimed[0]} and {len(untimed) - 1} other clips have no times; this data set is not cut"
        )
    if not config.sources.is_dir():
        raise GymQAError(f"{config.sources}: no such folder; expected source videos named <video id>.mp4")
    config.output.mkdir(parents=True, exist_ok=True)
    report = CutReport()
    todo: list[tuple[Path, list[Clip]]] = []
    for video, members in tqdm(_by_video(clips).items(), desc="looking for clips", unit="video"):
        rest = [
            clip
            for clip in members
            if not is_whole(config.output / clip.file, config.least_frames, _note(clip, config))
        ]
        report.kept += len(members) - len(rest)
        source = _find(config.sources, video)
        if source is None and rest:
            report.missing[video] = [clip.clip_id for clip in rest]
        elif source is not None and rest:
            todo.append((source, rest))
    try:
        with tqdm(total=sum(len(rest) for _, rest in todo), desc="cutting clips", unit="clip") as bar:
            for clip_id, (outcome, why) in _in_parallel(todo, config):
                report.add(clip_id, outcome, why)
                bar.update()
    finally:
        write_text(config.output / "cut_report.json", json.dumps(asdict(report), indent=1) + "\n")
    log.info(report)
    return report


def _note(clip: Clip, config: CutClipsConfig) -> str:
    """What was cut, and how: the comment in the clip's file."""
    part = (
        f"{clip.start} to {clip.end} s"
        if clip.frames is None
        else f"frames {clip.frames[0]} to {clip.frames[1] - 1}"
    )
    size = "full size" if config.short_side is None else f"short side {config.short_side}"
    return f"{clip.source_video}, {part}, {size}, GOP {config.gop or 'of x264'}, crf {config.crf}"


def _by_video(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    by_video: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip.source_video, clip.frames or (clip.start or 0.0,))):
        by_video[clip.source_video].append(clip)
    return by_video


def _find(folder: Path, video: str) -> Path | None:
    """The source video: a file, or a folder of its pictures."""
    files = (path for suffix in SUFFIXES if (path := folder / f"{video}{suffix}").is_file())
    return next(files, folder / video if (folder / video).is_dir() else None)


def _in_parallel(
    todo: Sequence[tuple[Path, list[Clip]]], config: CutClipsConfig
) -> Iterator[tuple[str, Outcome]]:
    """Source video by source video; clip ids and what became of them."""
    parts = [
        (source, clips[first : first + 16]) for source, clips in todo for first in range(0, len(clips), 16)
    ]
    workers = max(1, min(config.workers or os.cpu_count() or 1, len(parts)))
    threads, stopped = ThreadPoolExecutor(workers), Event()
    # Each thread works with a process of its own, which a damaged video may end without harm to the others.
    processes: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(workers):
        processes.put(_process())
    try:
        jobs = [
            threads.submit(_cut_part, source, clips, config, processes, stopped) for source, clips in parts
        ]
        for job in as_completed(jobs):
            yield from job.result()
    finally:
        stopped.set()
        threads.shutdown(cancel_futures=True)
        while not processes.empty():
            processes.get().shutdown()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _cut_part(
    source: Path,
    clips: Sequence[Clip],
    config: CutClipsConfig,
    processes: SimpleQueue[ProcessPoolExecutor],
    stopped: Event,
) -> list[tuple[str, Outcome]]:
    """Some clips of one source, on one of the processes."""
    outcomes: list[tuple[str, Outcome]] = []
    process = processes.get()
    try:
        for clip in clips:
            if stopped.is_set():
                break
            try:
                outcomes.append((clip.clip_id, process.submit(_cut, source, clip, config).result()))
            except BrokenProcessPool:
                outcomes.append((clip.clip_id, ("unreadable", "decoding its video ends the process")))
                process = _process()
    finally:
        processes.put(process)
    return outcomes


#: A source is looked through once for all its clips.
_opened = lru_cache(maxsize=1)(open_source)


def _cut(source: Path, clip: Clip, config: CutClipsConfig) -> Outcome:
    target = config.output / clip.file
    encoding = Encoding(config.crf, config.short_side, config.gop)
    try:
        video = _opened(source, config.frames_per_second)
        if clip.frames is not None:
            places = video.numbered(*clip.frames)
        else:
            assert clip.start is not None
            assert clip.end is not None
            places = video.timeline.span(clip.start, clip.end)
        cut_clip(video, places, target, config.least_frames, encoding, _note(clip, config))
        return "cut", ""
    except TooShort as error:
        return "too short", str(error)
    except Exception as error:  # a decoder may raise anything, and one video must not end the verb
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise GymQAError(f"{target}: cannot be written ({error}); make room and start again") from None
        return "unreadable", in_a_line(error)
