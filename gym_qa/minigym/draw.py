"""Joints in the world → pictures, by either renderer."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gym_qa.minigym import bodies, sticks
from gym_qa.minigym.scene import SUPERSAMPLING, Athlete, Camera, Scene

#: How the gymnast looks: thick lines, or the skinned surface of a real parametric body.
Renderer = Literal["sticks", "body"]
_PAINTERS = {"sticks": sticks.painter, "body": bodies.painter}


def render(
    world: np.ndarray,
    event: int,
    athlete: Athlete,
    scene: Scene,
    px: int,
    rng: np.random.Generator,
    only: np.ndarray | None = None,
    renderer: Renderer = "sticks",
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
        renderer: how the gymnast looks; camera, noise and joints are the same for all.

    Returns:
        ``(T, px, px, 3)`` uint8 pictures and ``(T, 17, 3)`` joints in camera coordinates: right and down as
        fractions of the picture, and metres away from the viewer relative to the pelvis.
    """
    camera = Camera.follow(world, scene, px, rng)
    gain, shift = rng.uniform(0.75, 1.15), rng.integers(0, 32, (len(world), 2))
    wanted = np.arange(len(world)) if only is None else only
    world, camera = world[wanted], camera.at(wanted)
    paint = _PAINTERS[renderer](world, event, athlete, scene, camera)
    frames = np.empty((len(wanted), px, px, 3), np.uint8)
    for i, (y, x) in enumerate(shift[wanted]):
        small = np.asarray(paint(i).reduce(SUPERSAMPLING)).astype(np.int16)
        frames[i] = np.clip(small * gain + scene.noise[y : y + px, x : x + px], 0, 255)
    seen = camera.project(world)
    relative = seen / camera.side
    relative[..., 2] = seen[..., 2] - seen[:, :1, 2]
    return frames, relative
