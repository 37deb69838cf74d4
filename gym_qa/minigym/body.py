"""The gymnast: eleven angles → seventeen joints in the body's own frame.

Body frame: x to the front, y to the left, z up along the spine, origin at the pelvis; metres and degrees.
"""

from __future__ import annotations

import numpy as np

ANGLES = (
    "hip_l",
    "hip_r",
    "straddle",
    "knee_l",
    "knee_r",
    "foot",
    "arm_l",
    "arm_r",
    "spread",
    "elbow",
    "spine",
)
PARTS = ("hip", "knee", "ankle", "toe", "shoulder", "elbow", "hand")
JOINTS = ("pelvis", "chest", "head", *(f"{part}_{side}" for side in "lr" for part in PARTS))
INDEX = {name: i for i, name in enumerate(JOINTS)}


def pose(**angles: float) -> np.ndarray:
    """A pose: degrees by angle name, zero (standing, arms down) where not given."""
    unknown = set(angles) - set(ANGLES)
    if unknown:
        raise KeyError(f"unknown angles {sorted(unknown)}")
    return np.array([angles.get(name, 0.0) for name in ANGLES])


def _limb(flexion: np.ndarray, spread: np.ndarray, side: int) -> np.ndarray:
    """Unit vectors of a limb: flexion 0 hangs, 90 points to the front, 180 up; spread leads it sideways."""
    f, a = np.radians(flexion), np.radians(spread)
    return np.stack([np.sin(f) * np.cos(a), side * np.sin(a), -np.cos(f) * np.cos(a)], axis=-1)


def joints(poses: np.ndarray, stature: np.ndarray) -> np.ndarray:
    """Forward kinematics.

    Args:
        poses: ``(T, 11)`` angles in degrees, ordered as ``ANGLES``.
        stature: ``(4,)`` lengths in metres: torso, leg, arm, shoulder width.

    Returns:
        ``(T, 17, 3)`` joints in the body frame, ordered as ``JOINTS``.
    """
    angle = dict(zip(ANGLES, poses.T, strict=True))
    torso, leg, arm, shoulder = stature
    zero = np.zeros(len(poses))
    spine = np.stack([np.sin(np.radians(angle["spine"])), zero, np.cos(np.radians(angle["spine"]))], axis=-1)
    out = np.zeros((len(poses), len(JOINTS), 3))
    chest = torso * spine
    out[:, INDEX["chest"]] = chest
    out[:, INDEX["head"]] = chest + 0.24 * spine
    for side, sign in (("l", 1), ("r", -1)):
        hip = np.array([0.0, sign * 0.09, 0.0])
        thigh = _limb(angle[f"hip_{side}"], angle["straddle"], sign)
        shin = _limb(angle[f"hip_{side}"] - angle[f"knee_{side}"], angle["straddle"], sign)
        foot = _limb(angle[f"hip_{side}"] - angle[f"knee_{side}"] + angle["foot"], angle["straddle"], sign)
        out[:, INDEX[f"hip_{side}"]] = hip
        out[:, INDEX[f"knee_{side}"]] = knee = hip + leg / 2 * thigh
        out[:, INDEX[f"ankle_{side}"]] = ankle = knee + leg / 2 * shin
        out[:, INDEX[f"toe_{side}"]] = ankle + 0.17 * foot
        joint = chest + np.array([0.0, sign * shoulder / 2, 0.0])
        upper = _limb(angle[f"arm_{side}"] + angle["spine"], angle["spread"], sign)
        fore = _limb(angle[f"arm_{side}"] + angle["spine"] + angle["elbow"], angle["spread"], sign)
        out[:, INDEX[f"shoulder_{side}"]] = joint
        out[:, INDEX[f"elbow_{side}"]] = elbow = joint + arm / 2 * upper
        out[:, INDEX[f"hand_{side}"]] = elbow + arm / 2 * fore
    return out


def rotation(axis: str, degrees: np.ndarray) -> np.ndarray:
    """``(T, 3, 3)`` rotations about a world axis; positive about ``y`` tips the front down (forward)."""
    c, s, o, i = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0 * degrees, 0 * degrees + 1
    rows = {
        "x": [[i, o, o], [o, c, -s], [o, s, c]],
        "y": [[c, o, s], [o, i, o], [-s, o, c]],
        "z": [[c, -s, o], [s, c, o], [o, o, i]],
    }[axis]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
