"""The verb ``cut-clips``: from downloaded source videos to the trimmed clips that training reads."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from gym_qa.cutting import TooShort, cut_clip, is_whole
from gym_qa.errors import GymQAError
from gym_qa.files import write_text
from gym_qa.sources import DataFiles, read_tables
from gym_qa.table import Clip

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")


@dataclass(frozen=True, kw_only=True)
class CutClipsConfig(DataFiles):
    """Cut trimmed clips out of downloaded source videos, exact to the frame.

    Started again, it skips every clip that is there and whole. It ends in a report of what is missing,
    unreadable or too short, also written to ``cut_report.json`` beside the clips.

    Attributes:
        sources: folder of the source videos, ``<video id>.mp4`` (or .mkv, .webm, .mov, .avi).
        output: folder for the clips, ``<clip id>.mp4``.
        least_frames: a clip with fewer is reported and not written; SeFAR's context element needs 4.
        crf: quality of the clips: x264's constant rate factor, lower is better and larger.
        workers: processes; 0 means one per processor.
    """

    sources: Path
    output: Path
    least_frames: int = 4
    crf: int = 18
    workers: int = 0


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

    def __str__(self) -> str:
        absent = sum(map(len, self.missing.values()))
        return (
            f"{self.cut} clips cut, {self.kept} were there; "
            f"{absent} lack their source video ({len(self.missing)} videos missing), "
            f"{len(self.unreadable)} unreadable, {len(self.too_short)} too short"
        )


#: One clip's outcome: (clip id, what happened, why).
Outcome = tuple[str, str, str]


def cut_clips(config: CutClipsConfig) -> CutReport:
    """Run the verb."""
    train, val = read_tables(config)
    clips = (*train.clips, *val.clips)
    untimed = [clip.clip_id for clip in clips if clip.start is None or clip.end is None]
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
        rest = [clip for clip in members if not is_whole(config.output / clip.file, config.least_frames)]
        report.kept += len(members) - len(rest)
        source = _find(config.sources, video)
        if source is None and rest:
            report.missing[video] = [clip.clip_id for clip in rest]
        elif source is not None and rest:
            todo.append((source, rest))
    with tqdm(total=sum(len(rest) for _, rest in todo), desc="cutting clips", unit="clip") as bar:
        for clip_id, outcome, why in _in_parallel(todo, config):
            bar.update()
            if outcome == "cut":
                report.cut += 1
            else:
                (report.unreadable if outcome == "unreadable" else report.too_short)[clip_id] = why
    write_text(config.output / "cut_report.json", json.dumps(asdict(report), indent=1) + "\n")
    print(report)
    return report


def _by_video(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    found: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip.source_video, clip.start or 0.0)):
        found[clip.source_video].append(clip)
    return found


def _find(folder: Path, video: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{video}{suffix}").is_file()), None)


def _in_parallel(todo: Sequence[tuple[Path, list[Clip]]], config: CutClipsConfig) -> Iterator[Outcome]:
    """Source video by source video, on worker processes."""
    workers = min(config.workers or os.cpu_count() or 1, len(todo))
    if workers <= 1:
        for source, clips in todo:
            yield from _cut_video(source, clips, config.output, config.least_frames, config.crf)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                _cut_video, source, clips[first : first + 16], config.output, config.least_frames, config.crf
            )
            for source, clips in todo
            for first in range(0, len(clips), 16)
        ]
        for job in as_completed(jobs):
            yield from job.result()


def _cut_video(source: Path, clips: Sequence[Clip], output: Path, least: int, crf: int) -> list[Outcome]:
    found: list[Outcome] = []
    for clip in clips:
        assert clip.start is not None
        assert clip.end is not None
        try:
            cut_clip(source, (clip.start, clip.end), output / clip.file, least, crf)
            found.append((clip.clip_id, "cut", ""))
        except TooShort as error:
            found.append((clip.clip_id, "too short", str(error)))
        except (OSError, ValueError, IndexError) as error:  # what PyAV raises for a damaged or empty file
            found.append((clip.clip_id, "unreadable", str(error) or type(error).__name__))
    return found
