"""A small triangle rasteriser: which triangle each pixel shows, and what its corners say there.

By rows: a triangle's edges bound a span in each row of pixels it crosses; only pixels inside are ever made.
"""

from __future__ import annotations

import numpy as np

FAR = np.iinfo(np.int64).max


def rasterise(
    points: np.ndarray, values: np.ndarray, faces: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the triangles that face the viewer, the nearest on top.

    Args:
        points: ``(V, 3)`` float32: pixels right, pixels down, positive distance from the viewer.
        values: ``(K, V)`` float32 to interpolate.
        faces: ``(3, F)`` vertex numbers, clockwise as seen from the front.
        side: width and height of the picture.

    Returns:
        Of each covered pixel its number ``row * side + column``, the number of the triangle seen, and the
        values ``(K, P)`` there.
    """
    x, y = points[:, 0][faces], points[:, 1][faces]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    front = np.flatnonzero(area > 0.01)
    x, y, area, faces = x[:, front], y[:, front], area[front], faces[:, front]
    triangle, row, column = _covered(x, y, side)
    said = np.concatenate([points[None, :, 2], values])[:, faces]  # (1 + K, 3, n)
    base, one, two = said[:, 0], said[:, 1] - said[:, 0], said[:, 2] - said[:, 0]
    right = (one * (y[2] - y[0]) - two * (y[1] - y[0])) / area
    down = (two * (x[1] - x[0]) - one * (x[2] - x[0])) / area
    base = base - right * (x[0] - 0.5) - down * (y[0] - 0.5)  # value = base + right * column + down * row

    depth = base[0][triangle] + right[0][triangle] * column + down[0][triangle] * row
    near_first = np.maximum(depth, 0).astype(np.float32).view(np.int32).astype(np.int64)
    nearest = np.full(side * side, FAR)
    np.minimum.at(nearest, row * side + column, near_first << 32 | np.arange(len(row)))
    pixel = np.flatnonzero(nearest != FAR)
    seen = nearest[pixel] & 0xFFFFFFFF
    triangle, row, column = triangle[seen], row[seen].astype(np.float32), column[seen].astype(np.float32)
    planes = np.stack([base[1:], right[1:], down[1:]]).take(triangle, axis=2)
    return pixel, front[triangle], planes[0] + planes[1] * column + planes[2] * row


def _covered(x: np.ndarray, y: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangle, row and column of each pixel whose middle lies in a triangle; shared edges belong to one."""
    fall = y[[1, 2, 0]] - y
    slope = (x[[1, 2, 0]] - x) / np.where(fall == 0, 1, fall)
    at_top = x - slope * (y - 0.5)  # where the edge crosses the middle of row 0
    begin = np.ceil(np.minimum(np.minimum(y[0], y[1]), y[2]) - 0.5)
    end = np.ceil(np.maximum(np.maximum(y[0], y[1]), y[2]) - 0.5)
    triangle, row = _ranges(begin, end, side)
    edges = np.concatenate(
        [slope, np.where(fall < 0, at_top, -np.inf), np.where(fall > 0, at_top, np.inf)], dtype=np.float32
    ).take(triangle, axis=1)
    rise = edges[:3] * row.astype(np.float32)
    left, right = edges[3:6] + rise, edges[6:] + rise
    first = np.maximum(np.maximum(left[0], left[1]), left[2])
    last = np.minimum(np.minimum(right[0], right[1]), right[2])
    span, column = _ranges(np.ceil(first - 0.5), np.ceil(last - 0.5), side)
    return triangle[span], row[span], column


def _ranges(begin: np.ndarray, end: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of ``range(begin[i], end[i])`` inside the picture, in a row, each with its ``i``."""
    first = np.clip(begin, 0, side).astype(np.int64)
    count = np.maximum(np.clip(end, 0, side).astype(np.int64) - first, 0)
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + (first - np.cumsum(count) + count)[owner]
