"""Looking through clip lists before training: every clip that cannot be used, and every odd video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from encoder.errors import EncoderError
from encoder.processes.alone import alone, ends_process
from encoder.video.clips import Clip, read_numbered_clips
from encoder.video.elements import TemporalElements
from encoder.video.reader import Video, clip_span, open_video
from encoder.video.video_facts import Frames, VideoFacts

# Frames are decoded to this short side in pixels: scaling costs little, and nobody looks at them.
_SHORT_SIDE = 32
_BLOCK = 4096  # frames in memory at once
_SMALL, _LARGE, _LONG = 64, 1080, 4.0
_VARIES = 0.1  # of the usual time between frames

Source = tuple[Path, float | None]  # a file, or a folder and its pictures a second


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
    reader: str = "pyav",
    workers: int = 2,
) -> ScanReport:
    """Decodes every frame of every video of some clip lists and says what is wrong with which line.

    Args:
        lists: Clip lists, see :func:`encoder.video.clips.read_numbered_clips`.
        elements: The temporal elements: a clip needs as many frames as the context element.
        video_root: Folder that the videos' paths start from; None for each list's own.
        reader: ``pyav`` or ``decord``, as training is to read them.
        workers: Worker processes.

    Raises:
        EncoderError: A list is not there or does not parse. Bad videos are reported, not raised.
    """
    rows = [(str(path), *row) for path in lists for row in read_numbered_clips(path, video_root)]
    videos = list(dict.fromkeys((clip.path, clip.rate) for _, _, clip in rows))
    scanned = dict(_scan_all(videos, reader, workers))
    report = ScanReport(len(rows), len(videos))
    frames: list[int] = []
    first_line: dict[Clip, str] = {}
    for name, line, clip in rows:
        note = partial(Finding, name, line, str(clip.path))
        scan = scanned[clip.path, clip.rate]
        error, n_frames = _judge(clip, scan, elements)
        if error:
            report.unusable += 1
            report.findings.append(note(usable=False, reason=error))
            continue
        frames.append(n_frames)
        odd = list(scan.odd)
        if clip in first_line:
            odd.append(f"{clip}: stands twice, also in {first_line[clip]}")
        first_line.setdefault(clip, f"{name}, line {line}")
        report.odd += bool(odd)
        report.findings += [note(usable=True, reason=reason) for reason in odd]
    if frames:
        report.frames = [min(frames), median(frames), max(frames)]
    for scan in scanned.values():
        if scan.facts is not None:
            for counts, key in (
                (report.sizes, f"{scan.facts.width}x{scan.facts.height}"),
                (report.rates, f"{scan.facts.fps:.3f}".rstrip("0").rstrip(".")),
            ):
                counts[key] = counts.get(key, 0) + 1
    return report


def _judge(clip: Clip, scan: VideoScan, elements: TemporalElements) -> tuple[str, int]:
    """Why the clip cannot be used (or an empty text), and its frames."""
    if scan.error or scan.facts is None:
        return scan.error, 0
    try:
        first, last = clip_span(clip, scan.facts)
    except EncoderError as error:
        return str(error), 0
    try:
        elements.sample(last - first)
    except EncoderError as error:
        return f"{clip}: {error}", 0
    return "", last - first


def _scan_all(videos: list[Source], reader: str, workers: int) -> Iterator[tuple[Source, VideoScan]]:
    """Every video and what was found. A video that kills its worker is found out by scanning alone those that
    were left without an answer."""
    left = set(videos)
    with tqdm(total=len(videos), desc="scanning", unit="video") as bar:
        try:
            with ProcessPoolExecutor(max(1, workers)) as pool:
                jobs = {pool.submit(scan_video, path, reader, rate): (path, rate) for path, rate in videos}
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
                    left.remove(jobs[job])
                    bar.update()
        except BrokenProcessPool:
            pass
        for path, rate in [video for video in videos if video in left]:
            yield (path, rate), alone(scan_video, path, reader, rate) or VideoScan(ends_process(path))
            bar.update()


def scan_video(path: Path, reader: str = "pyav", rate: float | None = None) -> VideoScan:
    """Decodes every frame of a video, with the reader that training uses. Raises nothing for a bad video.

    Args:
        path: The file, or a folder of pictures.
        reader: ``pyav`` or ``decord``.
        rate: Pictures a second of a folder.
    """
    facts = None
    try:
        with closing(open_video(path, _SHORT_SIDE, reader, rate)) as video:
            facts = promised = video.facts
            prints = _in_sequence(video)
            facts = video.facts
        if not prints:
            return VideoScan(f"{path}: holds no frame; fetch it again", facts)
        wrong = _differs_alone(path, reader, rate, prints)
    except Exception as error:  # of any class: that is up to the decoder
        text = str(error) or type(error).__name__
        return VideoScan(text if str(path) in text else f"{path}: {text}", facts)
    if wrong is not None:
        text = f"frame {wrong} is another one when it is read alone than in the sequence; re-encode the video"
        return VideoScan(f"{path}: {text}", facts)
    odd = [] if path.is_dir() else [*_rhythm(facts)]
    if promised.n_frames != facts.n_frames:
        odd.append(
            f"of {promised.n_frames} frames that it holds {facts.n_frames} can be decoded; re-encode it"
        )
    return VideoScan("", facts, tuple(f"{path}: {reason}" for reason in (*odd, *_oddities(facts))))


def _in_sequence(video: Video) -> list[bytes]:
    """A print of each frame, read in turn."""
    prints: list[bytes] = []
    facts = video.facts
    while len(prints) < facts.n_frames:
        block = range(len(prints), min(len(prints) + _BLOCK, facts.n_frames))
        prints += [_print(frame) for frame in video.read(list(block))]
        if video.facts is not facts:  # reading has shown that there are other frames
            facts, prints = video.facts, []
    return prints


def _differs_alone(path: Path, reader: str, rate: float | None, prints: list[bytes]) -> int | None:
    """The first of some frames, read each by itself and out of turn, that is another one than in sequence."""
    with closing(open_video(path, _SHORT_SIDE, reader, rate)) as video:
        n = len(prints)
        for number in (n - 1, n // 3, 2 * n // 3):
            if _print(video.read([number])[0]) != prints[number]:
                return number
    return None


def _print(frame: Frames) -> bytes:
    return blake2b(frame.tobytes(), digest_size=8).digest()


def _rhythm(facts: VideoFacts) -> Iterator[str]:
    gaps = np.empty(0) if facts.seconds is None else np.diff(facts.seconds) * facts.fps
    if len(gaps) and gaps.max() - gaps.min() > _VARIES:
        yield (
            f"the frame rate varies: frames are shown for {gaps.min():.2f} to {gaps.max():.2f} times the "
            "usual; spans are found by time, the frames in them are counted"
        )
    if facts.fps <= 0:
        yield "no frame rate is given; spans in seconds cannot be found in it"


def _oddities(facts: VideoFacts) -> Iterator[str]:
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
