"""The scan of clip lists and the verb that reports it."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from encoder_videos import counting_frames, write_video

import encoder.loading.scan
from encoder.loading.scan import VideoScan, scan_clips, scan_video
from encoder.video.elements import TemporalElements
from encoder.video.pyav_reader import PyAVReader
from sefar_mllm.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One video of every kind."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3)).astype(np.uint8)
    good = write_video(folder / "good.mp4", noise).read_bytes()
    write_video(folder / "short.mp4", counting_frames(3, 64, 96))
    write_video(folder / "small.mp4", counting_frames(20, 48, 64))
    write_video(folder / "long.mp4", counting_frames(20, 64, 400))
    (folder / "text.mp4").write_text("not a video")
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    damaged = bytearray(good)
    middle = len(good) // 2
    damaged[middle : middle + 20000] = bytes(20000)
    (folder / "damaged.mp4").write_bytes(damaged)
    write_varying(folder / "varying.mp4")
    write_odd_size(folder / "odd.mkv")
    return folder


def write_varying(path: Path) -> None:
    """Every fourth frame is shown three times as long."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        time = 0
        for number, pixels in enumerate(counting_frames(20, 64, 96)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            time += 12 if number % 4 == 3 else 4
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_odd_size(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 65, 97, "bgr0"
        for pixels in counting_frames(12, 65, 97):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


LINES = {
    2: ("good.mp4", True, ""),
    3: ("short.mp4", False, "has 3 frames, fewer than the 4 of the context element"),
    4: ("small.mp4", True, "64 × 48 pixels is very small"),
    5: ("long.mp4", True, "400 × 64 pixels is very long"),
    6: ("text.mp4", False, "cannot be opened as a video"),
    7: ("cut.mp4", False, "cannot be opened as a video"),
    8: ("damaged.mp4", False, "cannot be decoded"),
    9: ("varying.mp4", True, "the frame rate varies: frames are shown for 1.00 to 3.00 times"),
    10: ("odd.mkv", True, "97 × 65 pixels is an odd size"),
    11: ("gone.mp4", False, "no such video"),
}


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_every_bad_clip_is_reported_with_its_line(reader, folder):
    path = folder / f"{reader}.csv"
    path.write_text("video,label\n" + "".join(f"{name},0\n" for name, _, _ in LINES.values()))
    report = scan_clips([path], TemporalElements.parse("2-2-4"), reader=reader)
    assert (report.clips, report.videos, report.unusable, report.odd) == (10, 10, 5, 4)
    assert report.frames == [12, 20, 40]
    found = {finding.line: finding for finding in report.findings}
    assert sorted(found) == [line for line, (_, _, reason) in LINES.items() if reason]
    for line, finding in found.items():
        name, usable, reason = LINES[line]
        assert finding.usable == usable
        assert finding.video == str(folder / name)
        assert finding.reason.startswith(str(folder / name))
        assert reason in finding.reason
    assert report.sizes["96x64"] == 4
    assert report.rates["25"] >= 6


def test_spans_and_repeated_lines(folder):
    path = folder / "spans.csv"
    path.write_text(
        "video,label,start,end\ngood.mp4,0,0,0.8\ngood.mp4,0,1.5,9\ngood.mp4,0,0,0.1\ngood.mp4,1,0,0.8\n"
    )
    path.write_text(path.read_text() + "good.mp4,0,0,0.8\n")
    report = scan_clips([path], TemporalElements.parse("2-2-4"), workers=1)
    assert (report.clips, report.videos, report.unusable, report.odd) == (5, 1, 2, 1)
    assert [(f.line, f.usable) for f in report.findings] == [(3, False), (4, False), (6, True)]
    assert "the span ends at 9.0 s, the video at 1.60 s" in report.findings[0].reason
    assert "has 2 frames" in report.findings[1].reason
    assert f"also in {path}, line 2" in report.findings[2].reason


def dies_of_one(path: Path, reader: str, rate: float | None) -> VideoScan:
    if path.name == "short.mp4":
        os._exit(1)
    return scan_video(path, reader, rate)


def test_a_video_that_kills_its_worker_is_found(folder, monkeypatch):
    monkeypatch.setattr(encoder.loading.scan, "scan_video", dies_of_one)
    path = folder / "deadly.csv"
    path.write_text("video,label\ngood.mp4,0\nshort.mp4,0\nsmall.mp4,0\n")
    report = scan_clips([path], TemporalElements.parse("4"))
    assert report.unusable == 1
    assert [f.line for f in report.findings] == [3, 4]
    assert "ends the process" in report.findings[0].reason


def test_a_frame_that_is_another_one_when_read_alone_is_found(folder, monkeypatch):
    read = PyAVReader.read

    def one_too_late(self, indices):
        return read(self, indices if len(indices) > 1 else [max(0, indices[0] - 1)])

    monkeypatch.setattr(PyAVReader, "read", one_too_late)
    found = scan_video(folder / "good.mp4")
    assert found.error.startswith(f"{folder / 'good.mp4'}: frame 39 is another one when it is read alone")
    monkeypatch.undo()
    assert scan_video(folder / "good.mp4").error == ""


@pytest.mark.parametrize("raised", [ZeroDivisionError("odd"), MemoryError(), LookupError("codec")])
def test_an_error_of_any_class_is_a_line(raised, folder, monkeypatch):
    def fails(self, indices):
        raise raised

    monkeypatch.setattr(PyAVReader, "read", fails)
    path = folder / "any.csv"
    path.write_text("good.mp4 0\n")
    report = scan_clips([path], TemporalElements.parse("4"), workers=1)
    said = str(raised) or type(raised).__name__
    assert [finding.reason for finding in report.findings] == [f"{folder / 'good.mp4'}: {said}"]


def test_the_verb_tells_by_its_exit_status_and_writes_the_report(folder, tmp_path, capsys):
    path = folder / "verb.csv"
    path.write_text("small.mp4 0\ngood.mp4 1\n")
    output = tmp_path / "report" / "doctor.json"
    assert main(["doctor", "--clips", f"[{path}]", "--output", str(output)]) == 0
    assert f"{path}, line 1: odd: {folder / 'small.mp4'}: 64 × 48" in capsys.readouterr().out
    assert json.loads(output.read_text())["clips"]["odd"] == 1
    path.write_text("small.mp4 0\ntext.mp4 1\n")
    assert main(["doctor", "--clips", f"[{path}]", "--output", str(output)]) == 2
    said = capsys.readouterr()
    assert f"{path}, line 2: {folder / 'text.mp4'}: cannot be opened" in said.out
    assert "1 of 2 clips cannot be used" in said.err
    assert json.loads(output.read_text())["clips"]["unusable"] == 1


def test_it_has_to_be_told_what_to_look_at(capsys):
    assert main(["doctor"]) == 2
    assert "--clips" in capsys.readouterr().err
