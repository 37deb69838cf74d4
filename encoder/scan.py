"""Looking through clip lists before training: every clip that cannot be used, and every odd video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from tqdm import tqdm

from encoder.clips import Clip, read_numbered_clips
from encoder.elements import TemporalElements
from encoder.errors import EncoderError
from encoder.reader import VideoFacts, clip_span, open_video

# Frames are decoded to this short side in pixels: scaling costs little, and nobody looks at them.
_SHORT_SIDE = 32
_BLOCK = 4096  # frames in memory at once
_SMALL, _LARGE, _LONG = 64, 1080, 4.0


@dataclass(frozen=True)
class VideoScan:
    """What decoding a whole video showed.

    Attributes:
        error: Why the video cannot be used, or empty.
        facts: Size, rate and frames as decoded; None for a video that could not be opened.
        odd: What is unusual about it, though it can be used.
    """

    error: str = ""
    facts: VideoFacts | None = None
    odd: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One remark on a line of a clip list.

    Attributes:
        list: The clip list.
        line: Number of the line, from 1.
        video: The video file.
        usable: False when the clip cannot be used for training.
        reason: What is the matter.
    """

    list: str
    line: int
    video: str
    usable: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.list}, line {self.line}: {'odd: ' if self.usable else ''}{self.reason}"


@dataclass
class ScanReport:
    """What a scan found.

    Attributes:
        clips: Clips looked at.
        videos: Different video files among them.
        unusable: Clips that cannot be used.
        odd: Clips that can be used, with at least one remark.
        frames: Least, median and most frames of the usable clips.
        sizes: Videos of each size ``WIDTHxHEIGHT`` in pixels.
        rates: Videos of each frame rate, in frames a second.
        findings: All remarks, in the order of the lists.
    """

    clips: int
    videos: int
    unusable: int = 0
    odd: int = 0
    frames: list[float] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as it is written to a file."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        lines.append(
            f"{self.clips} clips of {self.videos} videos: {self.unusable} unusable, {self.odd} odd"
            + (
                "; at least {:g}, in the median {:g}, at most {:g} frames".format(*self.frames)
                if self.frames
                else ""
            )
        )
        return "\n".join(lines)


def scan_clips(
    lists: Iterable[Path],
    elements: TemporalElements,
    video_root: Path | None = None,
    reader: str = "decord",
    workers: int = 2,
) -> ScanReport:
    """Decodes every frame of every video of some clip lists and says what is wrong with which line.

    Args:
        lists: Clip lists, see :func:`encoder.clips.read_numbered_clips`.
        elements: The temporal elements: a clip needs as many frames as the context element.
        video_root: Folder that the videos' paths start from; None for each list's own.
        reader: ``decord`` or ``pyav``, as training is to read them.
        workers: Worker processes.

    Raises:
        EncoderError: A list is not there or does not parse. Bad videos are reported, not raised.
    """
    rows = [(str(path), *row) for path in lists for row in read_numbered_clips(path, video_root)]
    videos = list(dict.fromkeys(clip.path for _, _, clip in rows))
    scanned = dict(_scan_all(videos, reader, workers))
    report = ScanReport(len(rows), len(videos))
    frames: list[int] = []
    first_line: dict[Clip, str] = {}
    for name, line, clip in rows:
        note = partial(Finding, name, line, str(clip.path))
        found = scanned[clip.path]
        error, n_frames = _judge(clip, found, elements)
        if error:
            report.unusable += 1
            report.findings.append(note(usable=False, reason=error))
            continue
        frames.append(n_frames)
        odd = list(found.odd)
        if clip in first_line:
            odd.append(f"{clip}: stands twice, also in {first_line[clip]}")
        first_line.setdefault(clip, f"{name}, line {line}")
        report.odd += bool(odd)
        report.findings += [note(usable=True, reason=reason) for reason in odd]
    if frames:
        report.frames = [min(frames), median(frames), max(frames)]
    for found in scanned.values():
        if found.facts is not None:
            for counts, key in (
                (report.sizes, f"{found.facts.width}x{found.facts.height}"),
                (report.rates, f"{found.facts.fps:.3f}".rstrip("0").rstrip(".")),
            ):
                counts[key] = counts.get(key, 0) + 1
    return report


def _judge(clip: Clip, found: VideoScan, elements: TemporalElements) -> tuple[str, int]:
    """Why the clip cannot be used (or an empty text), and its frames."""
    if found.error or found.facts is None:
        return found.error, 0
    try:
        first, last = clip_span(clip, found.facts.fps, found.facts.n_frames)
    except EncoderError as error:
        return str(error), 0
    try:
        elements.sample(last - first)
    except EncoderError as error:
        return f"{clip}: {error}", 0
    return "", last - first


def _scan_all(videos: list[Path], reader: str, workers: int) -> Iterator[tuple[Path, VideoScan]]:
    """Every video and what was found. A video that kills its worker is found out by scanning alone those that
    were left without an answer."""
    left = set(videos)
    with tqdm(total=len(videos), desc="scanning", unit="video") as bar:
        try:
            with ProcessPoolExecutor(max(1, workers)) as pool:
                jobs = {pool.submit(scan_video, path, reader): path for path in videos}
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
                    left.remove(jobs[job])
                    bar.update()
        except BrokenProcessPool:
            pass
        for path in [path for path in videos if path in left]:
            with ProcessPoolExecutor(1) as pool:
                try:
                    yield path, pool.submit(scan_video, path, reader).result()
                except BrokenProcessPool:
                    message = f"{path}: decoding it ends the process; it is damaged, fetch it again"
                    yield path, VideoScan(message)
            bar.update()


def scan_video(path: Path, reader: str = "decord") -> VideoScan:
    """Decodes every frame of a video, with the reader that training uses. Raises nothing for a bad video."""
    facts = None
    try:
        video = open_video(path, _SHORT_SIDE, reader)
        facts = VideoFacts(video.facts.width, video.facts.height, video.facts.fps, video.n_frames)
        if video.n_frames == 0:
            return VideoScan(f"{path}: holds no frame; fetch it again", facts)
        for start in range(0, video.n_frames, _BLOCK):
            video.read(list(range(start, min(start + _BLOCK, video.n_frames))))
        gaps = _frame_gaps(path)
    except (EncoderError, av.FFmpegError, OSError) as error:
        text = str(error)
        return VideoScan(text if str(path) in text else f"{path}: {text}", facts)
    return VideoScan("", facts, tuple(f"{path}: {reason}" for reason in _oddities(facts, gaps)))


def _frame_gaps(path: Path) -> list[int]:
    """Times between neighbouring frames, in units of the stream's time base."""
    with av.open(str(path)) as container:
        times = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    return np.diff(times).tolist()


def _oddities(facts: VideoFacts, gaps: list[int]) -> Iterator[str]:
    if gaps and max(gaps) - min(gaps) > max(1, 0.1 * median(gaps)):
        yield (
            f"the frame rate varies: frames are shown for {min(gaps) / median(gaps):.2f} to "
            f"{max(gaps) / median(gaps):.2f} times the usual; frames are counted, not timed"
        )
    if facts.fps <= 0:
        yield "no frame rate is given; spans in seconds cannot be found in it"
    width, height = facts.width, facts.height
    if width % 2 or height % 2:
        yield f"{width} × {height} pixels is an odd size; some decoders drop the last row or column"
    short, long = sorted((width, height))
    if short < _SMALL:
        yield f"{width} × {height} pixels is very small"
    if short > _LARGE:
        yield f"{width} × {height} pixels is very large; decoding will be slow, cut or re-encode it smaller"
    if long > _LONG * short:
        yield f"{width} × {height} pixels is very long; a square crop shows little of it"
