"""Frame ``k`` is the k-th that is shown, in every container and codec, and good files are not refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import SIZE, number_in, picture, remux, turn, write_numbered

from encoder.errors import EncoderError
from encoder.video.clips import Clip
from encoder.video.reader import READERS, Video, open_video, read_clip, read_timed_clip
from encoder.video.video_file import VideoFile

B_FRAMES = {"g": "12", "bf": "2"}
# One frame in three is dropped from 40 on, and a second passes without any.
VARYING = [time for time in range(120) if time < 40 or (time % 3 and not 60 <= time < 85)]


def open_gop(codec: str) -> dict[str, str]:
    extra = ":scenecut=0:log-level=none" if codec == "x265" else ":b-pyramid=2"
    return {f"{codec}-params": f"open-gop=1:keyint=20:min-keyint=20:bframes=4{extra}"}


def within(source: Path, path: Path) -> Path:
    """From within a group of pictures on."""
    content = source.read_bytes()
    path.write_bytes(content[188 * (len(content) // 188 // 3) :])
    return path


def edited(folder: Path, seconds: float) -> Path:
    """An mp4 whose edit list shows it from ``seconds`` on."""
    plain = write_numbered(folder / "plain.mp4", codec_options={"g": "40", "bf": "2"})
    return remux(plain, folder / "edited.mp4", options={"avoid_negative_ts": "disabled"}, shift=-seconds)


H264 = {"g": "40", "bf": "2"}
VIDEOS: dict[str, Callable[[Path], Path]] = {
    "h264.mp4": lambda p: write_numbered(p / "v.mp4", codec_options=H264),
    "fragments.mp4": lambda p: write_numbered(
        p / "v.mp4", codec_options=H264, options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "mpeg4-b.avi": lambda p: write_numbered(p / "v.avi", codec="mpeg4", codec_options=B_FRAMES),
    "mpeg4.avi": lambda p: write_numbered(p / "v.avi", codec="mpeg4"),
    "mpeg4-b.mp4": lambda p: write_numbered(p / "v.mp4", codec="mpeg4", codec_options=B_FRAMES),
    "mpeg4-b.mkv": lambda p: write_numbered(p / "v.mkv", codec="mpeg4", codec_options=B_FRAMES),
    "h264.avi": lambda p: write_numbered(p / "v.avi", codec_options=H264),
    "mpegts.mp4": lambda p: write_numbered(p / "v.mp4", codec_options=H264, form="mpegts"),
    "within-a-gop.ts": lambda p: within(write_numbered(p / "a.ts", codec_options=H264), p / "v.ts"),
    "mpeg1.mpg": lambda p: write_numbered(
        p / "v.mpg", codec="mpeg1video", codec_options=B_FRAMES, form="mpeg"
    ),
    "mpeg2.vob": lambda p: write_numbered(
        p / "v.vob", codec="mpeg2video", codec_options=B_FRAMES, form="vob"
    ),
    "wmv2.wmv": lambda p: write_numbered(p / "v.wmv", codec="wmv2", codec_options={"g": "12"}),
    "h264.flv": lambda p: write_numbered(p / "v.flv", codec_options=H264),
    "open-gop.mkv": lambda p: write_numbered(p / "v.mkv", codec_options=open_gop("x264")),
    "intra-refresh.mkv": lambda p: write_numbered(
        p / "v.mkv", codec_options={"g": "20", "x264-params": "intra-refresh=1"}
    ),
    "hevc-open-gop.mp4": lambda p: write_numbered(
        p / "v.mp4", codec="libx265", codec_options=open_gop("x265")
    ),
    "vp9.webm": lambda p: write_numbered(
        p / "v.webm", codec="libvpx-vp9", codec_options={"deadline": "realtime", "cpu-used": "8", "g": "40"}
    ),
    "live-vp8.webm": lambda p: write_numbered(
        p / "v.webm", codec="libvpx", codec_options={"deadline": "realtime"}, options={"live": "1"}
    ),
    "varying-vp8.webm": lambda p: write_numbered(
        p / "v.webm", codec="libvpx", codec_options={"deadline": "realtime"}, times=VARYING
    ),
    "varying.mp4": lambda p: write_numbered(p / "v.mp4", codec_options=H264, times=VARYING),
    "varying.mkv": lambda p: write_numbered(p / "v.mkv", codec_options=H264, times=VARYING),
    "varying.avi": lambda p: write_numbered(
        p / "v.avi", codec="mpeg4", codec_options=B_FRAMES, times=VARYING
    ),
    "varying-h264.avi": lambda p: write_numbered(p / "v.avi", codec_options=H264, times=VARYING),
    "from-1-s.mkv": lambda p: remux(write_numbered(p / "a.mp4", codec_options=H264), p / "v.mkv", shift=1.0),
    "edit-list.mp4": lambda p: edited(p, 1.8),
}
TIMED_SPANS = [name for name in VIDEOS if name.startswith("varying")]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def render(name: str) -> Path:
        if name not in made:
            made[name] = VIDEOS[name](tmp_path_factory.mktemp("video"))
        return made[name]

    return render


def one_pass(path: Path) -> list[np.ndarray]:
    """Every frame that FFmpeg shows, from the first to the last."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def one_at_a_time(video: Video, numbers: list[int]) -> dict[int, np.ndarray]:
    return {number: video.read([number])[0] for number in numbers}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", VIDEOS)
def test_a_frame_has_its_number_whichever_way_it_is_read(name, reader, rendered):
    path = rendered(name)
    shown = [number_in(frame) for frame in one_pass(path)]
    assert shown == sorted(set(shown))
    video = open_video(path, None, reader)
    assert video.n_frames == len(shown)
    sequence = video.read(list(range(video.n_frames)))
    assert [number_in(frame) for frame in sequence] == shown
    some = random.Random(0).sample(range(len(shown)), min(12, len(shown)))
    for number, frame in one_at_a_time(open_video(path, None, reader), [len(shown) - 1, *some]).items():
        assert np.array_equal(frame, sequence[number]), (number, number_in(frame))
    together = read_clip(Clip(path, 0), lambda n: [n - 1, 2, n // 2], None, reader)
    assert np.array_equal(together, sequence[[len(shown) - 1, 2, len(shown) // 2]])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", TIMED_SPANS)
def test_spans_in_a_video_of_varying_rate_go_by_time(name, reader, rendered):
    for start, end in ((0.4, 1.2), (1.6, 2.2), (2.0, 3.6), (2.41, 3.6), (3.9, 4.6)):
        frames, seconds = read_timed_clip(Clip(rendered(name), 0, start, end), None, None, reader)
        wanted = [time for time in VARYING if start - 0.02 < time / 25 < end - 0.019]
        assert [number_in(frame) for frame in frames] == wanted
        assert seconds == pytest.approx([time / 25 for time in wanted], abs=0.002)
    with pytest.raises(EncoderError, match="no frame is shown in its span"):
        read_clip(Clip(rendered(name), 0, 2.6, 3.2), reader=reader)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4-b.avi", "h264.avi", "from-1-s.mkv", "mpegts.mp4"])
def test_spans_at_an_even_rate_are_counted_as_ever(name, rendered):
    for start, end in ((0.0, 4.0), (0.5, 1.1), (0.7, 1.3), (3.3, 4.9)):
        frames = read_clip(Clip(rendered(name), 0, start, end))
        assert [number_in(f) for f in frames] == list(range(round(start * 25), min(100, round(end * 25))))


def test_an_edit_list_hides_frames(rendered):
    path = rendered("edit-list.mp4")
    assert [number_in(frame) for frame in read_clip(Clip(path, 0))] == list(range(45, 100))
    assert [number_in(frame) for frame in read_clip(Clip(path, 0, 0.2, 0.4))] == list(range(50, 55))


# The matrix, and what the picture then is: rows are exchanged with columns, and reversed.
TURNS = {
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("matrix", TURNS)
def test_a_rotation_flag_turns_the_frames(matrix, reader, tmp_path):
    upright = TURNS[matrix](picture(37))
    path = turn(write_numbered(tmp_path / "v.mp4", times=range(30, 60)), matrix)
    for short_side in (None, 32):
        video = open_video(path, short_side, reader)
        height, width = upright.shape[:2]
        assert (video.facts.height, video.facts.width) == (height, width)
        frame = video.read([7])[0]
        assert frame.shape == (height, width, 3) if short_side is None else (height // 2, width // 2, 3)
        small = upright if short_side is None else upright[::2, ::2]
        assert np.abs(frame.astype(int) - small).mean() < 8


def test_a_clip_late_in_a_long_video_is_not_decoded_from_the_beginning(tmp_path, monkeypatch):
    decoded, frames_from = [], VideoFile.frames_from

    def counted(self, start, table):
        for number, frame in frames_from(self, start, table):
            decoded.append(number)
            yield number, frame

    monkeypatch.setattr(VideoFile, "frames_from", counted)
    times = [time % 256 for time in range(2000)]
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "g": "50", "bf": "2"}
        )
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for time in times:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(time), format="rgb24")))
        container.mux(stream.encode(None))
    frames = read_clip(Clip(path, 0, 75.0, 76.0))
    assert [number_in(frame) for frame in frames] == times[1875:1900]
    assert len(decoded) < 100
    decoded.clear()
    assert [number_in(frame) for frame in read_clip(Clip(path, 0), lambda n: [1990, 10])] == [1990 % 256, 10]
    assert len(decoded) < 100


# What is not whole or not a video -------------------------------------------------------------------------


# The last tenth of this AVI is its index, without which all frames are still found.
CUTS = {"mpeg4-b.avi": (0.3, 0.8), "varying.avi": (0.3, 0.8), "varying-vp8.webm": (0.3, 0.98)}
CUTS |= {"varying.mkv": (0.3, 0.98), "wmv2.wmv": (0.3, 0.9), "fragments.mp4": (0.3, 0.98)}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("much", [0, 1])
def test_a_file_whose_end_is_missing_is_refused(name, much, reader, rendered, tmp_path):
    kept = CUTS[name][much]
    source = rendered(name)
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[: int(source.stat().st_size * kept)])
    with pytest.raises(EncoderError, match=r"cut off.*fetch it again"):
        read_clip(Clip(path, 0), reader=reader)


def unknown_codec(folder: Path) -> Path:
    path = write_numbered(folder / "bad.mp4", n=30)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def encrypted(folder: Path) -> Path:
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    return write_numbered(folder / "bad.mp4", n=30, options=options)


def sound(folder: Path, cover: bool = False) -> Path:
    with av.open(str(folder / "bad.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        if cover:
            still = container.add_stream("mjpeg", rate=1)
            still.height, still.width = SIZE
            still.pix_fmt = "yuvj420p"
            still.disposition = av.stream.Disposition.attached_pic.value
            container.mux(still.encode(av.VideoFrame.from_ndarray(picture(5), format="rgb24")))
            container.mux(still.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / "bad.mp4"


BAD = {
    "no decoder is known": unknown_codec,
    "cannot be decoded": encrypted,
    "holds no video, only sound": sound,
    "holds no video, only a cover picture": lambda folder: sound(folder, cover=True),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("message", BAD)
def test_what_no_decoder_takes_is_an_error_that_names_the_file(message, reader, tmp_path):
    with pytest.raises(EncoderError, match=rf"bad\.mp4: .*{message}"):
        read_clip(Clip(BAD[message](tmp_path), 0), reader=reader)


class Strange(Exception):
    """A decoder's own error, of no known class."""


@pytest.mark.parametrize("method", ["packets", "frames", "frames_from"])
def test_an_error_of_any_class_names_the_file(method, rendered, monkeypatch):
    path = rendered("h264.mp4")
    for name in {method, "frames"}:

        def fails(*args):
            raise Strange("odd")

        monkeypatch.setattr(VideoFile, name, fails)
    monkeypatch.setattr("encoder.video.pyav_reader._known", {})
    if method == "frames":
        assert len(read_clip(Clip(path, 0))) == 100
        return
    with pytest.raises(EncoderError, match=r"v\.mp4: .*odd"):
        read_clip(Clip(path, 0))


def test_frames_that_the_packets_promise_and_the_decoder_does_not_give_are_not_counted(rendered, monkeypatch):
    """A codec may say in a packet that there is no picture: the clip then has fewer frames than packets."""
    path = rendered("h264.mp4")
    frames = VideoFile.frames
    monkeypatch.setattr("encoder.video.pyav_reader._known", {})

    def frames_from(self, start, table):
        for number, frame in enumerate(frames(self)):
            if number == 90:
                raise ValueError("no picture")
            yield number, frame

    monkeypatch.setattr(VideoFile, "frames_from", frames_from)
    monkeypatch.setattr(VideoFile, "frames", lambda self: (f for i, f in enumerate(frames(self)) if i != 90))
    asked = []

    def choose(n):
        asked.append(n)
        return [n - 1]

    assert number_in(read_clip(Clip(path, 0), choose)[0]) == 99
    assert asked == [100, 99]
