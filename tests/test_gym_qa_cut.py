"""The verb cut-clips: the very frames that the annotation names, restarts, a report of what is not there."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
from numbered_videos import numbers, picture, remux, seconds, turn, write_numbered
from PIL import Image

from gym_qa.cutting import cut
from gym_qa.cutting.cut import CutClipsConfig, cut_clips
from gym_qa.cutting.one_clip import is_whole
from gym_qa.errors import GymQAError
from sefar_mllm.cli import main

FRAMES = 150
VIDEOS = {"AAAAAAAAAAA": 25, "BBBBBBBBBBB": Fraction(30000, 1001)}


def annotate(folder, spans, videos):
    """FineGym-format files: the same spans, in seconds of an event that begins at 1 s, in every video."""
    event = {"event": 4, "timestamps": [[1.0, 9.0]]}
    segments = {name: {"stages": 1, "timestamps": [span]} for name, span in spans.items()}
    annotation = {video: {"E_000001_000009": {**event, "segments": segments}} for video in videos}
    (folder / "annotation_info.json").write_text(json.dumps(annotation), encoding="utf-8")
    (folder / "categories.txt").write_text(
        "Clabel: 0; set: 41; Glabel: 1; (UB) a\nClabel: 1; set: 41; Glabel: 2; (UB) b\n", "utf-8"
    )
    ids = [f"{video}_E_000001_000009_{segment}" for video in annotation for segment in spans]
    (folder / "train_element.txt").write_text("".join(f"{name} 0\n" for name in ids[::2]), "utf-8")
    (folder / "val_element.txt").write_text("".join(f"{name} 1\n" for name in ids[1::2]), "utf-8")
    (folder / "sources").mkdir()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files about three source videos: two there, one missing."""
    folder = tmp_path_factory.mktemp("data")
    spans = {
        "A_0000_0001": [0.2, 1.0],
        "A_0001_0002": [1.0, 2.0],
        "A_0002_0003": [2.04, 2.6],
        "A_0008_0009": [8, 9],
    }
    annotate(folder, spans, (*VIDEOS, "MISSING_E_1"))
    for video, speed in VIDEOS.items():
        write_numbered(folder / "sources" / f"{video}.mp4", FRAMES, rate=speed)
    return folder


def config(data, output, **changes):
    return CutClipsConfig(data=data, sources=data / "sources", output=output, **{"workers": 1, **changes})


def arguments(data, output=None):
    """The same as a command line has it."""
    options = {"data": data, "sources": data / "sources", "output": output or data / "clips", "workers": 1}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


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


def test_the_least_number_of_frames(data, tmp_path):
    report = cut_clips(config(data, tmp_path / "long", least_frames=22))
    assert {clip_id.rsplit("_A_", 1)[1] for clip_id in report.too_short} >= {"0002_0003"}


def test_bad_input(data, tmp_path, capsys):
    words = ["--data", str(data), "--output", str(tmp_path)]
    assert main(["cut-clips", *words, "--sources", str(tmp_path / "absent")]) == 2
    assert "absent: no such folder" in capsys.readouterr().err
    lists = tmp_path / "ucf"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n2 B\n", "utf-8")
    (lists / "trainlist01.txt").write_text("A/v_A_g01_c01.avi 1\n", "utf-8")
    (lists / "testlist01.txt").write_text("B/v_B_g01_c01.avi\n", "utf-8")
    with pytest.raises(GymQAError, match="no times"):
        cut_clips(CutClipsConfig(dataset="ucf101", data=lists, sources=data, output=tmp_path))


GAPS = [n for n in range(150) if not (50 <= n < 100 and n % 3)]
B_FRAMES = {"bf": "2", "g": "12"}
SPANS = {"A_0000_0001": [0.2, 1.0], "A_0001_0002": [1.0, 2.4], "A_0002_0003": [2.4, 3.2]}
SOURCES = {
    "frames in another order, AVI": (
        "b.avi",
        {"codec": "mpeg4", "codec_options": {"bf": "2", "g": "12"}},
        None,
    ),
    "H.264 in AVI": ("h264.avi", {"codec_options": {"bf": "2", "g": "30"}}, None),
    "from 1 s on": ("late.mkv", {}, None),
    "VP8 with gaps": ("gap.webm", {"codec": "libvpx", "codec_options": {"deadline": "realtime"}}, GAPS),
    "mp4 with gaps": ("gap.mp4", {}, GAPS),
    "mkv with gaps": ("gap.mkv", {}, GAPS),
    "dropped frames, AVI": ("gap.avi", {"codec": "mpeg4", "codec_options": {"g": "12"}}, GAPS),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_frames_are_chosen_and_shown_by_their_times(kind, tmp_path):
    """Every frame that is shown in a span is there once, at its time; 25 frames a second stay 25."""
    name, how, there = SOURCES[kind]
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA"])
    source = tmp_path / "sources" / f"AAAAAAAAAAA.{name.rpartition('.')[2]}"
    if kind == "from 1 s on":
        remux(write_numbered(tmp_path / "plain.mp4", FRAMES), source, shift=1.0)
    else:
        write_numbered(source, FRAMES, times=there, **how)
    report = cut_clips(config(tmp_path, tmp_path / "clips"))
    assert (report.cut, report.too_short, report.unreadable) == (3, {}, {})
    for segment, (start, end) in SPANS.items():
        clip = tmp_path / "clips" / f"AAAAAAAAAAA_E_000001_000009_{segment}.mp4"
        first, last = round((1 + start) * 25), round((1 + end) * 25)
        expected = [n for n in there or range(150) if first <= n < last]
        assert numbers(clip) == expected
        assert seconds(clip) == pytest.approx([(n - expected[0]) / 25 for n in expected], abs=1e-4)
        if there is None:
            with av.open(str(clip)) as container:
                assert container.streams.video[0].average_rate == 25


def test_a_rate_that_the_container_rounds_stays_even(tmp_path):
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA"])
    source = tmp_path / "sources" / "AAAAAAAAAAA.mkv"  # mkv counts milliseconds
    write_numbered(source, FRAMES, rate=Fraction(30000, 1001))
    cut_clips(config(tmp_path, tmp_path / "clips"))
    for clip in (tmp_path / "clips").glob("*.mp4"):
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            steps = np.diff([frame.pts for frame in container.decode(stream)])
            assert set(steps * stream.time_base) == {Fraction(1001, 30000)}


def test_clips_of_one_source_share_no_frame_and_leave_none_out(tmp_path):
    """FineGym's times have two digits, so that half of them lie between two frames."""
    cuts = [0.11, 0.5, 0.82, 1.3, 1.75, 2.22, 2.9]
    spans = {f"A_000{i}_000{i + 1}": [cuts[i], cuts[i + 1]] for i in range(6)}
    annotate(tmp_path, spans, ["AAAAAAAAAAA"])
    write_numbered(tmp_path / "sources" / "AAAAAAAAAAA.mp4", FRAMES)
    cut_clips(config(tmp_path, tmp_path / "clips"))
    found = [numbers(path) for path in sorted((tmp_path / "clips").glob("*.mp4"))]
    assert [n for clip in found for n in clip] == list(range(found[0][0], found[-1][-1] + 1))
    for (start, end), clip in zip(spans.values(), found, strict=True):
        assert abs(clip[0] / 25 - 1 - start) <= 0.02 + 1e-9
        assert abs((clip[-1] + 1) / 25 - 1 - end) <= 0.02 + 1e-9


MATRICES = {
    "upright": ((1, 0, 0, 1), lambda x: x),
    "a quarter to the right": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "a half": ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    "a quarter to the left": ((0, -1, 1, 0), lambda x: np.rot90(x)),
    "mirrored": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    "mirrored and a quarter": ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_what_is_to_be_shown_turned_is_turned(kind, tmp_path):
    matrix, turned = MATRICES[kind]
    y, x = np.mgrid[0:48, 0:80]
    drawn = np.stack([x * 3, y * 5, 255 - x - y], -1).astype(np.uint8)
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA"])
    source = tmp_path / "sources" / "AAAAAAAAAAA.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for _ in range(110):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
        container.mux(stream.encode())
    turn(source, matrix)
    assert cut_clips(config(tmp_path, tmp_path / "clips", short_side=24)).cut == 3
    with av.open(str(next((tmp_path / "clips").glob("*.mp4")))) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    expected = turned(np.asarray(Image.fromarray(drawn).resize((40, 24), Image.Resampling.BILINEAR)))
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 4


def test_one_bad_source_is_one_line_for_each_of_its_clips(tmp_path):
    whole = write_numbered(tmp_path / "whole.mp4", FRAMES).read_bytes()
    bad = {
        "CODEC_CODEC": whole.replace(b"avc1", b"zzzz"),  # no decoder knows it
        "SAMPLES_DAM": whole[:60] + bytes(len(whole) // 2) + whole[60 + len(whole) // 2 :],
        "TEXT_TEXT_T": b"not a video",
        "NOTHING_NOT": b"",
    }
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA", "SOUND_SOUND", *bad])
    for video, content in {"AAAAAAAAAAA": whole, **bad}.items():
        (tmp_path / "sources" / f"{video}.mp4").write_bytes(content)
    with av.open(str(tmp_path / "sources" / "SOUND_SOUND.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert main(["cut-clips", *arguments(tmp_path)]) == 0
    report = json.loads((tmp_path / "clips" / "cut_report.json").read_text("utf-8"))
    assert report["cut"] == 3
    assert {clip[:11] for clip in report["unreadable"]} == {"SOUND_SOUND", *bad}
    assert len(report["unreadable"]) == 15
    assert all(reason and "\n" not in reason for reason in report["unreadable"].values())


def test_a_video_that_ends_its_process_is_one_line_too(tmp_path, monkeypatch):
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA", "BBBBBBBBBBB"])
    for video in VIDEOS:
        write_numbered(tmp_path / "sources" / f"{video}.mp4", FRAMES)
    opened = cut._opened

    def crash(path, rate):
        if path.stem == "AAAAAAAAAAA":
            os._exit(11)
        return opened(path, rate)

    monkeypatch.setattr(cut, "_opened", crash)
    monkeypatch.setattr(cut, "get_context", lambda _: multiprocessing.get_context("fork"))
    report = cut_clips(config(tmp_path, tmp_path / "clips"))
    assert (report.cut, len(report.unreadable)) == (3, 3)
    assert {clip[:11] for clip in report.unreadable} == {"AAAAAAAAAAA"}


def test_the_report_is_written_when_the_disk_is_full(data, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cut, "cut_clip", full)
    monkeypatch.setattr(cut, "get_context", lambda _: multiprocessing.get_context("fork"))
    assert main(["cut-clips", *arguments(data, tmp_path)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "cut_report.json").is_file()


def test_clips_for_training_are_small_and_quick_to_read(tmp_path):
    annotate(tmp_path, SPANS, ["AAAAAAAAAAA"])
    write_numbered(tmp_path / "sources" / "AAAAAAAAAAA.mp4", FRAMES)
    assert main(["cut-clips", *arguments(tmp_path), "--short-side", "48", "--gop", "8"]) == 0
    for clip in (tmp_path / "clips").glob("*.mp4"):
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (96, 48)
            keys = [
                packet.pts * stream.time_base * 25 for packet in container.demux(stream) if packet.is_keyframe
            ]
            assert keys[0] == 0
            assert max(np.diff(keys)) <= 8
        settings = clip.read_bytes()
        assert b"cabac=0" in settings
        assert b"deblock=0" in settings
    assert len(numbers(clip)) == len(set(numbers(clip))) > 4


def test_clips_are_not_mixed_with_others_cut_in_another_way(data, tmp_path, capsys):
    assert main(["cut-clips", *arguments(data, tmp_path)]) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("*.mp4")}
    assert main(["cut-clips", *arguments(data, tmp_path), "--gop", "8"]) == 2
    message = capsys.readouterr().err
    assert "was cut in another way" in message
    assert "GOP 8" in message
    assert {path: path.read_bytes() for path in tmp_path.glob("*.mp4")} == before


def dives(folder):
    """FineDiving's files: pictures 11 to 22, 31 to 42 … of one video; the last dive ends behind it."""
    coarse = {
        ("Men3m_r1", i): {"action_type": name, "start_frame": 20 * i + 11, "end_frame": 20 * i + 22}
        for i, name in enumerate(["107B", "207C", "305C", "407C", "5253B", "103B", "105B", "201B"])
    }
    keys = list(coarse)
    for name, value in {
        "FineDiving_coarse_annotation": coarse,
        "train_split": keys[:4],
        "test_split": keys[4:],
    }.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    (folder / "sources").mkdir()


def cut_dives(folder, *options):
    arguments = ["--data", folder, "--sources", folder / "sources", "--output", folder / "clips"]
    assert (
        main(["cut-clips", "--dataset", "finediving", *map(str, arguments), "--workers", "1", *options]) == 0
    )
    clips = [folder / "clips" / f"Men3m_r1_{i}.mp4" for i in range(8)]
    assert [clip.is_file() for clip in clips] == [True] * 7 + [False]
    report = json.loads((folder / "clips" / "cut_report.json").read_text("utf-8"))
    assert list(report["too_short"]) == ["Men3m_r1_7"]
    return clips[:7]


@pytest.mark.parametrize("speed", [25, 30, Fraction(60000, 1001)])
def test_dives_are_cut_by_number_whatever_the_rate(speed, tmp_path):
    dives(tmp_path)
    write_numbered(tmp_path / "sources" / "Men3m_r1.mp4", FRAMES, rate=speed)
    for i, clip in enumerate(cut_dives(tmp_path)):
        assert numbers(clip) == list(range(20 * i + 10, 20 * i + 22))
        with av.open(str(clip)) as container:
            assert container.streams.video[0].average_rate == speed


@pytest.mark.parametrize("folder", ["", "{dive}/"])
def test_dives_are_cut_from_folders_of_pictures(folder, tmp_path):
    """Picture 00011.jpg is frame 10; FineDiving hands out a folder for every dive."""
    dives(tmp_path)
    for number in range(10, 152):
        name = f"{folder.format(dive=(number - 10) // 20)}{number + 1:05d}.jpg"
        path = tmp_path / "sources" / "Men3m_r1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path, quality=95)
    for i, clip in enumerate(cut_dives(tmp_path, "--frames-per-second", "30")):
        assert numbers(clip) == list(range(20 * i + 10, 20 * i + 22))
        with av.open(str(clip)) as container:
            assert container.streams.video[0].average_rate == 30


def test_a_picture_that_is_missing_or_there_twice_is_reported(tmp_path):
    dives(tmp_path)
    folder = tmp_path / "sources" / "Men3m_r1"
    folder.mkdir()
    for number in range(160):
        if number != 15:
            Image.fromarray(picture(number)).save(folder / f"{number + 1:05d}.png")
    report = cut_clips(
        CutClipsConfig(
            dataset="finediving",
            data=tmp_path,
            sources=tmp_path / "sources",
            output=tmp_path / "a",
            workers=1,
        )
    )
    assert report.too_short["Men3m_r1_0"] == "11 pictures of those from 11 to 22"
    (folder / "again").mkdir()
    (folder / "again" / "00040.png").write_bytes((folder / "00040.png").read_bytes())
    report = cut_clips(
        CutClipsConfig(
            dataset="finediving",
            data=tmp_path,
            sources=tmp_path / "sources",
            output=tmp_path / "b",
            workers=1,
        )
    )
    assert len(report.unreadable) == 8
    assert "have the same number" in report.unreadable["Men3m_r1_0"]
