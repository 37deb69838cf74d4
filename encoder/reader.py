"""Reading the frames of a clip: only those needed, decoded once, at reduced size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.clips import Clip
from encoder.errors import EncoderError

Frames = NDArray[np.uint8]

# decord pads rows and mistakes the padding of these widths for further channels; one pixel more avoids it.
_PADDED_WIDTHS = (8, 12, 16, 24, 32, 48, 96, 144)


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says: size in pixels, frames a second, and frames (0 where it does not say)."""

    width: int
    height: int
    fps: float
    n_frames: int

    def scaled(self, short_side: int | None) -> tuple[int, int]:
        """Width and height with the short side brought down to ``short_side``; never enlarged."""
        scale = 1.0 if short_side is None else min(1.0, short_side / min(self.width, self.height))
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


def probe(path: Path) -> VideoFacts:
    """Reads a video's header. Raises EncoderError for a file that is missing, cut off or not a video."""
    container, facts = _opened(path)
    container.close()
    return facts


def _opened(path: Path) -> tuple[Any, VideoFacts]:
    """A PyAV container, and what :func:`probe` says."""
    import av

    if not path.is_file():
        raise EncoderError(f"{path}: no such video")
    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except IndexError:
        raise EncoderError(f"{path}: holds no video stream") from None
    except (av.FFmpegError, OSError) as error:
        raise EncoderError(
            f"{path}: cannot be opened as a video ({error}); it is cut off or not a video, fetch it again"
        ) from None
    fps = float(stream.average_rate or 0)
    n_frames = stream.frames
    if not n_frames and container.duration and fps:
        # Not every container counts its frames; a tenth is left for inexact durations.
        n_frames = math.floor(0.9 * container.duration / 1e6 * fps)
    return container, VideoFacts(stream.width, stream.height, fps, n_frames)


class DecordReader:
    """Frames through decord, which seeks, decodes and resizes in native code."""

    def __init__(self, path: Path, short_side: int | None = None) -> None:
        import decord

        self.path = path
        self.facts = probe(path)
        width, height = self.facts.scaled(short_side)
        width += width in _PADDED_WIDTHS
        try:
            self.reader: Any = decord.VideoReader(str(path), decord.cpu(0), width, height, num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            raise _unreadable(path, error) from None
        self.n_frames = len(self.reader)

    def read(self, indices: list[int]) -> Frames:
        """The frames ``indices`` of the video, ``(n, H, W, 3)`` RGB."""
        import decord

        try:
            return self.reader.get_batch(indices).asnumpy()
        except (RuntimeError, IndexError, decord.DECORDError) as error:
            raise _unreadable(self.path, error) from None


class PyAVReader:
    """Frames through PyAV: one pass from the start, converting only the frames that are wanted."""

    def __init__(self, path: Path, short_side: int | None = None) -> None:
        import av

        self.path = path
        # Opening a file takes as long as decoding several frames, hence once for everything.
        self.container, self.facts = _opened(path)
        self.size = self.facts.scaled(short_side)
        try:
            self.n_frames = sum(packet.size > 0 for packet in self.container.demux(video=0))
        except (av.FFmpegError, OSError) as error:
            raise _unreadable(path, error) from None

    def read(self, indices: list[int]) -> Frames:
        """The frames ``indices`` of the video, ``(n, H, W, 3)`` RGB."""
        import av

        wanted, found = set(indices), {}
        try:
            self.container.seek(0)
            for number, frame in enumerate(self.container.decode(video=0)):
                if number in wanted:
                    resized = frame.reformat(*self.size, format="rgb24", interpolation="BILINEAR")
                    found[number] = resized.to_ndarray()
                if len(found) == len(wanted):
                    break
        except (av.FFmpegError, OSError) as error:
            raise _unreadable(self.path, error) from None
        if len(found) < len(wanted):
            raise _unreadable(self.path, f"frame {min(wanted - set(found))} of {self.n_frames} is not there")
        return np.stack([found[i] for i in indices])


READERS: dict[str, type[DecordReader] | type[PyAVReader]] = {"decord": DecordReader, "pyav": PyAVReader}


def _unreadable(path: Path, reason: object) -> EncoderError:
    text = str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__
    return EncoderError(
        f"{path}: its frames cannot be decoded ({text}); it is cut off or damaged, fetch it again"
    )


def open_video(
    path: Path, short_side: int | None = None, reader: str = "decord"
) -> DecordReader | PyAVReader:
    """Opens a video with ``decord`` or ``pyav``. Raises EncoderError for one that is missing, not a video, or
    cut off."""
    if reader not in READERS:
        raise EncoderError(f"reader {reader!r}: expected one of {', '.join(READERS)}")
    video = READERS[reader](path, short_side)
    if video.n_frames < video.facts.n_frames:
        raise EncoderError(
            f"{path}: cut off: {video.n_frames} frames of the {video.facts.n_frames} that its header "
            "promises; fetch it again"
        )
    return video


def read_clip(
    clip: Clip,
    choose: Callable[[int], list[int]] | None = None,
    short_side: int | None = None,
    reader: str = "decord",
) -> Frames:
    """Frames of one clip.

    Args:
        clip: The clip.
        choose: From the number of frames in the clip to the indices of those wanted; None for all.
        short_side: Largest short side of the frames in pixels; None for the size of the video.
        reader: ``decord`` or ``pyav``.

    Returns:
        ``(n, H, W, 3)`` uint8 RGB.

    Raises:
        EncoderError: The file is missing, cut off, damaged or too short; the message names it.
    """
    video = open_video(clip.path, short_side, reader)
    first, last = clip_span(clip, video.facts.fps, video.n_frames)
    try:
        chosen = list(range(last - first)) if choose is None else choose(last - first)
    except EncoderError as error:
        raise EncoderError(f"{clip}: {error}") from None
    return video.read([first + i for i in chosen])


def clip_span(clip: Clip, fps: float, n_frames: int) -> tuple[int, int]:
    """First frame of the clip and the one after its last, in a video of ``n_frames``.

    Raises:
        EncoderError: The video ends before the clip does.
    """
    first = 0 if clip.start is None else round(clip.start * fps)
    last = n_frames if clip.end is None else round(clip.end * fps)
    # Annotated ends lie now and then a few frames behind the video's.
    if first >= n_frames or last > n_frames + max(1, round(fps)):
        raise EncoderError(
            f"{clip}: the span ends at {clip.end} s, the video at {n_frames / fps if fps else 0:.2f} s"
        )
    return first, min(last, n_frames)
