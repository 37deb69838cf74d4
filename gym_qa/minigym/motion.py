"""How each family of elements moves: an element and a random source → joints in the world, frame by frame.

World frame: x along the floor, y into the depth, z up from the floor; metres. Time runs from 0 to 1 over the
element; a clip may begin a little after 0 and end a little before 1.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from gym_qa.minigym.body import INDEX, joints, pose, rotation
from gym_qa.minigym.elements import Element

BAR_HEIGHT = 2.6
BEAM_HEIGHT = 0.9

STAND = pose(foot=80, arm_l=165, arm_r=165, spread=15)
CROUCH = pose(hip_l=70, hip_r=70, knee_l=95, knee_r=95, foot=75, arm_l=-35, arm_r=-35, spine=20)
LIFT = pose(foot=20, arm_l=170, arm_r=170, spine=-6)
LAND = pose(hip_l=60, hip_r=60, knee_l=75, knee_r=75, foot=75, arm_l=80, arm_r=80, spread=25, spine=15)
SALTO_SHAPES = {
    "tucked": pose(
        hip_l=128, hip_r=128, knee_l=135, knee_r=135, foot=20, arm_l=60, arm_r=60, elbow=30, spine=20
    ),
    "piked": pose(hip_l=122, hip_r=122, foot=15, arm_l=75, arm_r=75, spine=18),
    "stretched": pose(foot=10, arm_l=25, arm_r=25, elbow=95, spread=15, spine=-5),
}
JUMP_SHAPES = {
    "split": pose(hip_l=88, hip_r=-82, foot=10, arm_l=90, arm_r=90, spread=70),
    "straddle": pose(hip_l=85, hip_r=85, straddle=62, foot=10, arm_l=85, arm_r=85, spread=40, spine=15),
    "wolf": pose(hip_l=95, hip_r=95, knee_r=125, foot=10, arm_l=80, arm_r=80, spread=50, spine=8),
}
TURN_SHAPES = {
    "tuck stand": pose(hip_l=92, hip_r=115, knee_r=140, foot=30, arm_l=85, arm_r=85, spread=45, spine=25),
    "horizontal": pose(hip_l=92, foot=30, arm_l=90, arm_r=90, spread=60),
    "below": pose(hip_l=50, knee_l=95, foot=40, arm_l=85, arm_r=85, spread=25, elbow=25),
    "upward": pose(hip_l=168, foot=30, arm_l=160, arm_r=90, spread=25),
}
HANG = pose(foot=10, arm_l=178, arm_r=178)
CIRCLE_SHAPES = {
    "giant circle": pose(foot=10, arm_l=178, arm_r=178, hip_l=12, hip_r=12),
    "pike sole circle": pose(foot=10, arm_l=100, arm_r=100, hip_l=140, hip_r=140, spine=15),
    "stalder": pose(foot=10, arm_l=92, arm_r=92, hip_l=135, hip_r=135, straddle=48, spine=15),
}


def _smooth(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _keyframes(time: np.ndarray, keys: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """Poses at ``time`` between key poses, eased in and out of each."""
    out = np.repeat(keys[0][1][None], len(time), axis=0)
    for (start, _), (end, goal) in pairwise(keys):
        weight = _smooth((time - start) / (end - start))[:, None]
        out = out + weight * (goal - out)
    return out


def _warp(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven speed: what a moment shows must not follow from when it comes."""
    return (
        time
        + rng.uniform(-0.12, 0.12) * np.sin(np.pi * time)
        + rng.uniform(-0.05, 0.05) * np.sin(2 * np.pi * time)
    )


def _place(local: np.ndarray, turned: np.ndarray) -> np.ndarray:
    return np.einsum("tij,tkj->tki", turned, local)


def _flight(time: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Phase of flight (0 at take-off, 1 at landing) and when both happen."""
    take_off, landing = rng.uniform(0.12, 0.30), rng.uniform(0.70, 0.88)
    return np.clip((time - take_off) / (landing - take_off), 0, 1), take_off, landing


def _airborne(world: np.ndarray, phase: np.ndarray, height: float, travel: float) -> np.ndarray:
    """On the ground the lowest joint touches it; in the air the pelvis follows a parabola."""
    ground = -world[..., 2].min(axis=1)
    start, end = np.interp(0, phase, ground), ground[-1]
    flying = (phase > 0) & (phase < 1)
    arc = start + (end - start) * phase + 4 * height * phase * (1 - phase)
    lift = np.where(flying, np.maximum(arc, ground), ground)
    offset = np.stack([travel * phase, 0 * phase, lift], axis=-1)
    return world + offset[:, None]


def _salto(e: Element, time: np.ndarray, rng: np.random.Generator, stature: np.ndarray) -> np.ndarray:
    phase, off, land = _flight(time, rng)
    shape, span = SALTO_SHAPES[e.shape], land - off
    keys = [(0.0, STAND), (off * 0.6, CROUCH), (off, LIFT), (off + 0.18 * span, shape)]
    keys += [(off + 0.82 * span, shape), (land, LIFT), (land + 0.06, LAND), (1.05, STAND)]
    pitch = 360.0 * e.saltos * e.direction * (0.75 * phase + 0.25 * _smooth(phase))
    twist = 360.0 * e.turns * rng.choice([-1, 1]) * _smooth((phase - 0.08) / 0.84)
    facing = rotation("z", np.full(len(time), rng.uniform(-15, 15)))
    turned = facing @ rotation("y", pitch) @ rotation("z", twist)
    height = rng.uniform(0.55, 0.85) + 0.45 * (e.saltos - 1)
    world = _place(joints(_keyframes(time, keys), stature), turned)
    return _airborne(world, phase, height, e.direction * rng.uniform(0.5, 1.5))


def _jump(e: Element, time: np.ndarray, rng: np.random.Generator, stature: np.ndarray) -> np.ndarray:
    phase, off, land = _flight(time, rng)
    shape, span = JUMP_SHAPES[e.shape], land - off
    keys = [(0.0, STAND), (off * 0.65, CROUCH), (off, LIFT), (off + 0.35 * span, shape)]
    keys += [(off + 0.6 * span, shape), (land - 0.02, LIFT), (land + 0.06, LAND), (1.05, STAND)]
    yaw = 360.0 * e.turns * rng.choice([-1, 1]) * _smooth((phase - 0.02) / 0.96)
    world = _place(joints(_keyframes(time, keys), stature), rotation("z", rng.uniform(-30, 30) + yaw))
    return _airborne(world, phase, rng.uniform(0.4, 0.6), rng.uniform(0.1, 0.7))


def _turn(e: Element, time: np.ndarray, rng: np.random.Generator, stature: np.ndarray) -> np.ndarray:
    shape, begin, end = TURN_SHAPES[e.shape], rng.uniform(0.08, 0.22), rng.uniform(0.8, 0.94)
    keys = [(0.0, LAND), (begin, shape), (end, shape), (1.05, STAND)]
    phase = np.clip((time - begin) / (end - begin), 0, 1)
    yaw = 360.0 * e.turns * rng.choice([-1, 1]) * (0.6 * phase + 0.4 * _smooth(phase))
    world = _place(joints(_keyframes(time, keys), stature), rotation("z", rng.uniform(-60, 60) + yaw))
    toe = world[:, INDEX["ankle_r"]].copy()
    toe[:, 2] = world[..., 2].min(axis=1)
    return world - toe[:, None]


def _circle(e: Element, time: np.ndarray, rng: np.random.Generator, stature: np.ndarray) -> np.ndarray:
    shape, bend = CIRCLE_SHAPES[e.shape], rng.uniform(0.12, 0.18)
    keys = [(0.0, HANG), (bend + 0.08, shape), (0.72, shape), (0.86, HANG), (1.05, HANG)]
    phase = _smooth(time) * 0.35 + 0.65 * np.clip(time, 0, 1)
    pitch = 180.0 + 360.0 * e.direction * phase + rng.uniform(-20, 20)
    twist = 360.0 * e.turns * rng.choice([-1, 1]) * _smooth((time - rng.uniform(0.5, 0.62)) / 0.36)
    turned = rotation("y", pitch) @ rotation("z", twist)
    world = _place(joints(_keyframes(time, keys), stature), turned)
    grip = (world[:, INDEX["hand_l"]] + world[:, INDEX["hand_r"]]) / 2
    return world - grip[:, None] + np.array([0.0, 0.0, BAR_HEIGHT])


_FAMILIES = {"salto": _salto, "jump": _jump, "turn": _turn, "circle": _circle}


def perform(element: Element, time: np.ndarray, rng: np.random.Generator, stature: np.ndarray) -> np.ndarray:
    """The gymnast's joints over an element.

    Args:
        element: the class performed.
        time: ``(T,)`` element time of each frame, 0 to 1.
        rng: draws height, travel, timing and the side of turns.
        stature: ``(4,)`` torso, leg, arm and shoulder lengths in metres.

    Returns:
        ``(T, 17, 3)`` joints in the world frame, ordered as ``body.JOINTS``.
    """
    time = _warp(time, rng)
    world = _FAMILIES[element.family](element, time, rng, stature)
    if element.event == 3:
        world = world + np.array([0.0, 0.0, BEAM_HEIGHT])
    return world
