"""Cutting clips: the very frames that the annotation names, restarts, and a report of what is not there."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from gym_qa.cut import CutClipsConfig, cut_clips
from gym_qa.cutting import cut_clip, is_whole
from gym_qa.errors import GymQAError
from sefar_mllm.cli import main

VIDEOS = {"AAAAAAAAAAA": 25, "BBBBBBBBBBB": Fraction(30000, 1001)}
FRAMES = 150


def write_source(path, speed, frames=FRAMES, side=48, codec="libx264", options=None):
    """A video whose frames tell their number in eight bright or dark stripes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=speed, options=options or {"crf": "10", "g": "50"})
        stream.bit_rate = 2_000_000
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            bits = [(number >> bit) & 1 for bit in range(8)]
            stripes = np.repeat(np.array(bits, np.uint8) * 200 + 20, side // 8)
            picture = np.broadcast_to(stripes[None, :, None], (side, side, 3))
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
            )
        container.mux(stream.encode())


def numbers(path):
    """The numbers that a video's frames tell."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="gray")
            stripes = picture.reshape(picture.shape[0], 8, -1).mean((0, 2)) > 120
            found.append(int(sum(bit << place for place, bit in enumerate(stripes))))
        return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """FineGym-format files about three source videos: two there, one missing."""
    folder = tmp_path_factory.mktemp("data")
    spans = {
        "A_0000_0001": [0.2, 1.0],
        "A_0001_0002": [1.0, 2.0],
        "A_0002_0003": [2.04, 2.6],
        "A_0008_0009": [8, 9],
    }
    event = {"event": 4, "timestamps": [[1.0, 9.0]]}
    segments = {name: {"stages": 1, "timestamps": [span]} for name, span in spans.items()}
    annotation = {
        video: {"E_000001_000009": {**event, "segments": segments}} for video in (*VIDEOS, "MISSING_E_1")
    }
    (folder / "annotation_info.json").write_text(json.dumps(annotation), encoding="utf-8")
    (folder / "categories.txt").write_text(
        "Clabel: 0; set: 41; Glabel: 1; (UB) a\nClabel: 1; set: 41; Glabel: 2; (UB) b\n", "utf-8"
    )
    ids = [f"{video}_E_000001_000009_{segment}" for video in annotation for segment in spans]
    (folder / "train_element.txt").write_text("".join(f"{name} 0\n" for name in ids[::2]), "utf-8")
    (folder / "val_element.txt").write_text("".join(f"{name} 1\n" for name in ids[1::2]), "utf-8")
    (folder / "sources").mkdir()
    for video, speed in VIDEOS.items():
        write_source(folder / "sources" / f"{video}.mp4", speed)
    return folder


def config(data, output, **changes):
    return CutClipsConfig(data=data, sources=data / "sources", output=output, **{"workers": 1, **changes})


def test_clips_hold_exactly_the_annotated_frames(data, tmp_path):
    report = cut_clips(config(data, tmp_path))
    assert (report.cut, report.kept) == (6, 0)
    assert len(report.missing["MISSING_E_1"]) == 4
    assert len(report.too_short) == 2  # the clips at 9 s of videos that end before
    assert not report.unreadable
    assert json.loads((tmp_path / "cut_report.json").read_text("utf-8"))["cut"] == 6
    for video, speed in VIDEOS.items():
        for segment, (start, end) in {
            "A_0000_0001": (1.2, 2.0),
            "A_0001_0002": (2, 3),
            "A_0002_0003": (3.04, 3.6),
        }.items():
            first, last = round(start * speed), round(end * speed)
            assert numbers(tmp_path / f"{video}_E_000001_000009_{segment}.mp4") == list(range(first, last))


def test_started_again_it_cuts_only_what_is_not_whole(data, tmp_path):
    cut_clips(config(data, tmp_path))
    clips = sorted(tmp_path.glob("*.mp4"))
    times = {clip: clip.stat().st_mtime_ns for clip in clips}
    clips[0].write_bytes(clips[0].read_bytes()[:-200])
    clips[1].unlink()
    assert not is_whole(clips[0], 4)
    report = cut_clips(config(data, tmp_path, workers=2))
    assert (report.cut, report.kept) == (2, 4)
    assert all(clip.stat().st_mtime_ns == times[clip] for clip in clips[2:])
    assert not list(tmp_path.glob("*.tmp"))


def test_damaged_sources_are_reported(data, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    whole = (data / "sources" / "AAAAAAAAAAA.mp4").read_bytes()
    (sources / "AAAAAAAAAAA.mp4").write_bytes(whole[: len(whole) // 2])
    (sources / "BBBBBBBBBBB.mkv").write_bytes(b"")
    report = cut_clips(CutClipsConfig(data=data, sources=sources, output=tmp_path / "clips", workers=1))
    assert (report.cut, len(report.unreadable)) == (0, 8)
    assert not list((tmp_path / "clips").glob("*.mp4"))


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mkv", "libx264", {"g": "500", "bf": "3"}),  # one key frame in all, reordered frames
        ("avi", "mpeg4", {"g": "40"}),
        ("mov", "libx264", {"g": "30", "bf": "2", "flags": "-cgop"}),
        ("webm", "libvpx", {"g": "60", "deadline": "realtime"}),
    ],
)
def test_frames_are_exact_in_every_container(suffix, codec, options, tmp_path):
    source = tmp_path / f"a.{suffix}"
    write_source(source, 25, codec=codec, options=options)
    assert numbers(source) == list(range(FRAMES))
    for first, last in ((0, 7), (24, 31), (61, 103), (139, 150)):
        cut_clip(source, (first / 25, last / 25), tmp_path / "clip.mp4", 4, 18)
        assert numbers(tmp_path / "clip.mp4") == list(range(first, last))


def test_a_seek_that_leads_too_far_starts_over(tmp_path):
    source = tmp_path / "a.mpg"
    write_source(source, 25, codec="mpeg2video", options={"g": "12", "bf": "2"})
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        container.seek(int(Fraction(24, 25) / stream.time_base) + stream.start_time, stream=stream)
        first = next(container.decode(stream))
        assert (first.pts - stream.start_time) * stream.time_base > Fraction(24, 25)
    cut_clip(source, (24 / 25, 31 / 25), tmp_path / "clip.mp4", 4, 18)
    assert numbers(tmp_path / "clip.mp4") == list(range(24, 31))


def test_the_least_number_of_frames(data, tmp_path):
    assert cut_clip(data / "sources" / "AAAAAAAAAAA.mp4", (0, 0.2), tmp_path / "a.mp4", 4, 18) == 5
    report = cut_clips(config(data, tmp_path / "long", least_frames=22))
    assert {clip_id.rsplit("_A_", 1)[1] for clip_id in report.too_short} >= {"0002_0003"}


def test_bad_input(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--output", str(tmp_path)]
    assert main(["cut-clips", *arguments, "--sources", str(tmp_path / "absent")]) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    lists = tmp_path / "ucf"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n2 B\n", "utf-8")
    (lists / "trainlist01.txt").write_text("A/v_A_g01_c01.avi 1\n", "utf-8")
    (lists / "testlist01.txt").write_text("B/v_B_g01_c01.avi\n", "utf-8")
    with pytest.raises(GymQAError, match="no times"):
        cut_clips(CutClipsConfig(dataset="ucf101", data=lists, sources=data, output=tmp_path))
