"""Clip lists in every form that data sets come in, read alike by both rooms that read them."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_sets import ucf101

from encoder.errors import EncoderError
from encoder.video.clips import read_numbered_clips
from gym_qa.datasets.cliplist import read_label_list, read_labels
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import read_tables
from gym_qa.errors import GymQAError
from sefar_mllm.cli import main

NAMES = st.text("abz019_-. ,()#'é", min_size=1, max_size=12).map(str.strip)
ROWS = st.lists(
    st.tuples(NAMES, st.integers(0, 999)),
    min_size=1,
    max_size=5,
)


def as_csv(rows, header):
    buffer = io.StringIO()
    csv.writer(buffer).writerows(
        [*([header] if header else []), *rows]
    )  # ends lines with \r\n, as Excel does
    return buffer.getvalue()


FORMS = {
    "video,label": lambda rows: as_csv(rows, ("video", "label")),
    "path,label": lambda rows: as_csv(rows, ("path", "label")),
    "csv without header": lambda rows: as_csv(rows, None),
    "quoted csv without header": lambda rows: "".join(f'"{name}",{label}\n' for name, label in rows),
    "comma": lambda rows: "".join(f"{name},{label}\n" for name, label in rows),
    "comma and space": lambda rows: "".join(f"{name}, {label}\n" for name, label in rows),
    "space": lambda rows: "".join(f"{name} {label}\n" for name, label in rows),
    "tab, no last line end": lambda rows: "\n".join(f"{name}\t{label}" for name, label in rows),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_every_form_is_read_alike_by_both_rooms(form, rows):
    if form.startswith("comma"):  # CSV quotes a path with a comma in it
        rows = [(name.replace(",", ""), label) for name, label in rows]
    rows = [(f"folder/a{name}.avi", label) for name, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(FORMS[form](rows).encode())
        first = 2 if form in ("video,label", "path,label") else 1
        read = [(number, clip.path, clip.label) for number, clip in read_numbered_clips(path)]
        assert read == [(n, path.parent / name, label) for n, (name, label) in enumerate(rows, first)]
        names = [(n, Path(name).stem, label) for n, (name, label) in enumerate(rows, first)]
        assert read_labels(path) == names


@pytest.mark.parametrize(
    "line", ["a.avi", "a.avi,x", "a.avi,3,0.5,2", "a, b.avi,3", ",3", "a.avi,3.5", '"a.avi', "a.avi;3"]
)
def test_lines_of_no_form_are_named(line, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"good.avi,0\n{line}\n", "utf-8")
    with pytest.raises(GymQAError, match=r"list\.csv, line 2: "):
        read_labels(path)
    with pytest.raises(EncoderError, match=r"list\.csv(, line 2)?: "):
        read_numbered_clips(path)


@pytest.mark.parametrize("form", ["comma", "space", "video,label"])
def test_a_published_ucf_list_is_a_label_split(form, tmp_path):
    data = ucf101(tmp_path)
    train, _ = read_tables(DataFiles(dataset="ucf101", data=data))
    wanted = train.clips[::3]
    path = tmp_path / "ten_percent.csv"
    path.write_text(FORMS[form]([(f"/data/UCF-101/{clip.file}", clip.label) for clip in wanted]), "utf-8")
    assert read_label_list(path, train) == list(wanted)
    arguments = ["--dataset", "ucf101", "--data", str(data), "--labelled", str(path)]
    arguments += ["--output", str(tmp_path / "qa"), "--policy", "uniform", "--balance", "none"]
    assert main(["build-qa", *arguments]) == 0
    assert [row[1] for row in read_labels(tmp_path / "qa" / "train.csv")] == [clip.clip_id for clip in wanted]
