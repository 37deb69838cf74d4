"""Names that a system or a spreadsheet takes for something else: colons, formulas, ways out."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_videos import write_video
from hypothesis import given
from hypothesis import strategies as st

from encoder.video.clips import read_clips, read_numbered_clips
from encoder.video.reader import read_clip
from encoder.visual.base import EncoderSpec
from gym_qa.cutting.one_clip import is_whole
from gym_qa.datasets.cliplist import path_cell, read_label_list, read_labels, write_clip_list
from gym_qa.datasets.table import ActionClass, Clip, ClipTable
from gym_qa.errors import GymQAError
from gym_qa.files import safe_relative
from sefar_mllm.experiments.compare import slug

FRAMES = np.zeros((8, 48, 64, 3), np.uint8)


@pytest.mark.parametrize("name", ["12:30.mp4", "file:a.mp4", "concat:a|b.mp4", "http:x.mp4", "a:b/c.mp4"])
@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_videos_with_a_colon_in_a_relative_path_are_read(name, reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    write_video(tmp_path / name, FRAMES)
    Path("list.csv").write_text(f"{name},0\n", "utf-8")
    (clip,) = read_clips(Path("list.csv"))
    assert not clip.path.is_absolute()
    assert read_clip(clip, lambda count: list(range(count)), None, reader).shape == FRAMES.shape
    assert is_whole(Path(name), 4)
    assert read_labels(Path("list.csv")) == [(1, Path(name).stem, 0)]


def test_an_encoder_in_a_folder_with_a_colon():
    parsed = EncoderSpec.parse("sefar:runs/12:30/best?tokens=clip")
    assert (parsed.kind, parsed.name, parsed.options) == ("sefar", "runs/12:30/best", {"tokens": "clip"})


@pytest.mark.parametrize("name", ["Film: part 2_wave_f.avi", "12:30.mp4", "a/bc: d"])
def test_a_colon_is_a_character_of_a_name(name):
    assert safe_relative(name, "here") == name


@pytest.mark.parametrize("name", ["c:x", "C:", "a/d:x"])
def test_a_drive_is_not(name):
    with pytest.raises(GymQAError, match="here"):
        safe_relative(name, "here")


@pytest.mark.parametrize("first", "=+-@")
def test_no_cell_of_a_clip_list_is_a_formula_and_it_reads_the_same(first, tmp_path):
    names = [f"{first}1+cmd|' /C calc'!A0", f"{first}x_E_000001_000002_A_0001_0002", "plain"]
    clips = tuple(Clip(name, "v", label) for label, name in enumerate(names))
    in_folder = replace(clips[0], clip_id="y", path=f"{first}folder/y.avi")
    clips = (clips[1], clips[2], in_folder)
    write_clip_list(tmp_path / "list.csv", clips)
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        begins = [cell for row in csv.reader(file) for cell in row if cell.startswith(first)]
    assert begins == ([] if first != "-" else [clip.file for clip in clips if clip.file.startswith("-")])
    formula = replace(clips[0], clip_id=names[0])
    assert path_cell(formula.path or formula.clip_id) == f"./{names[0]}"
    table = ClipTable(clips, tuple(ActionClass(name) for name in names))
    assert read_label_list(tmp_path / "list.csv", table) == list(clips)
    read = [clip.path for _, clip in read_numbered_clips(tmp_path / "list.csv", Path("root"))]
    assert read == [Path("root") / clip.file for clip in clips]


@given(st.text(min_size=1), st.text(min_size=1))
def test_an_encoders_name_is_one_folder_below_the_output(one, other):
    folder = Path("/runs/compare/features")
    assert (folder / slug(one)).resolve().parent == folder
    assert (slug(one) == slug(other)) == (one == other)
    for name in ("..", ".", "../../x", "/etc", "a/../..", "~"):
        assert (folder / slug(name)).resolve().parent == folder
