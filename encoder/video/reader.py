"""Reading the frames of a clip: only those needed, decoded once, at reduced size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from encoder.errors import EncoderError
from encoder.video.clips import Clip
from encoder.video.decord_reader import DecordReader
from encoder.video.pictures import PictureReader
from encoder.video.pyav_reader import PyAVReader
from encoder.video.video_facts import Frames, VideoFacts

Video = PyAVReader | DecordReader | PictureReader
READERS: dict[str, type[PyAVReader] | type[DecordReader]] = {"pyav": PyAVReader, "decord": DecordReader}


def open_video(
    path: Path, short_side: int | None = None, reader: str = "pyav", rate: float | None = None
) -> Video:
    """Opens a video, or a folder of pictures.

    Args:
        path: The file or folder.
        short_side: Largest short side of the frames in pixels; None for the size of the video.
        reader: ``pyav`` or ``decord``, for files.
        rate: Pictures a second of a folder; None where it is not known.

    Raises:
        EncoderError: It is missing, not a video, cut off, or cannot be decoded.
    """
    if reader not in READERS:
        raise EncoderError(f"reader {reader!r}: expected one of {', '.join(READERS)}")
    if path.is_dir():
        return PictureReader(path, short_side, rate)
    if rate is not None:
        raise EncoderError(f"{path}: is not a folder of pictures and has a rate of its own; give none for it")
    return READERS[reader](path, short_side)


def read_clip(
    clip: Clip,
    choose: Callable[[int], list[int]] | None = None,
    short_side: int | None = None,
    reader: str = "pyav",
) -> Frames:
    """Frames of one clip.

    Args:
        clip: The clip.
        choose: From the number of frames in the clip to the indices of those wanted; None for all. It may be
            called twice, and has to give the same for the same number.
        short_side: Largest short side of the frames in pixels; None for the size of the video.
        reader: ``pyav`` or ``decord``.

    Returns:
        ``(n, H, W, 3)`` uint8 RGB.

    Raises:
        EncoderError: The file is missing, cut off, damaged or too short; the message names it.
    """
    return read_timed_clip(clip, choose, short_side, reader)[0]


def read_timed_clip(
    clip: Clip,
    choose: Callable[[int], list[int]] | None = None,
    short_side: int | None = None,
    reader: str = "pyav",
) -> tuple[Frames, list[float]]:
    """As :func:`read_clip`, and when each frame is shown in its video, in seconds; none where unknown."""
    with closing(open_video(clip.path, short_side, reader, clip.rate)) as video:
        while True:
            facts = video.facts
            first, last = clip_span(clip, facts)
            try:
                chosen = list(range(last - first)) if choose is None else choose(last - first)
            except EncoderError as error:
                raise EncoderError(f"{clip}: {error}") from None
            numbers = [first + i for i in chosen]
            try:
                frames = video.read(numbers)
            except EncoderError:
                if video.facts is facts:
                    raise
            if video.facts is facts:  # otherwise reading has shown that there are other frames
                times = [facts.time(number) for number in numbers]
                return frames, [time for time in times if time is not None]


def clip_span(clip: Clip, facts: VideoFacts) -> tuple[int, int]:
    """First frame of the clip and the one after its last.

    A frame belongs to the clip in whose span it appears, to half a frame: annotated times are rounded.

    Raises:
        EncoderError: The video ends before the clip does, shows no frame in it, or does not tell when its
            frames are shown.
    """
    if clip.start is None and clip.end is None:
        return 0, facts.n_frames
    if not facts.fps:
        raise EncoderError(
            f"{clip}: no frame rate is known, by which its span in seconds could be found; for a folder of "
            "pictures give 'rate'"
        )
    first = 0 if clip.start is None else _frame_at(clip.start, facts)
    last = facts.n_frames if clip.end is None else _frame_at(clip.end, facts)
    # Annotated ends lie now and then a few frames behind the video's.
    if first >= facts.n_frames or last > facts.n_frames + max(1, round(facts.fps)):
        bound = f"ends at {clip.end} s" if clip.end is not None else f"begins at {clip.start} s"
        raise EncoderError(f"{clip}: the span {bound}, the video at {facts.duration:.2f} s")
    if first >= last:
        raise EncoderError(f"{clip}: no frame is shown in its span")
    return first, min(last, facts.n_frames)


def _frame_at(time: float, facts: VideoFacts) -> int:
    """The first frame shown at ``time`` or later, or less than half a frame earlier."""
    seconds = facts.seconds
    if seconds is None:
        return round(time * facts.fps)
    if time > facts.duration:
        return facts.n_frames + round((time - facts.duration) * facts.fps)
    after = int(np.searchsorted(seconds, time))
    if after == 0:
        return 0
    around = np.append(np.diff(seconds[max(0, after - 2) : after + 1]), 1 / facts.fps)
    return after - int(time - seconds[after - 1] < around.min() / 2)
