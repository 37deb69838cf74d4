"""Clips that are folders of numbered pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numbered_videos import SIZE, number_in, picture
from PIL import Image

from encoder.errors import EncoderError
from encoder.loading.cache import FrameCache
from encoder.loading.scan import scan_clips
from encoder.video.clips import Clip, read_clips
from encoder.video.elements import TemporalElements
from encoder.video.reader import open_video, read_clip, read_timed_clip
from gym_qa.questions.questions import Question
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.ask import with_clips


def write_pictures(folder: Path, numbers: range, form: str = "{:05}.png") -> Path:
    """Pictures that show their numbers."""
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(picture(number)).save(folder / form.format(number))
    return folder


@pytest.mark.parametrize(
    ("form", "first"), [("{:05}.png", 1), ("{:05}.jpg", 89), ("img_{}.png", 95), ("{}.JPG", 1)]
)
def test_pictures_are_frames_in_the_order_of_their_numbers(form, first, tmp_path):
    folder = write_pictures(tmp_path / "clip", range(first, first + 20), form)
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "._00001.png").write_bytes(b"")
    frames = read_clip(Clip(folder, 0), lambda n: [n - 1, 0, 7])
    assert [number_in(frame) for frame in frames] == [first + 19, first, first + 7]
    assert read_clip(Clip(folder, 0), short_side=32).shape == (20, 32, 64, 3)


def test_spans_in_seconds_need_the_rate(tmp_path):
    folder = write_pictures(tmp_path / "clip", range(1, 41))
    frames, seconds = read_timed_clip(Clip(folder, 0, 1.0, 2.0, rate=10))
    assert [number_in(frame) for frame in frames] == list(range(11, 21))
    assert seconds == pytest.approx(np.arange(10, 20) / 10)
    assert read_timed_clip(Clip(folder, 0))[1] == []
    with pytest.raises(EncoderError, match=r"clip@1-2.*no frame rate is known.*give 'rate'"):
        read_clip(Clip(folder, 0, 1.0, 2.0))


def gap(folder: Path) -> None:
    (folder / "00007.png").unlink()
    (folder / "00012.png").unlink()


def damaged(folder: Path) -> None:
    path = folder / "00007.png"
    path.write_bytes(path.read_bytes()[:60])


def another_size(folder: Path) -> None:
    Image.new("RGB", (32, 64)).save(folder / "00007.png")


def another_series(folder: Path) -> None:
    Image.new("RGB", (32, 64)).save(folder / "flow_00007.png")


def same_number(folder: Path) -> None:
    shutil.copy(folder / "00007.png", folder / "7.png")


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


SPOILT = {
    gap: r"00007\.png: is not there, though 00020\.png is",
    damaged: r"00007\.png: cannot be read as a picture",
    another_size: r"00007\.png: has 32 × 64 pixels, 00001\.png has 128 × 64",
    another_series: r"clip: holds several series of pictures \(….png, flow_….png\)",
    same_number: r"7\.png: has the same number as 00007\.png",
    nothing: r"clip: holds no numbered pictures; expected 00001\.jpg",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_pictures_that_are_not_one_series_are_an_error_that_names_them(spoil, tmp_path):
    folder = write_pictures(tmp_path / "clip", range(1, 21))
    spoil(folder)
    with pytest.raises(EncoderError, match=SPOILT[spoil]):
        read_clip(Clip(folder, 0))


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    folder = write_pictures(tmp_path / "clip", range(1, 2), "{:05}.jpg")
    with Image.open(folder / "00001.jpg") as upright:
        exif = upright.getexif()
        exif[0x0112] = 6  # turned by a quarter
        upright.save(folder / "00001.jpg", exif=exif, quality=95)
    frame = read_clip(Clip(folder, 0))[0]
    assert frame.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(frame.astype(int) - np.rot90(picture(1), -1)).mean() < 8


def test_a_video_file_has_a_rate_of_its_own(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"v\.mp4: is not a folder of pictures"):
        open_video(tmp_path / "v.mp4", rate=25)


@pytest.fixture
def dives(tmp_path) -> Path:
    """FineDiving's folders: one of pictures for each dive, numbered as in the whole competition."""
    for dive in range(6):
        write_pictures(tmp_path / "Men3m_r1" / str(dive), range(40 * dive + 1, 40 * dive + 17))
    rows = "".join(f"Men3m_r1/{dive},{dive % 2},0,1.2,12.5\n" for dive in range(6))
    (tmp_path / "train.csv").write_text(f"video,label,start,end,rate\n{rows}", encoding="utf-8")
    (tmp_path / "classes.json").write_text('["107B", "5253B"]', encoding="utf-8")
    return tmp_path


def test_a_list_names_folders_and_their_rate(dives):
    clips = read_clips(dives / "train.csv")
    assert clips[3] == Clip(dives / "Men3m_r1" / "3", 1, 0.0, 1.2, 12.5)
    assert clips[3].id == "Men3m_r1_3@0-1.2"
    assert Clip(dives / "Men3m_r1" / "3", 1).id == "Men3m_r1_3"
    (dives / "bad.csv").write_text("video,label,rate\nMen3m_r1/0,0,-1\n", encoding="utf-8")
    with pytest.raises(EncoderError, match="line 2: the rate -1"):
        read_clips(dives / "bad.csv")


def test_doctor_looks_at_folders(dives):
    gap(dives / "Men3m_r1" / "0")
    report = scan_clips([dives / "train.csv"], TemporalElements.parse("2-2-4"), workers=1)
    assert (report.clips, report.unusable, report.frames) == (6, 1, [15, 15, 15])
    assert "00007.png: is not there" in report.findings[0].reason
    assert report.rates == {"12.5": 5}


def test_the_cache_notices_a_changed_picture(dives, tmp_path):
    clip = Clip(dives / "Men3m_r1" / "0", 0)
    assert number_in(FrameCache.build(tmp_path / "cache", [clip], None).read(clip)[3]) == 4
    Image.fromarray(picture(99)).save(clip.path / "00004.png")
    assert number_in(FrameCache.build(tmp_path / "cache", [clip], None).read(clip)[3]) == 99


@pytest.mark.parametrize("cache", [False, True])
def test_training_and_extraction_take_folders(dives, cache, tmp_path, capsys):
    data = ("--data.labelled", dives / "train.csv", "--data.workers", 1, "--data.short_side", 32)
    model = ("--model.image_size", 32, "--model.preset", "tiny", "--model.depth", 1)
    much = ("--recipe.name", "supervised", "--epochs", 1, "--labelled_batch", 6)
    kept = ("--data.cache", tmp_path / "cache") if cache else ()
    train = ("train-encoder", *data, *model, *much, *kept, "--output", tmp_path / "run")
    assert main([*map(str, train)]) == 0
    store = ("--encoder", f"sefar:{tmp_path / 'run' / 'student'}", "--output", tmp_path / "store")
    extract = ("extract-features", *store, "--clips", f"[{dives / 'train.csv'}]", "--workers", 1)
    assert main([*map(str, extract)]) == 0
    assert "Men3m_r1_3@0-1.2" in (tmp_path / "store" / "index.json").read_text()


def test_questions_find_folders_by_name(dives):
    questions = [Question(f"q{dive}", f"Men3m_r1_{dive}", "Which dive?", ("a", "b"), 0) for dive in range(6)]
    found = with_clips(questions, dives, dives / "q.jsonl", rate=12.5)
    assert [clip for _, clip in found] == [
        Clip(dives / "Men3m_r1" / str(dive), -1, rate=12.5) for dive in range(6)
    ]
    with pytest.raises(SefarMLLMError, match="or a folder of pictures"):
        with_clips([Question("q", "gone", "Which?", ("a", "b"), 0)], dives, dives / "q.jsonl")
