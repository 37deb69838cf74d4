"""Clip lists and video files, good and bad."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import counting_frames, write_direction_set, write_video
from hypothesis import given
from hypothesis import strategies as st

from encoder.errors import EncoderError
from encoder.loading.data import ClipStream, FrameSource, collate, evaluation_batches, training_batches
from encoder.video.clips import Clip, read_classes, read_clips
from encoder.video.elements import TemporalElements
from encoder.video.reader import READERS, open_video, read_clip
from sefar_mllm.cli import main

ELEMENTS = TemporalElements()


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers of frames made by ``counting_frames``."""
    return [round((float(f.mean()) - 19) / 4) for f in frames]  # conversion loses a grey level or two


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "counting.mp4", counting_frames(50))


# Reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
def test_the_frames_asked_for_are_the_frames_read(reader, video):
    wanted = [40, 3, 3, 17, 49, 0]
    frames = read_clip(Clip(video, 0), lambda n: wanted, reader=reader)
    assert frames.shape == (6, 48, 64, 3)
    assert numbers(frames) == wanted
    assert numbers(read_clip(Clip(video, 0), reader=reader)) == list(range(50))


@pytest.mark.parametrize("reader", READERS)
def test_frames_are_reduced_to_the_short_side_and_never_enlarged(reader, video):
    assert read_clip(Clip(video, 0), lambda n: [0], 30, reader).shape == (1, 30, 40, 3)
    assert read_clip(Clip(video, 0), lambda n: [0], 480, reader).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("width", range(8, 176, 4))
def test_every_width_is_read_right(width, tmp_path):
    """decord fails for some widths that it pads to a multiple of themselves."""
    path = write_video(tmp_path / "v.mp4", counting_frames(6, 96, 176))
    frames = read_clip(Clip(path, 0), lambda n: [5], round(width * 96 / 176))
    assert abs(frames.shape[2] - width) <= 2
    assert abs(float(frames.mean()) - 40) < 4
    assert frames.std() < 2


@pytest.mark.parametrize("reader", READERS)
def test_a_span_in_seconds_is_a_span_of_frames(reader, video):
    clip = Clip(video, 0, start=0.4, end=1.2)
    assert clip.id == "counting@0.4-1.2"
    assert numbers(read_clip(clip, reader=reader)) == list(range(10, 30))
    assert numbers(read_clip(clip, ELEMENTS.sample, reader=reader)) == [11, 13, 16, 18, 21, 23, 26, 28]


def test_both_readers_agree_on_colour(tmp_path):
    y, x = np.mgrid[0:64, 0:100]
    picture = np.stack([x * 2, y * 3, 255 - x - y], -1).clip(0, 255).astype(np.uint8)
    path = write_video(tmp_path / "colour.mp4", picture[None].repeat(10, 0))
    one, other = (read_clip(Clip(path, 0), lambda n: [5], None, r)[0].astype(int) for r in READERS)
    assert np.abs(one - other).mean() < 3
    assert np.abs(one - picture).mean() < 6


def test_a_header_is_read_without_decoding(video):
    facts = open_video(video).facts
    assert (facts.width, facts.height, facts.fps, facts.n_frames) == (64, 48, 25.0, 50)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


FASTSTART = {"movflags": "faststart"}
# An mkv says its length in seconds only, so a twentieth may be missing unseen.
CUTS = [("a.mp4", {}, 0.03), ("a.mp4", {}, 0.5), ("a.mp4", {}, 0.95), ("b.mp4", FASTSTART, 0.03)]
CUTS += [("b.mp4", FASTSTART, 0.5), ("b.mp4", FASTSTART, 0.95), ("c.mkv", {}, 0.03), ("c.mkv", {}, 0.5)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("name", "options", "kept"), CUTS)
def test_a_truncated_video_is_an_error_that_names_it(name, options, kept, reader, tmp_path):
    whole = write_video(tmp_path / f"whole_{name}", noise(50), options=options).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(EncoderError, match=f"{name}: "):
        read_clip(Clip(path, 0), ELEMENTS.sample, None, reader)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00" * 4096])
def test_what_is_not_a_video_is_an_error_that_names_it(reader, content, tmp_path):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(EncoderError, match=r"x\.mp4: cannot be opened"):
        read_clip(Clip(tmp_path / "x.mp4", 0), reader=reader)


def test_a_clip_shorter_than_the_context_element_is_an_error_that_names_it(tmp_path):
    path = write_video(tmp_path / "short.mp4", counting_frames(3))
    with pytest.raises(EncoderError, match=r"short\.mp4: has 3 frames, fewer than the 4 of the context"):
        read_clip(Clip(path, 0), ELEMENTS.sample)


def test_a_span_behind_the_end_is_an_error(video):
    with pytest.raises(EncoderError, match=r"counting@5-6.*the video at 2\.00 s"):
        read_clip(Clip(video, 0, 5.0, 6.0))


# Clip lists -----------------------------------------------------------------------------------------------


def test_both_forms_of_a_clip_list(tmp_path, video):
    csv, plain = tmp_path / "a.csv", tmp_path / "b.txt"
    csv.write_text(
        "video,label,start,end\ncounting.mp4,3,,\ncounting.mp4,4,0.5,1.5\ncounting.mp4,,,\n", "utf-8"
    )
    plain.write_text("counting.mp4 7\n\ncounting.mp4 8\n", "utf-8")
    clips = read_clips(csv, video.parent)
    assert [(c.label, c.start, c.end) for c in clips] == [(3, None, None), (4, 0.5, 1.5), (-1, None, None)]
    assert [c.label for c in read_clips(plain, video.parent)] == [7, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no clip"),
        ("video,label\n", "holds no clip"),
        ("video,label,when\n", "line 1: expected the header"),
        ("video,label\ncounting.mp4,x\n", "line 2: the label 'x'"),
        ("video,label\ncounting.mp4,-3\n", "line 2: the label '-3'"),
        ("video,label\ncounting.mp4\n", "line 2: expected 2 columns, got 1"),
        ("video,label\n,3\n", "line 2: the video is empty"),
        ("video,label,start,end\ncounting.mp4,3,2,1\n", "line 2: the span 2–1"),
        ("video,label,start,end\ncounting.mp4,3,nan,1\n", "line 2: the span nan–1"),
        ("counting.mp4\n", "line 1: expected '<path> <label>'"),
        ("video,label\ngone.mp4,1\nfar.mp4,2\n", "gone.mp4 is not there and 1 more"),
    ],
)
def test_bad_clip_lists_name_the_line(text, message, tmp_path, video):
    path = tmp_path / "clips.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EncoderError) as error:
        read_clips(path, video.parent)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: ("video,label\n" + t).encode()))
def test_mangled_clip_lists_parse_or_raise_the_rooms_error(content):
    path = Path(__file__).parent / "__mangled__.csv"
    try:
        path.write_bytes(content)
        with pytest.raises(EncoderError):
            read_clips(path, Path("/nonexistent"))
    finally:
        path.unlink()


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c))
)
def test_mangled_classes_parse_or_raise_the_rooms_error(content):
    path = Path(__file__).parent / "__mangled__.json"
    try:
        path.write_text(json.dumps(content), encoding="utf-8")
        names = [c.name for c in read_classes(path)]
    except EncoderError:
        return
    finally:
        path.unlink()
    assert names == [c if isinstance(c, str) else c["name"] for c in content]


# Streams --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    frames = [counting_frames(20, 36 + 16 * (i % 2), 36) for i in range(5)]
    return [Clip(write_video(folder / f"{i}.mp4", f), i) for i, f in enumerate(frames)]


def test_every_pass_holds_every_clip_once_in_another_order(clips):
    stream = ClipStream(clips, FrameSource(36), ELEMENTS, seed=3)
    labels = [stream[p][1] for p in range(15)]
    assert all(sorted(labels[i : i + 5]) == list(range(5)) for i in (0, 5, 10))
    assert labels[:5] != labels[5:10] or labels[5:10] != labels[10:]
    again = ClipStream(clips, FrameSource(36), ELEMENTS, seed=3)
    assert np.array_equal(stream[7][0], again[7][0])
    other = ClipStream(clips, FrameSource(36), ELEMENTS, seed=4)
    assert labels != [other[p][1] for p in range(15)]


def test_parts_of_an_update_are_the_update(clips):
    """Two processes, and one process with two accumulated parts, see the clips of one process with one."""
    stream = ClipStream(clips, FrameSource(36), ELEMENTS, seed=0)

    def seen(batch, parts, n_parts, start=0):
        batches = training_batches(stream, batch, range(start, 4), parts, n_parts, workers=0)
        return [b.clips for b in batches]

    whole = seen(4, range(1), 1)
    accumulated = seen(2, range(2), 2)
    ranks = [seen(2, range(rank, rank + 1), 2) for rank in range(2)]
    assert [a + b for a, b in zip(accumulated[::2], accumulated[1::2], strict=True)] == whole
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole
    assert seen(4, range(1), 1, start=2) == whole[2:]


def test_workers_change_nothing(clips):
    stream = ClipStream(clips, FrameSource(36), ELEMENTS, seed=0)
    runs = [list(training_batches(stream, 3, range(3), range(1), 1, workers)) for workers in (0, 2)]
    for a, b in zip(*runs, strict=True):
        assert a.clips == b.clips
        assert torch.equal(a.frames, b.frames)


def test_clips_of_several_sizes_make_one_batch(clips):
    batch = next(iter(evaluation_batches(clips, FrameSource(None), ELEMENTS, 5, 0, 1, 0)))
    assert batch.frames.shape == (5, 8, 52, 36, 3)
    assert batch.sizes.tolist() == [[36, 36], [52, 36], [36, 36], [52, 36], [36, 36]]
    assert (batch.frames[0, :, 35:] == batch.frames[0, :, 35:36]).all(), "the last row is repeated"
    assert numbers(batch.frames[1].numpy()) == ELEMENTS.sample(20)


def test_evaluation_shows_every_clip_once_over_all_processes(clips):
    shares = [
        [
            clip
            for b in evaluation_batches(clips, FrameSource(36), ELEMENTS, 2, rank, 2, 0)
            for clip in b.clips
        ]
        for rank in range(2)
    ]
    assert sorted(shares[0] + shares[1]) == ["0", "1", "2", "3", "4"]


def test_a_broken_clip_is_left_out_of_its_batch_and_reported():
    frames = np.zeros((8, 4, 4, 3), np.uint8)
    batch = collate([(frames, 1, "a", ""), (None, 2, "b", "b.mp4: cut off"), (frames, 3, "c", "")])
    assert batch.clips == ["a", "c"]
    assert batch.labels.tolist() == [1, 3]
    assert batch.broken == ["b.mp4: cut off"]


# Through the command line ---------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path) -> Path:
    write_direction_set(tmp_path / "data", 6, "train")
    return tmp_path / "data"


def remove(data: Path) -> None:
    (data / "train3.mp4").unlink()


def cut(data: Path) -> None:
    path = data / "train3.mp4"
    path.write_bytes(path.read_bytes()[:-400])


def shorten(data: Path) -> None:
    write_video(data / "train3.mp4", counting_frames(3))


def estrange(data: Path) -> None:
    path = data / "train3.mp4"
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, "is not there"),
        (cut, "fetch it again"),
        (shorten, "has 3 frames, fewer than the 4"),
        (estrange, "no decoder is known for it"),
    ],
)
@pytest.mark.parametrize("verb", ["train-encoder", "extract-features"])
def test_a_bad_video_ends_a_verb_with_one_message(verb, spoil, message, cache, data, tmp_path, capfd):
    spoil(data)
    earlier = tmp_path / "earlier.txt"
    earlier.write_text("kept", encoding="utf-8")
    args = {
        "train-encoder": [
            *("--data.labelled", data / "train.csv", "--output", tmp_path / "run", "--data.workers", 1),
            *(
                "--data.short_side",
                32,
                "--model.image_size",
                32,
                "--model.preset",
                "tiny",
                "--model.depth",
                1,
            ),
            *("--recipe.name", "supervised", "--epochs", 1, "--labelled_batch", 6),
            *(("--data.cache", tmp_path / "cache") if cache else ()),
        ],
        "extract-features": [
            *("--encoder", "efficientnet-lite0?image_size=32", "--clips", f"[{data / 'train.csv'}]"),
            *("--output", tmp_path / "store", "--workers", 1),
            *(("--cache", tmp_path / "cache") if cache else ()),
        ],
    }[verb]
    assert main([verb, *map(str, args)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "train3.mp4" in errors[0]
    assert message in errors[0]
    assert earlier.read_text(encoding="utf-8") == "kept"
