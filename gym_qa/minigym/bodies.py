"""The gymnast as a body: a skinned surface with leotard and hair, lit, among apparatus of solid bars."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from gym_qa.minigym.body import INDEX
from gym_qa.minigym.raster import rasterise
from gym_qa.minigym.scene import APPARATUS, Athlete, Camera, Scene
from gym_qa.minigym.skin import Figure, mesh, surface

AMBIENT = 0.55  # of the light comes from everywhere
BRIGHTEST = 1.2
LEVELS = 64  # of brightness for each colour
DEEP = 50.0  # metres to put between viewer and gymnast, whose own depth may be negative


def painter(
    world: np.ndarray, event: int, athlete: Athlete, scene: Scene, camera: Camera
) -> Callable[[int], Image.Image]:
    """How frame ``i`` of ``world`` ``(T, 17, 3)`` is drawn, at the camera's resolution."""
    figure = Figure.blend(athlete.shares)
    points, normals = surface(world, figure)
    bars, bar_normals, bar_faces, bar_colours = _bars(event)
    here = np.concatenate([points, np.broadcast_to(bars, (len(points), *bars.shape))], axis=1)
    seen = camera.project(here).astype(np.float32)
    seen[..., 2] += DEEP
    faces = np.concatenate([mesh().faces, bar_faces + points.shape[1]]).T[::-1].copy()  # y is down there
    body, bar = slice(points.shape[1]), slice(points.shape[1], None)
    said = np.zeros((len(points), 4, here.shape[1]), np.float32)
    said[:, 0, body], said[:, 0, bar] = _lit(normals, scene), _lit(bar_normals, scene)
    said[:, 1:, body] = (*_clothes(athlete, figure), mesh().hair)
    palette = np.array([athlete.skin, athlete.back, athlete.front, athlete.hair, *bar_colours], np.float32)
    shown = palette[:, None] * np.linspace(0, BRIGHTEST, LEVELS)[:, None]
    table = np.clip(shown, 0, 255).astype(np.uint8).reshape(-1, 3)
    of_bar = 4 + np.repeat(np.arange(len(bar_colours)), len(bar_faces) // len(bar_colours))
    body_faces = len(mesh().faces)
    canvas = np.asarray(scene.backdrop).reshape(-1, 3)

    def paint(i: int) -> Image.Image:
        pixel, triangle, (shine, under, forward, haired) = rasterise(seen[i], said[i], faces, camera.side)
        part = np.where(haired > 0, 3, (under > 0) * (1 + (forward > 0)))
        solid = np.flatnonzero(triangle >= body_faces)
        part[solid] = of_bar[triangle[solid] - body_faces]
        level = np.clip(shine * ((LEVELS - 1) / BRIGHTEST), 0, LEVELS - 1).astype(np.int64)
        picture = canvas.copy()
        picture[pixel] = table[part * LEVELS + level]
        return Image.fromarray(picture.reshape(camera.side, camera.side, 3))

    return paint


def _lit(normals: np.ndarray, scene: Scene) -> np.ndarray:
    """Lambert's law: what share of its colour a surface with these unit normals shows."""
    towards = normals @ scene.light.astype(np.float32)
    return (AMBIENT + (BRIGHTEST - AMBIENT) * np.maximum(towards, 0)).astype(np.float32)


def _clothes(athlete: Athlete, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Of each vertex the metres inside the leotard's seam, and those ahead of its side seam."""
    body = mesh()
    reach = -0.06 if athlete.sleeve == athlete.skin else 0.9
    on_arm = body.sleeve >= 0
    leotard = np.where(on_arm, np.maximum(body.leotard, 0.5 * (reach - body.sleeve)), body.leotard)
    ahead = figure.vertices[:, 0] - figure.joints[INDEX["pelvis"], 0]
    return leotard.astype(np.float32), np.where(on_arm & (body.leotard < 0), -0.1, ahead).astype(np.float32)


@cache
def _bars(event: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each line of the apparatus as a square bar of its width.

    Returns:
        Corners ``(C, 3)`` in metres, not shared between sides, their normals, triangles ``(F, 3)``, and a
        colour for each bar, of twelve triangles.
    """
    corners, normals, colours = [], [], []
    for line in APPARATUS[event]:
        start, end = np.array(line.start, float), np.array(line.end, float)
        along = (end - start) / np.linalg.norm(end - start)
        across = np.cross(along, [0.0, 0.0, 1.0] if abs(along[2]) < 0.9 else [1.0, 0.0, 0.0])
        half = line.width / 2
        axes = [(end - start) / 2, half * across, half * np.cross(along, across)]
        for k, sign in itertools.product(range(3), (1, -1)):
            out, one, two = sign * axes[k], axes[(k + 1) % 3], sign * axes[(k + 2) % 3]
            middle = (start + end) / 2 + out
            corners += [middle + a * one + b * two for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            normals += [out / np.linalg.norm(out)] * 4
        colours.append(line.colour)
    quads = np.arange(len(corners)).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    return np.array(corners), np.array(normals), faces, np.array(colours)
