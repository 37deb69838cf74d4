"""Frames of source videos in every container, and which of them a span of seconds holds."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import number_in, numbers, write_numbered

from gym_qa.cutting.frames import Misplaced, SourceVideo
from gym_qa.cutting.one_clip import Encoding, cut_clip
from gym_qa.cutting.timeline import Timeline, TooShort

FRAMES = 150
CONTAINERS = {
    "one key frame, mkv": ("a.mkv", "libx264", {"g": "500", "bf": "3"}),
    "open GOP, mkv": ("a.mkv", "libx264", {"g": "20", "x264-params": "open-gop=1:bframes=3"}),
    "mov": ("a.mov", "libx264", {"g": "30", "bf": "2", "flags": "-cgop"}),
    "webm": ("a.webm", "libvpx", {"g": "60", "deadline": "realtime"}),
    "MPEG-TS": ("a.ts", "libx264", {"g": "30", "bf": "2"}),
    "MPEG-TS named mp4": ("a.ts", "libx264", {"g": "50", "bf": "2"}),
    "open GOP, MPEG-TS": ("a.ts", "mpeg2video", {"g": "12", "bf": "2"}),
    "MPEG-PS": ("a.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    "flv": ("a.flv", "libx264", {"g": "30", "bf": "2"}),
    "AVI": ("a.avi", "mpeg4", {"g": "40"}),
    "AVI, frames in another order": ("a.avi", "mpeg4", {"g": "12", "bf": "2"}),
    "H.264 in AVI": ("a.avi", "libx264", {"g": "30", "bf": "2"}),
    "MPEG-4 in mkv": ("a.mkv", "mpeg4", {"g": "12", "bf": "2"}),
    "wmv": ("a.wmv", "wmv2", {"g": "30"}),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_frames_are_exact_in_every_container(kind, tmp_path):
    name, codec, options = CONTAINERS[kind]
    path = write_numbered(tmp_path / name, FRAMES, codec=codec, codec_options=options)
    if "named mp4" in kind:
        path = path.rename(tmp_path / "a.mp4")
    assert numbers(path) == list(range(FRAMES))
    source = SourceVideo(path)
    assert len(source.timeline) == FRAMES
    for first, last in ((0, 7), (24, 31), (61, 103), (98, 102), (139, 150)):
        assert source.timeline.span(first / 25, last / 25) == range(first, last)
        cut_clip(source, range(first, last), tmp_path / "clip.mp4", 4, Encoding())
        assert numbers(tmp_path / "clip.mp4") == list(range(first, last))


def test_a_seek_that_leads_too_far_is_noticed(tmp_path):
    source = SourceVideo(write_numbered(tmp_path / "a.ts", FRAMES, codec_options={"g": "25", "bf": "2"}))
    with av.open(str(source.path)) as container:
        stream = container.streams.video[0]
        container.seek(source.origin + source.timeline.ticks[70], stream=stream)
        assert number_in(next(container.decode(stream))) > 70
    with pytest.raises(Misplaced):
        list(source.frames(range(70, 80), 0.0))
    assert [number_in(frame) for frame in source.frames(range(70, 80), None)] == list(range(70, 80))


def test_hidden_frames_are_not_counted(tmp_path):
    """VP8 has frames that are decoded and never shown, in packets of their own."""
    plain = write_numbered(
        tmp_path / "a.webm", FRAMES, codec="libvpx", codec_options={"deadline": "realtime", "g": "30"}
    )
    with av.open(str(plain)) as container, av.open(str(tmp_path / "hidden.webm"), "w") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in container.demux(stream) if p.size):
            content = bytearray(bytes(packet))
            if number == 45:
                content[0] &= ~0x10
            changed = av.Packet(bytes(content))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.stream, changed.is_keyframe = copy, packet.is_keyframe
            out.mux(changed)
    shown = [n for n in range(FRAMES) if n != 45]
    assert numbers(tmp_path / "hidden.webm") == shown
    source = SourceVideo(tmp_path / "hidden.webm")
    assert len(source.timeline) == FRAMES - 1
    assert [number_in(frame) for frame in source.frames(range(40, 60), 0.0)] == shown[40:60]


def test_what_an_edit_list_cuts_away_is_not_counted(tmp_path):
    """As ``ffmpeg -ss 1.8 -c copy`` leaves it: decoding begins at a key frame that is not shown."""
    plain = write_numbered(tmp_path / "a.mp4", FRAMES, codec_options={"g": "50", "bf": "0"})
    with av.open(str(plain)) as container, av.open(str(tmp_path / "edited.mp4"), "w") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        back = round(Fraction(45, 25) / stream.time_base)
        for packet in container.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - back, packet.dts - back, copy
                out.mux(packet)
    assert numbers(tmp_path / "edited.mp4") == list(range(45, FRAMES))
    source = SourceVideo(tmp_path / "edited.mp4")
    assert len(source.timeline) == FRAMES - 45
    for lead in source.leads:
        assert [number_in(frame) for frame in source.frames(range(0, 20), lead)] == list(range(45, 65))


def test_damaged_frames_are_an_error_and_the_others_are_not(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", FRAMES, codec_options={"g": "25", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    at, size = packets[60]
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    source = SourceVideo(path)
    assert [number_in(frame) for frame in source.frames(range(20, 50), 0.0)] == list(range(20, 50))
    assert [number_in(frame) for frame in source.frames(range(80, 90), 0.0)] == list(range(80, 90))
    with pytest.raises(ValueError, match=r"frame 60|Invalid data"):
        list(source.frames(range(55, 70), None))


@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=30),
    st.lists(st.floats(0, 3), min_size=2, max_size=6, unique=True),
)
def test_spans_that_touch_share_no_frame_and_leave_none_out(gaps, cuts):
    ticks = [sum(gaps[:i]) for i in range(len(gaps) + 1)]
    timeline = Timeline(ticks, Fraction(1, 25), Fraction(25))
    cuts = sorted(cut for cut in cuts if cut <= ticks[-1] / 25)
    spans = [timeline.span(a, b) for a, b in pairwise(cuts)]
    assert all(a.stop == b.start for a, b in pairwise(spans))
    for (start, end), span in zip(pairwise(cuts), spans, strict=True):
        inside = {i for i, tick in enumerate(ticks) if start <= tick / 25 < end - 0.1}
        assert inside <= set(span)
        assert all(start - 0.1 <= ticks[i] / 25 < end for i in span)


def test_a_span_that_ends_behind_the_video_is_an_error():
    timeline = Timeline(range(0, 100), Fraction(1, 25), Fraction(25))
    assert timeline.span(3.0, 4.04) == range(75, 100)
    with pytest.raises(TooShort, match=r"the video ends at 4\.00 s, the clip at 4\.10 s"):
        timeline.span(3.0, 4.1)
    uneven = Timeline([0, 1, 2, 3, 50, 51], Fraction(1, 25), Fraction(25))
    assert uneven.span(0.0, 1.0) == range(4)
    assert uneven.span(2.0, 2.08) == range(4, 6)
