"""The gymnast's surface: joints → the skinned mesh of a real parametric body, frame by frame.

``body.safetensors`` (made by ``scripts/bake_minigym_body.py`` from MakeHuman data, CC0) holds a low-poly mesh
in eight shapes, their joints, and each vertex's weights over the bones below. A bone carries its joint to
where the kinematics put it, turns as the limb does and stretches to its length; its twist follows from where
the trunk faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from safetensors.numpy import load

from gym_qa.minigym.body import INDEX, rotation

#: Bone: joint it starts from, joint it points to, bone it hangs on, half-way bone between the two.
LIMBS = {
    f"{bone}_{side}": (f"{start}_{side}", f"{end}_{side}", parent and f"{parent}_{side}", f"{ease}_{side}")
    for side in "lr"
    for bone, start, end, parent, ease in (
        ("thigh", "hip", "knee", "", "hip"),
        ("shin", "knee", "ankle", "thigh", "knee"),
        ("foot", "ankle", "toe", "shin", "ankle"),
        ("upper", "shoulder", "elbow", "", "shoulder"),
        ("fore", "elbow", "hand", "upper", "elbow"),
    )
}
TRUNK = ("pelvis", "waist", "chest", "head")
#: Every limb has a bone and, named after its joint, a second one that turns half as far: joints bend round.
BONES = (*TRUNK, *LIMBS, *(limb[3] for limb in LIMBS.values()))
#: Half-way bone, the bones it lies between.
HALVES = tuple(
    (ease, (parent,) if parent else ("chest",) if bone.startswith("upper") else ("pelvis", "waist"), bone)
    for bone, (_, _, parent, ease) in LIMBS.items()
)


@dataclass(frozen=True)
class Mesh:
    """The baked body.

    Attributes:
        faces: ``(F, 3)`` vertex numbers, counter-clockwise from outside.
        vertices: ``(S, V, 3)`` of each shape in metres: x front, y left, z up.
        joints: ``(S, 17, 3)`` ordered as ``body.JOINTS``.
        weights: ``(V, B)`` over ``BONES``.
        leotard: ``(V,)`` metres inside the seam of its trunk.
        sleeve: ``(V,)`` 0 at the shoulder, 1 at the hand, negative off the arms.
        hair: ``(V,)`` metres inside the hair line.
    """

    faces: np.ndarray
    vertices: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    leotard: np.ndarray
    sleeve: np.ndarray
    hair: np.ndarray


@lru_cache(maxsize=1)
def mesh() -> Mesh:
    """The body that comes with the package."""
    arrays = load((resources.files("gym_qa.minigym") / "body.safetensors").read_bytes())
    return Mesh(
        **{name: array.astype(np.int64 if name == "faces" else np.float32) for name, array in arrays.items()}
    )


@dataclass(frozen=True)
class Figure:
    """One gymnast's body at rest, and how much larger the kinematics' is.

    Attributes:
        vertices: ``(V, 3)`` metres.
        normals: ``(V, 3)`` unit vectors.
        joints: ``(17, 3)``.
    """

    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray

    @classmethod
    def blend(cls, shares: np.ndarray) -> Figure:
        """A mixture of the baked shapes; ``shares`` is ``(S,)`` and sums to one."""
        body = mesh()
        vertices = np.tensordot(shares, body.vertices, 1).astype(np.float32)
        corners = vertices[body.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(vertices)
        for k in range(3):
            np.add.at(normals, body.faces[:, k], across)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        return cls(vertices, normals, np.tensordot(shares, body.joints, 1))


def surface(world: np.ndarray, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Pose a figure.

    Args:
        world: ``(T, 17, 3)`` joints in metres, as ``motion.perform`` gives them.
        figure: whose body.

    Returns:
        ``(T, V, 3)`` float32 vertices in the same frame and their unit normals.
    """
    turn, carry = _bones(world, figure)
    ones = np.ones((len(figure.vertices), 1), np.float32)
    points = _mixed(np.hstack([figure.vertices, ones]), carry)
    normals = _mixed(figure.normals, turn)
    return points, normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12)


def _mixed(rest: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """``(T, V, 3)``: each of ``(V, J)`` by its bones' maps ``(T, B, 3, J)``, weighted, in one product."""
    by_bone = (mesh().weights[:, :, None] * rest[:, None]).reshape(len(rest), -1)
    columns = maps.astype(np.float32).transpose(1, 3, 0, 2).reshape(by_bone.shape[1], -1)
    return (by_bone @ columns).reshape(len(rest), -1, 3).transpose(1, 0, 2).copy()


def trunk_frame(world: np.ndarray) -> np.ndarray:
    """``(..., 3, 3)`` rotations with columns front, left, up of the trunk, from joints ``(..., 17, 3)``."""
    left = world[..., INDEX["shoulder_l"], :] - world[..., INDEX["shoulder_r"], :]
    up = world[..., INDEX["chest"], :] - world[..., INDEX["pelvis"], :]
    left = left / np.linalg.norm(left, axis=-1, keepdims=True)
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    front = np.cross(left, up)
    return np.stack([front, left, np.cross(front, left)], axis=-1)


def _swing(direction: np.ndarray, side: int) -> np.ndarray:
    """Degrees of flexion (0 hangs, 90 to the front, from -120 to 240) and of spread, ``(2, ...)``."""
    length = np.linalg.norm(direction, axis=-1)
    flexion = np.degrees(np.arctan2(direction[..., 0], -direction[..., 2]))
    flexion = np.where(flexion < -120, flexion + 360, flexion)
    return np.stack([flexion, np.degrees(np.arcsin(np.clip(side * direction[..., 1] / length, -1, 1)))])


def _turned(swing: np.ndarray, side: int) -> np.ndarray:
    """``(T, 3, 3)`` rotation of a hanging limb to a swing ``(2, T)``: spread first, then flexion."""
    return rotation("y", -swing[0]) @ rotation("x", side * swing[1])


def _bones(world: np.ndarray, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Of every bone the rotation ``(T, B, 3, 3)`` and the map ``(T, B, 3, 4)`` from rest to the world."""
    rest, count = figure.joints, len(world)
    frame, home = trunk_frame(world), trunk_frame(rest)
    inward, rest_inward = np.swapaxes(frame, -1, -2), home.T
    lengths = {bone: (_length(world, limb), _length(rest[None], limb)) for bone, limb in LIMBS.items()}
    long = [lengths[bone] for bone in LIMBS if bone[:-2] in ("thigh", "shin", "upper")]
    size = float(np.mean([now / then for now, then in long]))
    turns: dict[str, np.ndarray] = {}
    scales: dict[str, np.ndarray] = {}
    starts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    swings: dict[str, np.ndarray] = {}
    for bone, (start, end, parent, ease) in LIMBS.items():
        side = 1 if bone.endswith("l") else -1
        here = _swing(
            np.einsum("tij,tj->ti", inward, world[:, INDEX[end]] - world[:, INDEX[start]]),
            side,
        )
        bound = rest_inward @ (rest[INDEX[end]] - rest[INDEX[start]])
        there = _swing(bound[None], side)
        swings[bone] = here - there
        back = np.swapaxes(_turned(there, side), -1, -2)
        turns[bone] = _turned(here, side) @ back
        above = swings[parent] if parent else np.zeros((2, 1))
        turns[ease] = _turned(there + (swings[bone] + above) / 2, side) @ back
        along = bound / np.linalg.norm(bound)
        stretch = lengths[bone][0] / lengths[bone][1]
        scales[bone] = size * np.eye(3) + (stretch - size) * np.outer(along, along)
        scales[ease] = (scales[bone] + size * np.eye(3)) / 2
        starts[bone] = starts[ease] = (rest[INDEX[start]], world[:, INDEX[start]])
    _trunk(world, rest, size, frame, swings, turns, scales, starts)
    rotations = np.stack([frame @ turns[bone] @ rest_inward for bone in BONES], axis=1)
    linear = np.stack([frame @ turns[bone] @ scales[bone] @ rest_inward for bone in BONES], axis=1)
    origins = np.stack([starts[bone][0] for bone in BONES])
    goals = np.stack([np.broadcast_to(starts[bone][1], (count, 3)) for bone in BONES], axis=1)
    moved = goals - np.einsum("tbij,bj->tbi", linear, origins)
    return rotations, np.concatenate([linear, moved[..., None]], axis=-1)


def _trunk(
    world: np.ndarray,
    rest: np.ndarray,
    size: float,
    frame: np.ndarray,
    swings: dict[str, np.ndarray],
    turns: dict[str, np.ndarray],
    scales: dict[str, np.ndarray],
    starts: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Pelvis, waist, chest, head. The back rounds as both thighs come up: its ends stay, its middle gives."""
    bend = np.clip((swings["thigh_l"][0] + swings["thigh_r"][0]) / 2, 0, 140)
    turns["pelvis"] = rotation("y", -0.16 * bend)
    turns["waist"] = rotation("y", 0 * bend)
    turns["chest"] = rotation("y", 0.12 * bend)
    turns["head"] = rotation("y", 0.08 * bend)

    def ratio(a: str, b: str) -> float:
        now = np.linalg.norm(world[0, INDEX[a]] - world[0, INDEX[b]])
        return float(now / np.linalg.norm(rest[INDEX[a]] - rest[INDEX[b]]))

    tall = ratio("chest", "pelvis")
    scales["pelvis"] = np.diag([size, (size + ratio("hip_l", "hip_r")) / 2, tall])
    scales["waist"] = np.diag([size, size, tall])
    scales["chest"] = np.diag([size, ratio("shoulder_l", "shoulder_r"), tall])
    scales["head"] = np.eye(3) * size
    for name in ("pelvis", "chest", "head"):
        starts[name] = (rest[INDEX[name]], world[:, INDEX[name]])
    back = -0.07 * np.sin(np.radians(bend * 0.6))[:, None] * frame[..., 0]
    ends = [INDEX["pelvis"], INDEX["chest"]]
    starts["waist"] = (rest[ends].mean(axis=0), world[:, ends].mean(axis=1) + back)


def _length(points: np.ndarray, limb: tuple[str, str, str, str]) -> float:
    return float(np.linalg.norm(points[0, INDEX[limb[1]]] - points[0, INDEX[limb[0]]]))
