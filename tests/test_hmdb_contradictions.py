"""HMDB-51's lists against themselves: said by class, and left out where asked."""

from __future__ import annotations

import pytest
from published_sets import HMDB, hmdb51

from gym_qa.datasets.cliplist import read_labels
from gym_qa.datasets.contradictions import class_in
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import read_tables
from gym_qa.datasets.splitlists import read_ucf101
from gym_qa.errors import GymQAError
from sefar_mllm.cli import main

TAIL = "_f_cm_np1_ba_med_0.avi"


def add(folder, name, *lines):
    """Lines at the end of a class's list."""
    path = folder / f"{name}_test_split1.txt"
    path.write_text(path.read_text("utf-8") + "".join(f"{line}\n" for line in lines), "utf-8")


@pytest.fixture
def data(tmp_path):
    """Lists of which two contradict each other as the published ones of climb and climb_stairs do."""
    folder = hmdb51(tmp_path)
    add(
        folder,
        "climb",
        f"Film_climb_stairs{TAIL} 1",
        f"Other_climb_stairs{TAIL} 2",
        f"No_climb_stairs{TAIL} 0",
    )
    add(folder, "climb_stairs", f"Film_climb{TAIL} 1")
    add(folder, "kick", f"Same{TAIL} 1")
    add(folder, "kick_ball", f"Same{TAIL} 2")
    return folder


def build(data, output, *options):
    arguments = ["--dataset", "hmdb51", "--data", str(data), "--output", str(output), "--fraction", "0.5"]
    return main(["build-qa", *arguments, "--policy", "uniform", "--balance", "none", *options])


def test_contradictions_are_said_by_class(data, tmp_path, capsys):
    assert build(data, tmp_path / "qa") == 2
    said = capsys.readouterr().err
    assert "about 4 clips" in said
    assert "2 listed under climb and named or also listed as climb_stairs" in said
    assert "1 listed under climb_stairs and named or also listed as climb" in said
    assert "1 listed under kick and named or also listed as kick_ball (Same_f_cm" in said
    assert "--contradictory leave-out" in said


def test_left_out_they_are_in_neither_part(data, tmp_path):
    assert build(data, tmp_path / "qa", "--contradictory", "leave-out") == 0
    clips = {
        clip
        for name in ("train", "unlabelled", "val")
        for _, clip, _ in read_labels(tmp_path / f"qa/{name}.csv")
    }
    (tmp_path / "clean").mkdir()
    tables = read_tables(DataFiles(dataset="hmdb51", data=hmdb51(tmp_path / "clean")))
    assert clips == {clip.clip_id for table in tables for clip in table.clips}


def test_kept_they_have_the_lists_label(data):
    files = DataFiles(dataset="hmdb51", data=data, contradictory="keep")
    with pytest.raises(GymQAError, match="in both lists"):
        read_tables(files)  # the same clip in two classes cannot be kept
    for name in ("kick", "kick_ball"):
        path = data / f"{name}_test_split1.txt"
        path.write_text(path.read_text("utf-8").replace("Same", f"{name}_Same"), "utf-8")
    train, val = read_tables(files)
    found = {clip.clip_id: HMDB[clip.label] for table in (train, val) for clip in table.clips}
    assert found[f"Film_climb_stairs{TAIL[:-4]}"] == "climb"
    assert found[f"Film_climb{TAIL[:-4]}"] == "climb_stairs"
    assert {clip.source_video for clip in train.clips if clip.clip_id.startswith("Film_")} == {"Film"}


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("Film_climb_f_cm_np1", "climb"),
        ("Film_climb_stairs_f_cm_np1", "climb_stairs"),
        ("kick_a_ball_kick_u_nm", "kick"),
        ("Let_us_climb_wave_f_cm", "wave"),
        ("Film_climbing_f_cm", ""),
        ("Film_brush_hair", "brush_hair"),
    ],
)
def test_the_class_in_a_name(clip, name):
    assert class_in(clip, HMDB) == name


def test_ucf_folder_and_name_must_agree(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 Biking\n2 HandstandPushups\n", "utf-8")
    good = "HandstandPushups/v_HandStandPushups_g08_c01.avi 2\n"  # as published: another S
    (tmp_path / "list.txt").write_text(good, "utf-8")
    assert read_ucf101(tmp_path / "classInd.txt", tmp_path / "list.txt").clips[0].label == 1
    (tmp_path / "list.txt").write_text(f"{good}Biking/v_HandStandPushups_g08_c02.avi 1\n", "utf-8")
    with pytest.raises(GymQAError, match=r"list\.txt, line 2"):
        read_ucf101(tmp_path / "classInd.txt", tmp_path / "list.txt")
