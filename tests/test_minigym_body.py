"""MiniGym's body renderer: a surface that goes where the joints go, seen from outside, always the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gym_qa.errors import GymQAError
from gym_qa.minigym import ELEMENTS, MiniGymConfig, dataset, make_minigym
from gym_qa.minigym.bodies import painter
from gym_qa.minigym.body import INDEX, joints, pose, rotation
from gym_qa.minigym.dataset import render_clip
from gym_qa.minigym.motion import perform
from gym_qa.minigym.raster import rasterise
from gym_qa.minigym.scene import Athlete, Camera, Scene
from gym_qa.minigym.schedule import plan
from gym_qa.minigym.skin import BONES, LIMBS, Figure, mesh, surface
from sefar_mllm.cli import main

STATURE = np.array([0.5, 0.86, 0.56, 0.38])
CLIPS = plan(60, 50, 5).train


def figure(shape: int = 4) -> Figure:
    return Figure.blend(np.eye(8)[shape])


def carried(rest: np.ndarray, posed: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where ``(P, 3)`` points go by the affine map that best takes vertices ``(V, 3)`` to ``(T, V, 3)``."""
    ones = np.ones((len(rest), 1))
    solved = [np.linalg.lstsq(np.hstack([rest, ones]), frame, rcond=None)[0] for frame in posed]
    return np.stack([np.hstack([points, np.ones((len(points), 1))]) @ m for m in solved])


@pytest.mark.parametrize("label", [0, 7, 8, 15, 22, 26, 37, 41])
def test_the_surface_of_every_limb_has_its_joints_where_the_kinematics_do(label):
    world = perform(ELEMENTS[label], np.linspace(0, 1, 12), np.random.default_rng(label), STATURE)
    for shape in (0, 7):
        body = figure(shape)
        points, _ = surface(world, body)
        tall = STATURE[0] + STATURE[1]
        for bone, (start, end, *_) in LIMBS.items():
            own = mesh().weights[:, BONES.index(bone)] > 0.9
            assert own.sum() > 8, bone
            ends = [INDEX[start], INDEX[end]]
            found = carried(body.vertices[own], points[:, own], body.joints[ends])
            distance = np.linalg.norm(found - world[:, ends], axis=-1).max() / tall
            assert distance < 0.03, f"{bone}: {distance:.3f} of a body's length"


def test_knees_bend_and_toes_point_to_the_front_and_the_belly_is_before_the_back():
    still = pose(hip_l=60, hip_r=60, knee_l=80, knee_r=80, foot=75, arm_l=80, arm_r=80)
    points, normals = surface(joints(still[None], STATURE), figure())
    weights, rest = mesh().weights, figure().normals
    for bone in ("foot_l", "foot_r", "shin_l", "chest"):
        own = weights[:, BONES.index(bone)] > 0.9
        front, back = own & (rest[:, 0] > 0.6), own & (rest[:, 0] < -0.6)
        assert points[0, front, 0].mean() > points[0, back, 0].mean(), bone
    thigh = weights[:, BONES.index("thigh_l")] > 0.9
    above, below = thigh & (rest[:, 0] > 0.6), thigh & (rest[:, 0] < -0.6)
    assert normals[0, above, 2].mean() > 0.3 > -0.3 > normals[0, below, 2].mean(), (
        "raised, its front looks up"
    )


def test_weights_of_the_shipped_body_are_shares_and_its_mesh_has_no_strangers():
    body = mesh()
    np.testing.assert_allclose(body.weights.sum(axis=1), 1, atol=2e-3)
    assert body.weights.min() >= 0
    assert np.array_equal(np.unique(body.faces), np.arange(body.vertices.shape[1]))
    corners = body.vertices[4][body.faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 0.03 < volume < 0.09, "cubic metres, positive as faces look outward"


def test_each_pixel_shows_the_nearest_triangle_that_covers_it():
    rng, side = np.random.default_rng(0), 24
    points = rng.uniform(-4, side + 4, (90, 3)).astype(np.float32)
    points[:, 2] = rng.uniform(1, 9, 90)
    faces = np.arange(90).reshape(3, 30)
    pixel, triangle, values = rasterise(points, points[:, 2][None], faces, side)
    seen = dict(zip(pixel.tolist(), zip(triangle.tolist(), values[0].tolist(), strict=True), strict=True))
    covered = 0
    for number in range(side * side):
        middle = np.array([number % side + 0.5, number // side + 0.5])
        found = []
        for t in range(30):
            a, b, c = points[faces[:, t]].astype(float)
            edges = np.stack([b[:2] - a[:2], c[:2] - a[:2]], axis=1)
            if np.linalg.det(edges) <= 0.01:
                continue
            u, v = np.linalg.solve(edges, middle - a[:2])
            if u >= 0 and v >= 0 and u + v <= 1:
                found.append((a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2]), t))
        assert (number in seen) == bool(found)
        if found:
            depth, nearest = min(found)
            assert seen[number][0] == nearest
            assert seen[number][1] == pytest.approx(depth, abs=1e-3)
            covered += 1
    assert covered > 300


def standing(yaw: float) -> np.ndarray:
    """One frame of a gymnast who stands turned by ``yaw`` degrees from facing right."""
    return joints(pose(foot=80)[None], STATURE) @ rotation("z", np.array([yaw]))[0].T


def shown(world: np.ndarray) -> np.ndarray:
    """``(2 px, 2 px, 3)`` picture without noise of one frame, in unmistakable colours."""
    athlete = replace(
        Athlete.draw(np.random.default_rng(3)),
        skin=(0, 0, 250),
        sleeve=(0, 0, 250),
        front=(0, 250, 0),
        back=(250, 0, 0),
        hair=(0, 0, 0),
        stature=STATURE,
    )
    scene = replace(Scene.draw(np.random.default_rng(1), 112), azimuth=0.0, elevation=0.0)
    camera = Camera.follow(world, scene, 112, np.random.default_rng(0))
    return np.asarray(painter(world, 2, athlete, scene, camera)(0))


def share(picture: np.ndarray, channel: int) -> float:
    """Pixels in which one primary colour stands alone, as a share of those in any of the three."""
    bright = (picture > 60) & (picture.sum(axis=-1, keepdims=True) - picture < 8)
    return bright[..., channel].sum() / bright.sum()


def test_the_viewer_sees_the_side_that_is_turned_to_them():
    facing, away = shown(standing(-90)), shown(standing(90))
    assert share(facing, 1) > 0.2 > 0.02 > share(facing, 0), "the leotard's front"
    assert share(away, 0) > 0.2 > 0.02 > share(away, 1), "its back"


def test_a_near_arm_hides_the_trunk_and_the_trunk_hides_a_far_arm():
    """The left arm hangs, the right one is out of the way in front; seen from the left and from the right."""
    hanging = joints(pose(foot=80, arm_r=90)[None], STATURE)
    from_left, from_right = shown(hanging @ np.diag([-1.0, -1.0, 1.0])), shown(hanging)
    assert share(from_right, 2) < share(from_left, 2) - 0.04


def test_both_renderers_show_the_same_joints_and_a_body_is_the_same_every_time():
    clip = CLIPS[0]
    frames, there = render_clip(clip, 112, renderer="body")
    again, _ = render_clip(clip, 112, renderer="body")
    np.testing.assert_array_equal(frames, again)
    sticks, others = render_clip(clip, 112)
    np.testing.assert_array_equal(there, others)
    assert frames.shape == sticks.shape
    assert (frames != sticks).any()
    some, _ = render_clip(clip, 112, np.array([3, 9]), "body")
    np.testing.assert_array_equal(some, frames[[3, 9]])


@pytest.mark.parametrize("label", [0, 4, 8, 15])
def test_every_inner_joint_lies_on_the_gymnasts_silhouette(label):
    world = perform(ELEMENTS[label], np.linspace(0, 1, 10), np.random.default_rng(label), STATURE)
    scene = Scene.draw(np.random.default_rng(2), 112)
    athlete = replace(Athlete.draw(np.random.default_rng(3)), stature=STATURE)
    camera = Camera.follow(world, scene, 112, np.random.default_rng(0))
    paint, places = painter(world, 2, athlete, scene, camera), camera.project(world)[..., :2].astype(int)
    inner = [INDEX[name] for name in ("pelvis", "chest", "head", "knee_l", "knee_r", "elbow_l", "elbow_r")]
    on = []
    for i in range(len(world)):
        changed = (np.asarray(paint(i)) != np.asarray(scene.backdrop)).any(axis=-1)
        assert changed.mean() < 0.5
        on.append(changed[places[i, inner, 1], places[i, inner, 0]])
    assert np.mean(on) > 0.97


def test_a_folder_says_its_renderer_and_has_the_same_annotation_for_both(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(dataset.SIZES, "tiny", dataset.Size(43, 42, 112))
    folders = {kind: tmp_path / kind for kind in ("sticks", "body")}
    for kind, folder in folders.items():
        make_minigym(MiniGymConfig(folder, "tiny", videos=False, renderer=kind))
        assert json.loads((folder / "minigym.json").read_text(encoding="utf-8"))["renderer"] == kind
    for path in folders["sticks"].iterdir():
        if path.name != "minigym.json":
            assert path.read_bytes() == (folders["body"] / path.name).read_bytes(), path.name
    with pytest.raises(GymQAError, match="holds another MiniGym"):
        make_minigym(MiniGymConfig(folders["sticks"], "tiny", videos=False, renderer="body"))
    with pytest.raises(SystemExit):
        main(["make-minigym", "--output", str(tmp_path / "x"), "--renderer", "wax"])
    assert "wax" in capsys.readouterr().err


def test_a_folder_from_before_there_were_bodies_is_one_of_sticks(tmp_path: Path):
    make_minigym(MiniGymConfig(tmp_path, "tiny", videos=False, renderer="sticks"))
    card = json.loads((tmp_path / "minigym.json").read_text(encoding="utf-8"))
    del card["renderer"]
    (tmp_path / "minigym.json").write_text(json.dumps(card), encoding="utf-8")
    make_minigym(MiniGymConfig(tmp_path, "tiny", videos=False, renderer="sticks"))
    with pytest.raises(GymQAError, match="holds another MiniGym"):
        make_minigym(MiniGymConfig(tmp_path, "tiny", videos=False, renderer="body"))
