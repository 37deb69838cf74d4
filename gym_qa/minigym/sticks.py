"""The gymnast in sticks: limbs, trunk and head as thick lines and discs, the far ones first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from gym_qa.minigym.body import INDEX
from gym_qa.minigym.scene import APPARATUS, Athlete, Camera, Colour, Scene

LIMBS = (  # from, to, thickness in metres, which part colours it
    ("hip", "knee", 0.145, "skin"),
    ("knee", "ankle", 0.105, "skin"),
    ("ankle", "toe", 0.075, "skin"),
    ("shoulder", "elbow", 0.085, "sleeve"),
    ("elbow", "hand", 0.075, "skin"),
)


def painter(
    world: np.ndarray, event: int, athlete: Athlete, scene: Scene, camera: Camera
) -> Callable[[int], Image.Image]:
    """How frame ``i`` of ``world`` ``(T, 17, 3)`` is drawn, at the camera's resolution."""
    seen, apparatus = camera.project(world), _apparatus(event, camera)

    def paint(i: int) -> Image.Image:
        picture = scene.backdrop.copy()
        pen = ImageDraw.Draw(picture)
        for start, end, width, colour in apparatus:
            pen.line([*start[i, :2], *end[i, :2]], fill=colour, width=max(1, round(width * camera.scale)))
        _draw_gymnast(pen, seen[i], athlete, camera.scale)
        return picture

    return paint


def _apparatus(event: int, camera: Camera) -> list[tuple[np.ndarray, np.ndarray, float, Colour]]:
    """The apparatus in pixels: start ``(T, 3)``, end ``(T, 3)``, width in metres, colour."""
    lines = APPARATUS[event]
    ends = np.array([[line.start, line.end] for line in lines], float).reshape(-1, 3)
    seen = camera.project(np.repeat(ends[None], len(camera.centre), axis=0))
    return [(seen[:, 2 * i], seen[:, 2 * i + 1], line.width, line.colour) for i, line in enumerate(lines)]


def _draw_gymnast(pen: ImageDraw.ImageDraw, points: np.ndarray, athlete: Athlete, scale: float) -> None:
    """Limbs, trunk and head, the far ones first and a little darker."""
    parts: list[tuple[float, Callable[..., None], tuple]] = []
    for side in ("l", "r"):
        for start, end, width, part in LIMBS:
            a, b = points[INDEX[f"{start}_{side}"]], points[INDEX[f"{end}_{side}"]]
            colour = athlete.skin if part == "skin" else athlete.sleeve
            parts.append(((a[2] + b[2]) / 2, _limb, (a, b, width * scale, colour)))
    front = _front(points, scale)
    hips = [points[INDEX["hip_l"]], points[INDEX["hip_r"]]]
    shoulders = [points[INDEX["shoulder_r"]], points[INDEX["shoulder_l"]]]
    trunk = np.array([*hips, *shoulders])
    for offset, colour in ((-0.055, athlete.back), (0.055, athlete.front)):
        panel = trunk + offset * front * np.array([scale, scale, 1.0])
        parts.append((panel[:, 2].mean(), _panel, (panel, 0.13 * scale, colour)))
    head = points[INDEX["head"]]
    for offset, radius, colour in ((-0.04, 0.125, athlete.hair), (0.055, 0.105, athlete.skin)):
        spot = head + offset * front * np.array([scale, scale, 1.0])
        parts.append((spot[2], _ball, (spot, radius * scale, colour)))
    nearest, farthest = min(p[0] for p in parts), max(p[0] for p in parts)
    for depth, draw, shape in sorted(parts, key=lambda part: -part[0]):
        shade = 1.0 - 0.3 * (depth - nearest) / max(farthest - nearest, 0.3)
        draw(pen, shade, *shape)


def _front(points: np.ndarray, scale: float) -> np.ndarray:
    """Unit vector to the gymnast's front in camera axes: left across the shoulders × up the spine."""
    metres = points / np.array([scale, scale, 1.0])
    left = metres[INDEX["shoulder_l"]] - metres[INDEX["shoulder_r"]]
    up = metres[INDEX["chest"]] - metres[INDEX["pelvis"]]
    front = np.cross(left, up)
    return front / (np.linalg.norm(front) + 1e-9)


def _limb(
    pen: ImageDraw.ImageDraw, shade: float, a: np.ndarray, b: np.ndarray, width: float, colour: tuple
) -> None:
    fill, r = _shaded(colour, shade), width / 2
    pen.line([a[0], a[1], b[0], b[1]], fill=fill, width=max(1, round(width)))
    for x, y, _ in (a, b):
        pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)


def _panel(pen: ImageDraw.ImageDraw, shade: float, corners: np.ndarray, width: float, colour: Colour) -> None:
    fill, r = _shaded(colour, shade), width / 2
    outline = [(x, y) for x, y, _ in corners]
    pen.polygon(outline, fill=fill)
    pen.line([*outline, outline[0]], fill=fill, width=max(1, round(width)))
    for x, y in outline:
        pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)


def _ball(pen: ImageDraw.ImageDraw, shade: float, centre: np.ndarray, radius: float, colour: Colour) -> None:
    x, y, _ = centre
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_shaded(colour, shade))


def _shaded(colour: tuple, shade: float) -> Colour:
    r, g, b = (int(c * shade) for c in colour)
    return r, g, b
