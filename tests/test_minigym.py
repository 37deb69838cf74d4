"""MiniGym: determinism, formats, and movements that are what their names say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from gym_qa.datasets.finegym import read_finegym
from gym_qa.errors import GymQAError
from gym_qa.minigym import ELEMENTS, MiniGymConfig, dataset, make_minigym
from gym_qa.minigym.body import INDEX, JOINTS
from gym_qa.minigym.dataset import render_clip, write_video
from gym_qa.minigym.motion import BAR_HEIGHT, perform
from gym_qa.minigym.schedule import FPS, plan
from sefar_mllm.cli import main

STATURE = np.array([0.5, 0.86, 0.56, 0.38])
TIME = np.linspace(0, 1, 200)


def swept(x: np.ndarray, y: np.ndarray) -> float:
    """Degrees that a direction sweeps in a plane over a clip, signed."""
    angle = np.unwrap(np.arctan2(y, x))
    return float(np.degrees(angle[-1] - angle[0]))


def of(family: str) -> list:
    return [pytest.param(e, id=e.name) for e in ELEMENTS if e.family == family]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("element", of("salto"))
def test_a_salto_turns_over_as_often_and_in_the_direction_that_its_name_says(element, seed):
    world = perform(element, TIME, np.random.default_rng(seed), STATURE)
    spine = world[:, INDEX["chest"]] - world[:, INDEX["pelvis"]]
    along = spine[:, 0]  # the facing is within 25 degrees of +x, so z over x sweeps the somersault
    assert swept(spine[:, 2], along) == pytest.approx(360 * element.saltos * element.direction, abs=20)
    assert ("double" in element.name) == (element.saltos == 2)
    assert ("forward" in element.name) == (element.direction > 0)


@pytest.mark.parametrize("element", of("turn"))
def test_a_pirouette_turns_as_often_as_its_name_says(element):
    world = perform(element, TIME, np.random.default_rng(0), STATURE)
    across = world[:, INDEX["shoulder_l"]] - world[:, INDEX["shoulder_r"]]
    assert abs(swept(across[:, 0], across[:, 1])) == pytest.approx(360 * element.turns, abs=5)
    assert element.name.split()[1] == f"{element.turns:g}"
    support = world[:, INDEX["ankle_r"], :2]
    assert np.ptp(support, axis=0).max() < 1e-9, "the supporting foot stays where it is"


@pytest.mark.parametrize("element", of("jump"))
def test_a_jump_turns_in_the_air_as_often_as_its_name_says(element):
    world = perform(element, TIME, np.random.default_rng(0), STATURE)
    across = world[:, INDEX["hip_l"]] - world[:, INDEX["hip_r"]]
    assert abs(swept(across[:, 0], across[:, 1])) == pytest.approx(360 * element.turns, abs=5)


@pytest.mark.parametrize("element", of("circle"))
def test_a_circle_goes_round_the_bar_with_hands_on_it(element):
    world = perform(element, TIME, np.random.default_rng(0), STATURE)
    grip = (world[:, INDEX["hand_l"]] + world[:, INDEX["hand_r"]]) / 2
    np.testing.assert_allclose(grip, [[0, 0, BAR_HEIGHT]] * len(grip), atol=1e-9)
    body = world[:, INDEX["pelvis"]] - grip
    assert swept(body[:, 2], body[:, 0]) == pytest.approx(360 * element.direction, abs=40)


def test_bones_keep_their_length():
    world = perform(ELEMENTS[8], TIME, np.random.default_rng(0), STATURE)
    for side in "lr":
        thigh = np.linalg.norm(world[:, INDEX[f"hip_{side}"]] - world[:, INDEX[f"knee_{side}"]], axis=1)
        np.testing.assert_allclose(thigh, STATURE[1] / 2, atol=1e-9)


def test_classes_are_fine_grained_and_spread_over_apparatus():
    names = [element.name for element in ELEMENTS]
    assert len(set(names)) == len(names) >= 32
    assert len({element.event for element in ELEMENTS}) >= 3
    stripped = [name.split(") ", 1)[1] for name in names]
    assert len(set(stripped)) < len(stripped), "as in FineGym, some names stand for classes of two apparatus"


def test_the_plan_is_long_tailed_and_splits_by_source_video():
    schedule = plan(3000, 900, seed=3)
    for clips, count in ((schedule.train, 3000), (schedule.val, 900)):
        assert len(clips) == count == len({clip.clip_id for clip in clips})
        sizes = np.bincount([clip.label for clip in clips], minlength=len(ELEMENTS))
        assert sizes.min() >= 1
        assert sizes.max() > 5 * sizes.min()
        assert all(1 <= clip.frames / FPS <= 3 for clip in clips)
    videos = [{clip.clip_id[:11] for clip in clips} for clips in (schedule.train, schedule.val)]
    assert not videos[0] & videos[1]


def test_a_clip_depends_on_its_plan_alone():
    first, second, other = (plan(60, 50, seed) for seed in (5, 5, 6))
    assert first == second
    assert first.train != other.train
    frames, joints = render_clip(first.train[0], 112)
    again, _ = render_clip(second.train[0], 112)
    np.testing.assert_array_equal(frames, again)
    assert frames.shape == (first.train[0].frames, 112, 112, 3)
    assert joints.shape == (len(frames), len(JOINTS), 3)
    some, there = render_clip(first.train[0], 112, np.array([3, 9]))
    np.testing.assert_array_equal(some, frames[[3, 9]])
    np.testing.assert_array_equal(there, joints[[3, 9]])
    assert (joints[..., :2] > -0.1).all()
    assert (joints[..., :2] < 1.1).all()


def test_encoding_is_deterministic_h264(tmp_path):
    frames, _ = render_clip(plan(50, 50, 0).train[0], 112)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 112, 112)
        decoded = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 12


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(dataset.SIZES, "tiny", dataset.Size(46, 44, 48))


def test_a_folder_reads_back_as_finegym_and_is_finished_where_it_stopped(tmp_path: Path, small):
    folder = make_minigym(MiniGymConfig(tmp_path / "m", "tiny", workers=1, renderer="sticks"))
    table = read_finegym(
        folder / "annotation_info.json",
        folder / "categories.txt",
        folder / "train_element.txt",
        folder / "set_categories.txt",
    )
    assert [f"({c.event}) {c.text}" for c in table.classes] == [e.name for e in ELEMENTS]
    schedule = plan(46, 44, 0)
    assert {(c.clip_id, c.label) for c in table.clips} == {(c.clip_id, c.label) for c in schedule.train}
    for clip in table.clips:
        assert clip.end - clip.start == pytest.approx(
            next(c.frames for c in schedule.train if c.clip_id == clip.clip_id) / FPS, abs=0.011
        )
    videos = sorted((folder / "videos").glob("*.mp4"))
    assert len(videos) == 90
    assert (folder / "contact_sheet.png").stat().st_size > 10_000
    before = {v: (v.read_bytes(), v.stat().st_mtime_ns) for v in videos}
    videos[0].unlink()
    make_minigym(MiniGymConfig(tmp_path / "m", "tiny", workers=1, renderer="sticks"))
    assert videos[0].read_bytes() == before[videos[0]][0]
    assert all(v.stat().st_mtime_ns == before[v][1] for v in videos[1:])


def test_two_processes_may_make_the_same_folder_at_once(tmp_path: Path):
    make = (
        "import sys; from pathlib import Path\n"
        "from gym_qa.minigym import MiniGymConfig, dataset, make_minigym\n"
        "dataset.SIZES['tiny'] = dataset.Size(46, 44, 48)\n"
        "make_minigym(MiniGymConfig(Path(sys.argv[1]), 'tiny', workers=1, renderer='sticks'))"
    )
    command = [sys.executable, "-c", make, str(tmp_path / "m")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(list((tmp_path / "m" / "videos").glob("*.mp4"))) == 90
    assert not list((tmp_path / "m").rglob("*.tmp"))


def test_another_seed_does_not_mix_into_a_folder(tmp_path: Path, small, capsys):
    make_minigym(MiniGymConfig(tmp_path / "m", "tiny", videos=False))
    card = json.loads((tmp_path / "m" / "minigym.json").read_text(encoding="utf-8"))
    assert card["synthetic"] is True
    with pytest.raises(GymQAError, match="holds another MiniGym"):
        make_minigym(MiniGymConfig(tmp_path / "m", "tiny", seed=1, videos=False))
    assert main(["make-minigym", "--output", str(tmp_path / "n"), "--size", "huge"]) == 2
    assert "'huge'" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()
