"""Who performs where, seen from where: athlete, venue, camera and apparatus, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gym_qa.minigym.motion import BAR_HEIGHT, BEAM_HEIGHT

Colour = tuple[int, int, int]
Point = tuple[float, float, float]

SUPERSAMPLING = 2
SHAPES = 8  # baked bodies
SKINS = ((244, 205, 178), (226, 178, 140), (190, 133, 96), (141, 92, 62), (98, 62, 44))
HAIRS = ((32, 24, 20), (84, 54, 32), (196, 160, 92), (150, 66, 36), (60, 60, 66))


@dataclass(frozen=True)
class Athlete:
    """Proportions and colours of one gymnast.

    Attributes:
        stature: ``(4,)`` torso, leg, arm and shoulder lengths in metres.
        shares: ``(8,)`` of the baked bodies that the gymnast's is a mixture of.
    """

    stature: np.ndarray
    skin: Colour
    hair: Colour
    back: Colour
    front: Colour
    sleeve: Colour
    shares: np.ndarray

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
        hair = HAIRS[rng.integers(len(HAIRS))]
        sleeve = back if rng.random() < 0.5 else skin
        shares = rng.dirichlet(np.full(SHAPES, 0.4))  # mostly one shape, with something of another
        return cls(stature, skin, hair, back, front, sleeve, shares)


def _colour(rng: np.random.Generator) -> Colour:
    r, g, b = rng.integers(20, 250, 3)
    return int(r), int(g), int(b)


@dataclass(frozen=True)
class Scene:
    """One venue and its camera position: what stays the same through a source video.

    Attributes:
        light: unit vector to the hall's lamps in the world: from above and the viewer's side.
    """

    azimuth: float
    elevation: float
    zoom: float
    backdrop: Image.Image
    noise: np.ndarray
    light: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, px: int) -> Scene:
        """A random venue at ``px`` pixels."""
        side = px * SUPERSAMPLING
        azimuth = np.radians(rng.uniform(-24, 24))
        noise = rng.normal(0, rng.uniform(2, 7), (px + 32, px + 32, 3)).astype(np.int16)
        elevation, zoom = np.radians(rng.uniform(-4, 18)), rng.uniform(0.88, 1.1)
        backdrop = _backdrop(rng, side)
        light = np.array([rng.uniform(-0.7, 0.7), -rng.uniform(0.4, 1.0), 1.0])
        return cls(azimuth, elevation, zoom, backdrop, noise, light / np.linalg.norm(light))


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

    def at(self, moments: np.ndarray) -> Camera:
        """The same camera at some frames only."""
        return replace(self, centre=self.centre[moments])


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
