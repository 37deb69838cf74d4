"""Turning frames as their file says that they are to be shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Turn:
    """How a picture is turned: rows and columns are exchanged, then each may be mirrored.

    Attributes:
        exchanged: rows become columns: width and height change places.
        upside_down: the rows are then in the other order.
        left_right: the columns are then in the other order.
    """

    exchanged: bool = False
    upside_down: bool = False
    left_right: bool = False


def turn_of(frame: VideoFrame) -> Turn:
    """What the display matrix of a frame asks for, to the nearest quarter turn (ISO/IEC 14496-12, 8.2.2)."""
    sides: Any = frame.side_data
    for side in sides:
        if side.type.name == "DISPLAYMATRIX":
            # A pixel (x, y) is shown at (a x + c y, b x + d y).
            a, b, _, c, d = struct.unpack("=5i", bytes(side)[:20])
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return Turn(False, d < 0, a < 0)
            return Turn(True, b < 0, c < 0)
    return Turn()


def turned(frame: VideoFrame, turn: Turn) -> VideoFrame:
    """A frame in yuv420p, of even width and height, turned."""
    if turn == Turn():
        return frame
    height, width = frame.height, frame.width
    luma, *chroma = np.split(frame.to_ndarray().reshape(-1), [height * width, height * width * 5 // 4])
    planes = [luma.reshape(height, width), *(part.reshape(height // 2, width // 2) for part in chroma)]
    if turn.exchanged:
        planes, height, width = [plane.T for plane in planes], width, height
    rows, columns = (slice(None, None, -1 if flip else 1) for flip in (turn.upside_down, turn.left_right))
    picture = np.concatenate([plane[rows, columns].reshape(-1) for plane in planes])
    return VideoFrame.from_ndarray(picture.reshape(-1, width), format="yuv420p")
