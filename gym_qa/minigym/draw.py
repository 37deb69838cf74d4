"""Camera, scenery and the drawing of the gymnast: joints in the world → pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gym_qa.minigym.body import INDEX
from gym_qa.minigym.motion import BAR_HEIGHT, BEAM_HEIGHT

Colour = tuple[int, int, int]
Point = tuple[float, float, float]

SUPERSAMPLING = 2
SKINS = ((244, 205, 178), (226, 178, 140), (190, 133, 96), (141, 92, 62), (98, 62, 44))
HAIRS = ((32, 24, 20), (84, 54, 32), (196, 160, 92), (150, 66, 36), (60, 60, 66))
LIMBS = (  # from, to, thickness in metres, which part colours it
    ("hip", "knee", 0.145, "skin"),
    ("knee", "ankle", 0.105, "skin"),
    ("ankle", "toe", 0.075, "skin"),
    ("shoulder", "elbow", 0.085, "sleeve"),
    ("elbow", "hand", 0.075, "skin"),
)


@dataclass(frozen=True)
class Athlete:
    """Proportions and colours of one gymnast."""

    stature: np.ndarray
    skin: Colour
    hair: Colour
    back: Colour
    front: Colour
    sleeve: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Athlete:
        """A random gymnast; the leotard's front and back differ in colour."""
        size = rng.uniform(0.9, 1.08)
        stature = size * np.array([0.5, 0.86, 0.56, 0.38]) * rng.uniform(0.93, 1.07, 4)
        skin = SKINS[rng.integers(len(SKINS))]
        back = _colour(rng)
        front = _colour(rng)
        while sum(abs(a - b) for a, b in zip(front, back, strict=True)) < 200:
            front = _colour(rng)
        return cls(
            stature, skin, HAIRS[rng.integers(len(HAIRS))], back, front, back if rng.random() < 0.5 else skin
        )


def _colour(rng: np.random.Generator) -> Colour:
    r, g, b = rng.integers(20, 250, 3)
    return int(r), int(g), int(b)


@dataclass(frozen=True)
class Scene:
    """One venue and its camera position: what stays the same through a source video."""

    azimuth: float
    elevation: float
    zoom: float
    backdrop: Image.Image
    noise: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, px: int) -> Scene:
        """A random venue at ``px`` pixels."""
        side = px * SUPERSAMPLING
        azimuth = np.radians(rng.uniform(-24, 24))
        noise = rng.normal(0, rng.uniform(2, 7), (px + 32, px + 32, 3)).astype(np.int16)
        return cls(
            azimuth, np.radians(rng.uniform(-4, 18)), rng.uniform(0.88, 1.1), _backdrop(rng, side), noise
        )


def _backdrop(rng: np.random.Generator, side: int) -> Image.Image:
    """A hall in muted tones, out of focus: wall, floor, banners and spectators."""
    wall, floor = (rng.integers(60, 150) + rng.integers(-22, 23, 3) for _ in range(2))
    picture = Image.new("RGB", (side, side), tuple(int(v) for v in wall))
    pen = ImageDraw.Draw(picture)
    horizon = int(side * rng.uniform(0.5, 0.75))
    for _ in range(rng.integers(3, 12)):
        x, y = rng.integers(-side // 4, side, 2)
        w, h = rng.integers(side // 16, side // 3), rng.integers(side // 24, side // 5)
        tone = np.clip(wall + rng.integers(-30, 31, 3), 0, 255)
        pen.rectangle(
            [int(x), int(min(y, horizon) - h), int(x + w), int(min(y, horizon))], fill=tuple(map(int, tone))
        )
    pen.rectangle([0, horizon, side, side], fill=tuple(int(v) for v in floor))
    return picture.filter(ImageFilter.GaussianBlur(side / rng.uniform(20, 60)))


@dataclass(frozen=True)
class Camera:
    """An orthographic camera that follows the gymnast.

    Attributes:
        basis: ``(3, 3)`` rows right, down and away from the viewer.
        centre: ``(T, 3)`` world point in the middle of each picture.
        scale: pixels a metre, at the drawing resolution.
        side: pixels of the drawing.
    """

    basis: np.ndarray
    centre: np.ndarray
    scale: float
    side: int

    @classmethod
    def follow(cls, world: np.ndarray, scene: Scene, px: int, rng: np.random.Generator) -> Camera:
        """Aim at the gymnast with some lag and shake, close enough to fill most of the picture."""
        a, e = scene.azimuth, scene.elevation
        right = np.array([np.cos(a), np.sin(a), 0.0])
        away = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
        down = np.cross(away, right)
        basis = np.stack([right, down, away])
        middle = (world.min(axis=1) + world.max(axis=1)) / 2
        lag = max(1, len(world) // 5)
        padded = np.pad(middle, ((lag, lag), (0, 0)), mode="edge")
        kernel = np.ones(2 * lag + 1) / (2 * lag + 1)
        smooth = np.stack([np.convolve(padded[:, i], kernel, mode="valid") for i in range(3)], axis=1)
        pull = rng.uniform(0.6, 0.95)
        centre = pull * smooth + (1 - pull) * middle.mean(axis=0)
        centre = centre + np.cumsum(rng.normal(0, 0.006, centre.shape), axis=0) + rng.normal(0, 0.06, 3)
        extent = np.abs((world - centre[:, None]) @ basis[:2].T).max()
        side = px * SUPERSAMPLING
        return cls(basis, centre, 0.46 * side / (extent + 0.12) * min(scene.zoom, 1.06), side)

    def project(self, points: np.ndarray) -> np.ndarray:
        """``(T, N, 3)`` world points → ``(T, N, 3)``: pixels right, pixels down, metres away."""
        seen = (points - self.centre[:, None]) @ self.basis.T
        return np.concatenate([seen[..., :2] * self.scale + self.side / 2, seen[..., 2:]], axis=-1)


def render(
    world: np.ndarray,
    event: int,
    athlete: Athlete,
    scene: Scene,
    px: int,
    rng: np.random.Generator,
    only: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a clip.

    Args:
        world: ``(T, 17, 3)`` joints in metres.
        event: FineGym event number, which decides the apparatus.
        athlete: who performs.
        scene: where.
        px: width and height of the pictures.
        rng: camera shake and sensor noise.
        only: indices of the frames to draw; all where None.

    Returns:
        ``(T, px, px, 3)`` uint8 pictures and ``(T, 17, 3)`` joints in camera coordinates: right and down as
        fractions of the picture, and metres away from the viewer relative to the pelvis.
    """
    camera = Camera.follow(world, scene, px, rng)
    seen = camera.project(world)
    apparatus = _apparatus(event, camera)
    gain, shift = rng.uniform(0.75, 1.15), rng.integers(0, 32, (len(world), 2))
    wanted = np.arange(len(world)) if only is None else only
    frames = np.empty((len(wanted), px, px, 3), np.uint8)
    for i, t in enumerate(wanted):
        points = seen[t]
        picture = scene.backdrop.copy()
        pen = ImageDraw.Draw(picture)
        for start, end, width, colour in apparatus:
            pen.line([*start[t, :2], *end[t, :2]], fill=colour, width=max(1, round(width * camera.scale)))
        _draw_gymnast(pen, points, athlete, camera.scale)
        small = np.asarray(picture.reduce(SUPERSAMPLING)).astype(np.int16)
        y, x = shift[t]
        frames[i] = np.clip(small * gain + scene.noise[y : y + px, x : x + px], 0, 255)
    relative = seen[wanted] / camera.side
    relative[..., 2] = seen[wanted, :, 2] - seen[wanted, :1, 2]
    return frames, relative


class Line(NamedTuple):
    """One straight piece of apparatus: ends and width in metres."""

    start: Point
    end: Point
    width: float
    colour: Colour


APPARATUS = {
    2: [Line((-9, 0, -0.03), (9, 0, -0.03), 0.05, (225, 225, 215))],
    3: [
        Line((-2.5, 0, BEAM_HEIGHT - 0.07), (2.5, 0, BEAM_HEIGHT - 0.07), 0.13, (196, 164, 120)),
        *(Line((x, 0, 0), (x, 0, BEAM_HEIGHT - 0.1), 0.08, (90, 90, 96)) for x in (-1.6, 1.6)),
    ],
    4: [
        *(Line((0, y, 0), (0, y, BAR_HEIGHT), 0.05, (120, 120, 128)) for y in (-1.2, 1.2)),
        Line((0, -1.2, BAR_HEIGHT), (0, 1.2, BAR_HEIGHT), 0.05, (214, 190, 150)),
        Line((-1.7, -1.2, 1.7), (-1.7, 1.2, 1.7), 0.05, (214, 190, 150)),
    ],
}


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
