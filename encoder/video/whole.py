"""Whether a video file ends where its container says that it does.

A download that broke off leaves a file whose outermost element promises bytes that are not there. Nothing is
guessed from duration and frame rate: a good file may have any number of frames in its time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid")


def missing_bytes(path: Path) -> int:
    """Bytes that the container says there are beyond the file's end; 0 where it does not say.

    Knows ISO media files (mp4, mov, 3gp; ISO/IEC 14496-12), Matroska and WebM (RFC 9559), AVI and ASF (wmv).
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        file.seek(0)
        if head[:4] == b"RIFF":
            ends = _riff_ends(file)
        elif head[:4] == _EBML:
            ends = _matroska_ends(file)
        elif head == _ASF:
            ends = _asf_ends(file)
        elif head[4:8] in _BOXES:
            ends = _box_ends(file, size)
        else:
            return 0
        return max(0, max(ends, default=0) - size)


def _riff_ends(file: BinaryIO) -> Iterator[int]:
    """Ends of an AVI's RIFF chunks, of which a long one has several."""
    end = 0
    while len(head := file.read(8)) == 8 and head[:4] == b"RIFF":
        end += 8 + struct.unpack("<I", head[4:])[0]
        yield end
        file.seek(end)


def _box_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the outermost boxes."""
    end = 0
    while end < size:
        head = file.read(16)
        if len(head) < 8 or not head[4:8].isalnum():
            return  # bytes that no reader looks at
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if length < 8:  # 0: to the end of the file
            return
        end += length
        yield end
        file.seek(end)


def _matroska_ends(file: BinaryIO) -> Iterator[int]:
    """End of the segment, which holds everything but a short header."""
    for name in (_EBML, _SEGMENT):
        if file.read(4) != name:
            return
        first = file.read(1)
        width = 9 - first[0].bit_length() if first else 9
        if width > 8:
            return
        rest = file.read(width - 1)
        length = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
        if length == (1 << 7 * width) - 1:  # a live recording does not know its length
            return
        end = file.tell() + length
        file.seek(end)
    yield end


def _asf_ends(file: BinaryIO) -> Iterator[int]:
    head = file.read(65536)
    start = head.find(_ASF_FILE_PROPERTIES)
    if start >= 0 and len(head) >= start + 92 and not head[start + 88] & 1:  # 1: a broadcast, of no length
        yield struct.unpack("<Q", head[start + 40 : start + 48])[0]
