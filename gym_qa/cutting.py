"""Cutting one clip out of a source video, exact to the frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gym_qa.files import written_whole

Span = tuple[float, float]


class TooShort(Exception):
    """The source video ends before the clip does, or the clip is shorter than asked for."""


def frames_between(container: av.container.InputContainer, start: float, end: float) -> Iterator[VideoFrame]:
    """The frames shown from ``start`` (inclusive) to ``end`` (exclusive), in seconds from the first frame.

    A frame counts as shown at its own time; times are compared to within half a frame, since annotations are
    rounded.
    """
    stream = container.streams.video[0]
    slack = 1 / (2 * rate(stream))
    for shown, frame in _from(container, stream, start - slack):
        if shown >= end - slack:
            return
        if shown >= start - slack:
            yield frame


def _from(
    container: av.container.InputContainer, stream: VideoStream, start: float
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Decode from a frame at or before ``start``, with each frame's time.

    Some containers' indexes lead past the time asked for; then decoding starts at the beginning.
    """
    base, origin = time_base(stream), stream.start_time or 0
    for wanted in (max(0.0, start), 0.0):
        container.seek(int(wanted / base) + origin, stream=stream, backward=True, any_frame=False)
        timed = (((f.pts - origin) * base, f) for f in container.decode(stream) if f.pts is not None)
        first = next(timed, None)
        if first is not None and (first[0] <= wanted or wanted == 0):
            yield first
            yield from timed
            return


def rate(stream: VideoStream) -> Fraction:
    """Frames per second."""
    found = stream.average_rate or stream.guessed_rate
    if not found:
        raise ValueError("it does not say its frame rate")
    return Fraction(found)


def time_base(stream: VideoStream) -> Fraction:
    """Seconds a tick."""
    if not stream.time_base:
        raise ValueError("it does not say its time base")
    return Fraction(stream.time_base)


def cut_clip(source: Path, span: Span, target: Path, least: int, crf: int) -> int:
    """Write one clip as H.264, at the source's size and frame rate.

    Args:
        source: the full video.
        span: first and last second of the clip.
        target: the file to write; it appears only when it is whole.
        least: frames that a clip must have.
        crf: constant rate factor of x264, lower is better.

    Returns:
        The number of frames.

    Raises:
        TooShort: for fewer frames than ``least``, or more than one fewer than the span calls for.
        OSError, ValueError: where the source cannot be decoded.
    """
    with written_whole(target) as temporary:
        with av.open(str(source)) as container:
            speed = rate(container.streams.video[0])
            count = _encode(frames_between(container, *span), temporary, speed, crf)
        expected = round((span[1] - span[0]) * speed)
        if count < max(least, expected - 1):
            raise TooShort(f"{count} frames of {max(least, expected)}")
    return count


def _encode(frames: Iterator[VideoFrame], path: Path, speed: Fraction, crf: int) -> int:
    """Write frames to a file; returns their number. Writes nothing for none."""
    first = next(frames, None)
    if first is None:
        return 0
    with av.open(str(path), "w", format="mp4") as container:
        options = {"preset": "veryfast", "crf": str(crf), "threads": "1"}
        stream = container.add_stream("libx264", rate=speed, options=options)
        # x264's 4:2:0 needs even sides; an odd one loses its last row or column of pixels to scaling.
        stream.width, stream.height = first.width // 2 * 2, first.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / speed
        number = 0
        frame: VideoFrame | None = first
        while frame is not None:
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, 1 / speed
            container.mux(stream.encode(frame))
            number += 1
            frame = next(frames, None)
        container.mux(stream.encode())
    return number


def is_whole(path: Path, least: int) -> bool:
    """Whether a clip is there and its index, which is written last, names at least so many frames."""
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames >= least
    except (OSError, ValueError, IndexError):
        return False
