"""The frame cache: the frames of the videos, decoded once, never stale, never half."""

from __future__ import annotations

import logging
import os
import pickle
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import counting_frames, write_direction_set, write_video
from PIL import Image
from processes import Launch

from encoder.errors import EncoderError
from encoder.loading import cache_writing
from encoder.loading.cache import FrameCache
from encoder.loading.data import ClipStream, FrameSource, training_batches
from encoder.recipes.config import RecipeConfig
from encoder.training.config import DataConfig, ModelConfig, TrainConfig
from encoder.training.lists import TrainingLists
from encoder.training.train import train
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import read_clip
from sefar_mllm.cli import main

ELEMENTS = TemporalElements()
CHOICES = [None, ELEMENTS.sample, lambda n: [5, 0, 5, n - 1]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    frames = [counting_frames(20, 36 + 16 * (i % 2), 36) for i in range(5)]
    whole = [Clip(write_video(folder / f"{i}.mp4", f), i) for i, f in enumerate(frames)]
    return [*whole, Clip(whole[0].path, 0, 0.2, 0.6)]


@pytest.fixture
def decoded(monkeypatch) -> list[Clip]:
    """The clips, without their labels, that are decoded from now on."""
    seen: list[Clip] = []

    def read(clip, *rest):
        seen.append(clip)
        return read_clip(clip, *rest)

    monkeypatch.setattr(cache_writing, "read_clip", read)
    return seen


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_raw_frames_are_those_of_the_videos(clips, tmp_path):
    cache = FrameCache.build(tmp_path, clips, 36, quality=None)
    for clip in clips:
        for choose in CHOICES:
            assert np.array_equal(cache.read(clip, choose), read_clip(clip, choose, 36))


def test_compressed_frames_are_the_same_frames_and_nearly_the_same_pixels(tmp_path):
    y, x = np.mgrid[0:96, 0:128]
    drift = [np.stack([x + 4 * i, 2 * y + i, 255 - x - y], -1).clip(0, 255) for i in range(16)]
    clip = Clip(write_video(tmp_path / "drift.mp4", np.stack(drift).astype(np.uint8)), 0)
    cache = FrameCache.build(tmp_path / "cache", [clip], 72, quality=85)
    for choose in CHOICES:
        found, plain = cache.read(clip, choose).astype(int), read_clip(clip, choose, 72).astype(int)
        assert found.shape == plain.shape
        assert ((found - plain) ** 2).mean() < 255**2 / 10**3.5, "35 dB"
        distance = ((found[:, None] - plain[None]) ** 2).mean((2, 3, 4))
        assert (distance.diagonal() == distance.min(1)).all(), "no other frame is nearer"
    assert cache.bytes * 3 < read_clip(clip, None, 72).nbytes


def test_lists_share_what_is_there_and_only_the_rest_is_decoded(clips, decoded, tmp_path):
    FrameCache.build(tmp_path, clips[:3], 36)
    assert sorted(map(str, decoded)) == sorted(map(str, clips[:3]))
    before = files(tmp_path)
    FrameCache.build(tmp_path, [replace(clip, label=-1) for clip in reversed(clips[:3])], 36)
    assert files(tmp_path) == before
    cache = FrameCache.build(tmp_path, [*clips, *clips], 36)
    assert sorted(map(str, decoded)) == sorted(map(str, clips))
    assert before.items() <= files(tmp_path).items()
    assert np.array_equal(cache.read(clips[0]), FrameCache.build(tmp_path, clips, 36).read(clips[0]))
    # Another size, another way of keeping: frames of its own.
    assert FrameCache.build(tmp_path, clips[:1], 20).read(clips[0]).shape[1] == 20
    FrameCache.build(tmp_path, clips[:1], 36, "decord")
    FrameCache.build(tmp_path, clips[:1], 36, quality=50)
    FrameCache.build(tmp_path, clips[:1], 36, quality=None)
    assert len(decoded) == len(clips) + 4


def test_a_changed_file_is_read_anew_and_a_broken_one_tried_again(clips, decoded, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"nothing")
    bad = Clip(path, 0)
    cache = FrameCache.build(tmp_path / "cache", [bad, *clips], 36)
    assert len(cache.broken) == 1
    with pytest.raises(EncoderError, match=r"video\.mp4: cannot be opened"):
        cache.read(bad)
    decoded.clear()
    path.write_bytes(clips[1].path.read_bytes())
    cache = FrameCache.build(tmp_path / "cache", [bad, *clips], 36)
    assert (decoded, cache.broken) == ([replace(bad, label=-1)], {})
    assert np.array_equal(cache.read(bad), cache.read(clips[1]))
    path.write_bytes(clips[0].path.read_bytes())
    os.utime(path, ns=(0, 0))
    cache = FrameCache.build(tmp_path / "cache", [bad], 36)
    assert cache.read(bad).shape[1:3] == (36, 36)


def test_a_folder_of_pictures_is_read_anew_when_one_changes(decoded, tmp_path):
    clip = Clip(tmp_path / "dive", 0)
    clip.path.mkdir()
    for number, frame in enumerate(counting_frames(8)):
        Image.fromarray(frame).save(clip.path / f"{number + 1:05d}.png")
    for expected in (1, 1, 2):
        if expected == 2:
            Image.fromarray(counting_frames(50)[49]).save(clip.path / "00005.png")
        cache = FrameCache.build(tmp_path / "cache", [clip], None, quality=None)
        assert len(decoded) == expected
        assert np.array_equal(cache.read(clip), read_clip(clip))


def test_a_missing_video_is_an_error_that_names_it(clips, tmp_path):
    gone = Clip(tmp_path / "gone.mp4", 0)
    cache = FrameCache.build(tmp_path / "cache", [gone, clips[0]], 36)
    with pytest.raises(EncoderError, match=r"gone\.mp4: no such video"):
        cache.read(gone)
    assert len(cache.read(clips[0])) == 20


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_was_stopped_goes_on(stop, clips, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_writing, "_SHARD", 1)  # every clip a shard of its own
    write = cache_writing.write_json

    def until_the_fourth(*args):
        if len(decoded) == 4:
            raise stop
        return write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(cache_writing, "write_json", until_the_fourth)
        with pytest.raises((KeyboardInterrupt, EncoderError)) as error:
            FrameCache.build(tmp_path, clips, 36, quality=None)
    if isinstance(error.value, EncoderError):
        assert "No space left on device" in str(error.value)
    assert not list(tmp_path.rglob("*.tmp"))
    decoded.clear()
    cache = FrameCache.build(tmp_path, clips, 36, quality=None)
    assert len(decoded) == len(clips) - 3
    assert all(np.array_equal(cache.read(clip), read_clip(clip, None, 36)) for clip in clips)


def test_what_a_kill_leaves_is_not_taken_for_whole(clips, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_writing, "_SHARD", 1)
    folder = FrameCache.build(tmp_path, clips, 36, quality=None).folder
    shards = sorted(folder.glob("*.bin"))
    shards[0].write_bytes(shards[0].read_bytes()[:-1])  # not all of it had reached the disk
    shards[1].with_suffix(".json").unlink()  # no index yet
    shards[2].with_suffix(".json").write_text('{"size": 1', "utf-8")
    (folder / "half.bin.tmp").write_bytes(b"half")
    for left in (folder / "half.bin.tmp", shards[1]):
        os.utime(left, (0, 0))
    (folder / "other.bin.tmp").write_bytes(b"another machine is at it")
    decoded.clear()
    cache = FrameCache.build(tmp_path, clips, 36, quality=None)
    assert len(decoded) == 3
    assert all(np.array_equal(cache.read(clip), read_clip(clip, None, 36)) for clip in clips)
    assert not (folder / "half.bin.tmp").exists()
    assert (folder / "other.bin.tmp").exists()
    assert not shards[1].exists()


def test_its_size_is_said_before_and_refused_where_there_is_no_room(clips, tmp_path, monkeypatch, caplog):
    many = [Clip(clips[i % 5].path, 0, 0.0, 0.4 + 0.002 * i) for i in range(60)]
    monkeypatch.setattr(cache_writing, "_SAMPLE", 12)
    written: list[int] = []

    def usage(path):
        written.append(sum(file.stat().st_size for file in path.glob("*.bin*")))
        return type("Usage", (), {"free": room})

    monkeypatch.setattr(cache_writing.shutil, "disk_usage", usage)
    room = 10**9
    with caplog.at_level(logging.INFO, "encoder"):
        size = FrameCache.build(tmp_path / "enough", many, 36, quality=None).bytes
    said = caplog.text
    assert "60 clips to decode, about " in said
    assert float(said.split("about ")[1].split(" MB")[0]) == pytest.approx(size / 1e6, rel=0.1)
    assert "1.0 GB are free" in said
    assert written[0] < size / 4, "said before the rest was decoded"
    room = size // 2
    with pytest.raises(EncoderError, match=r"about .* MB a clip.* are free; make room"):
        FrameCache.build(tmp_path / "short", many, 36, quality=None)


def test_damaged_frames_are_an_error_that_names_the_file(clips, tmp_path):
    folder = FrameCache.build(tmp_path, clips[:1], 36).folder
    (shard,) = folder.glob("*.bin")
    shard.write_bytes(bytes(80) + bytes(shard.stat().st_size - 80))
    with pytest.raises(EncoderError, match=rf"{shard.name}: cannot be read"):
        FrameCache.build(tmp_path, clips[:1], 36).read(clips[0])


def test_workers_read_it(clips, tmp_path):
    cache = FrameCache.build(tmp_path, clips, 36, workers=2)
    copy = pickle.loads(pickle.dumps(cache))  # as where processes are not forked
    assert np.array_equal(copy.read(clips[0]), cache.read(clips[0]))
    stream = ClipStream(clips, FrameSource(36, cache=cache), ELEMENTS, seed=0)
    runs = [list(training_batches(stream, 3, range(3), range(1), 1, workers)) for workers in (0, 2)]
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.frames, b.frames)


def options(folder: Path, output: Path, cache: Path, **data) -> TrainConfig:
    return TrainConfig(
        output=output,
        data=DataConfig(
            labelled=folder / "train.csv", val=folder / "train.csv", short_side=32, cache=cache, **data
        ),
        model=ModelConfig(preset="tiny", depth=1, image_size=32),
        recipe=RecipeConfig("supervised"),
        labelled_batch=4,
        epochs=1,
        updates=2,
        mixed_precision="no",
    )


def test_training_reads_it_with_its_workers(tmp_path, monkeypatch):
    write_direction_set(tmp_path / "data", 8, "train")
    config = options(tmp_path / "data", tmp_path / "run", tmp_path / "cache", workers=2)
    lists = TrainingLists(config, False, 0, 1)
    lists.open()

    def who_reads(*_):
        return np.full((8, 32, 32, 3), list(os.getpid().to_bytes(3, "little")), np.uint8)

    monkeypatch.setattr(FrameCache, "read", who_reads)
    for batches in (lists.labelled_batches(0), lists.validation_batches()):
        readers = {int.from_bytes(bytes(pixel), "little") for b in batches for pixel in b.frames[:, 0, 0, 0]}
        assert readers
        assert os.getpid() not in readers


def test_the_verb_decodes_for_training(tmp_path, capsys, monkeypatch):
    write_direction_set(tmp_path / "data", 6, "train")
    (tmp_path / "data" / "train3.mp4").write_bytes(b"nothing")
    words = ["--clips", f"[{tmp_path / 'data' / 'train.csv'}]", "--cache", str(tmp_path / "cache")]
    assert main(["cache-clips", *words, "--short-side", "32", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "train3.mp4: cannot be opened" in said
    assert "5 clips, " in said
    assert "1 left out" in said
    seen = []
    monkeypatch.setattr(
        cache_writing, "read_clip", lambda clip, *rest: seen.append(clip) or read_clip(clip, *rest)
    )
    lists = TrainingLists(
        replace(options(tmp_path / "data", tmp_path / "run", tmp_path / "cache", workers=0), max_broken=1),
        False,
        0,
        1,
    )
    lists.open()
    assert [clip.path.name for clip in seen] == ["train3.mp4"]
    assert main(["cache-clips", *words, "--quality", "0"]) == 2
    assert "quality 0: expected 1 to 100" in capsys.readouterr().err


LIMIT, SLOWNESS = 3, 1.0


def train_slowly(folder: Path, configs: dict[str, TrainConfig]) -> None:
    """To be started in each process: decodes and trains in a group with a limit of a few seconds."""
    rank, read = int(os.environ["RANK"]), cache_writing.read_clip

    def slowly(clip, *rest):
        with (folder / "decoded.txt").open("a", encoding="utf-8") as file:
            print(rank, clip.path.name, file=file)
        time.sleep(SLOWNESS)
        return read(clip, *rest)

    cache_writing.read_clip = slowly
    for disk, config in configs.items():
        store, limit = f"file://{folder}/store-{disk}", timedelta(seconds=LIMIT)
        torch.distributed.init_process_group("gloo", store, limit, world_size=2, rank=rank)
        if disk == "own":
            object.__setattr__(config.data, "cache", config.data.cache / str(rank))
        train(config)


def test_no_process_times_out_while_another_decodes(tmp_path):
    """The limit of the group is 3 s, decoding takes 4 s. On a shared disk one process decodes; of two
    machines that share none the first has decoded before and waits for the second."""
    folder, cache = tmp_path / "data", tmp_path / "cache"
    write_direction_set(folder, 4, "train")
    configs = {
        disk: options(folder, tmp_path / f"run-{disk}", cache / disk, workers=0) for disk in ("shared", "own")
    }
    before = TrainingLists(options(folder, tmp_path, cache / "own" / "0", workers=0), False, 0, 1)
    before.open()
    Launch(train_slowly, tmp_path, configs, logs=tmp_path / "logs", processes=2).finish()
    decoded = (tmp_path / "decoded.txt").read_text("utf-8").splitlines()
    ranks, names = zip(*(line.split() for line in decoded), strict=True)
    assert sorted(names[:4]) == sorted(names[4:]) == [f"train{i}.mp4" for i in range(4)]
    assert len(set(ranks[:4])) == 1
    assert set(ranks[4:]) == {"1"}
    assert all((tmp_path / f"run-{disk}" / "student").is_dir() for disk in ("shared", "own"))
