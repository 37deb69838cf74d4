"""A video file's packets and frames in order, from the beginning or from a packet within."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.video.timetable import Start, Timetable

_ORDINARY_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_ORDINARY_CODECS = ("h264", "vp8", "vp9", "libdav1d")


class Astray(Exception):
    """Other packets or frames came than the timetable says."""


class VideoFile:
    """The moving picture of a file, through PyAV.

    Args:
        path: The file.

    Attributes:
        stream: PyAV's stream.

    Raises:
        EncoderError: There is no such file, it is not a video, or no decoder is known for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise EncoderError(f"{path}: no such video")
        self._open()

    def _open(self) -> None:
        import av

        try:
            # FFmpeg takes what stands before ``:`` in a relative path for a protocol.
            self._container = av.open(str(self.path.absolute()))
        except Exception as error:  # of any class: that is up to the demuxer
            raise EncoderError(
                f"{self.path}: cannot be opened as a video ({error}); it is cut off or not a video, "
                "fetch it again"
            ) from None
        self._is_new = True
        streams = self._container.streams
        still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        moving = [stream for stream in streams.video if not stream.disposition & still]
        if not moving:
            only = "a cover picture" if streams.video else "sound" if streams.audio else ""
            self.close()
            raise EncoderError(
                f"{self.path}: holds no video{only and f', only {only}'}; take it out of the list"
            )
        self.stream: Any = moving[0]
        if self.stream.codec_context is None:
            self.close()
            raise EncoderError(f"{self.path}: no decoder is known for it; convert it, for example to H.264")
        self.stream.codec_context.thread_count = 1

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    @property
    def format(self) -> str:
        """FFmpeg's name of the container's format."""
        return str(self._container.format.name)

    @property
    def is_ordinary(self) -> bool:
        """Whether it is mp4, mov, Matroska or WebM, with one picture in a codec of these."""
        streams, codec = self._container.streams.video, self.stream.codec_context.name
        return self.format in _ORDINARY_FORMATS and codec in _ORDINARY_CODECS and len(streams) == 1

    @property
    def stores_order_alone(self) -> bool:
        """Whether its container stores in which order frames are decoded, and not when they are shown."""
        return self.format in ("avi", "asf")

    @property
    def guesses_times(self) -> bool:
        """Whether FFmpeg can but guess when packets are shown: this codec has an order of its own."""
        context = self.stream.codec_context
        return self.stores_order_alone and context.name in ("h264", "hevc") and bool(context.has_b_frames)

    def packets(self) -> Iterator[Any]:
        """All packets from the beginning, then an empty one, at which a decoder gives its last frames."""
        if not self._is_new:
            self.close()
            self._open()
        self._is_new = False
        return self._demuxed()

    def _demuxed(self) -> Iterator[Any]:
        # Empty packets within the file stand for frames that were dropped.
        return (p for p in self._container.demux(self.stream) if p.size or p.dts is None)

    def frames(self) -> Iterator[Any]:
        """All frames in one pass from the beginning."""
        return chain.from_iterable(packet.decode() for packet in self.packets())

    def frames_from(self, start: Start, table: Timetable) -> Iterator[tuple[int, Any]]:
        """Numbers and frames from ``start`` on.

        Raises:
            Astray: A packet or frame is not that of the timetable.
        """
        number, begun = start.frame, start.packet == 0
        for packet in self._packets_from(start, table):
            for frame in packet.decode():
                if not begun and frame.pts is not None and frame.pts < table.ticks[number]:
                    continue  # stored behind the key frame and shown before it: it may lack what it refers to
                begun = True
                if number == len(table) or frame.pts != table.ticks[number]:
                    raise Astray
                yield number, frame
                number += 1
        if number < len(table):
            raise Astray

    def _packets_from(self, start: Start, table: Timetable) -> Iterator[Any]:
        position = start.packet
        for packet in self._sought(start, table):
            if packet.size:
                if not table.is_packet(position, packet):
                    raise Astray
                position += 1
            yield packet

    def _sought(self, start: Start, table: Timetable) -> Iterator[Any]:
        """The packets from ``start`` on; where no seek leads there or before, those before are skipped."""
        for time in (start.shown, start.decoded):
            if self._is_new and not start.packet:
                break
            self._is_new = False
            try:
                self._container.seek(time, stream=self.stream)
                packets = self._demuxed()
                first = next(packets)
                position = table.position_of(first)
                if position is not None and position <= start.packet:
                    ahead = chain([first], packets)
                    if all(table.is_packet(at, next(ahead)) for at in range(position, start.packet)):
                        return ahead
            except Exception:  # this container cannot seek there
                continue
        return islice(self.packets(), start.packet, None)
