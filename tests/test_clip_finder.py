"""Clips are found by name, whatever their ending and folder, or as a folder of pictures."""

from __future__ import annotations

from sefar_mllm.inference.clip_finder import find_clips


def test_files_of_any_ending_and_folders_of_pictures_are_found(tmp_path):
    for name in ("a.avi", "deep/b.MP4", "c/000001.png", "c/000002.png", "d.txt", "e.mp4", "e/000001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips = find_clips(tmp_path, ["a", "b", "c", "d", "e", "f"], rate=12.5)
    files = {"a": "a.avi", "b": "deep/b.MP4", "c": "c", "e": "e.mp4"}
    assert {name: clip.path for name, clip in clips.items()} == {n: tmp_path / f for n, f in files.items()}
    assert {name: clip.rate for name, clip in clips.items()} == {"a": None, "b": None, "c": 12.5, "e": None}
    assert find_clips(tmp_path / "nowhere", ["a"]) == {}
