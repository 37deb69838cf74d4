"""Turning frames as their file says that they are to be shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Turn:
    """A turn by quarters, with or without a reflection.

    Attributes:
        exchanged: Rows become columns: height and width change places.
        rows: Step of the rows then, −1 where they are reversed.
        columns: Step of the columns then.
    """

    exchanged: bool = False
    rows: int = 1
    columns: int = 1

    def size(self, first: int, second: int) -> tuple[int, int]:
        """Two sides of a picture, exchanged where the turn does so."""
        return (second, first) if self.exchanged else (first, second)

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture ``(H, W, 3)`` as it is to be seen."""
        turned = picture.swapaxes(0, 1) if self.exchanged else picture
        return np.ascontiguousarray(turned[:: self.rows, :: self.columns])


def turn_of(frame: Any) -> Turn:
    """What a frame's display matrix says (ISO/IEC 14496-12, 6.2.2), to the nearest quarter turn."""
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])
    except KeyError:
        return Turn()
    except ValueError:  # side data of a kind that PyAV does not know yet hides all the others
        return {90: Turn(True, -1, 1), -90: Turn(True, 1, -1), 180: Turn(False, -1, -1)}.get(
            frame.rotation, Turn()
        )
    # A pixel at (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, -1 if d < 0 else 1, -1 if a < 0 else 1)
    return Turn(True, -1 if b < 0 else 1, -1 if c < 0 else 1)
