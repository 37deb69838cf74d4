"""A video that ends the process that decodes it is one clip that cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from encoder_videos import write_direction_set

import encoder.loading.batches
import encoder.loading.data
from encoder.errors import EncoderError
from encoder.loading.batches import Batches, Watch
from sefar_mllm.cli import main


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """DataLoader looks every five seconds whether its processes are alive."""
    waits = torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(waits, "__defaults__", (0.2,))


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Six videos, of which the fourth ends every process that decodes it but this one."""
    clips = write_direction_set(tmp_path / "data", 6, "train")
    here, read_clip, scan_video = (
        os.getpid(),
        encoder.loading.data.read_clip,
        encoder.loading.batches.scan_video,
    )

    def die(path):
        if path.name == "train3.mp4" and os.getpid() != here:
            os._exit(1)

    def read(clip, *args):
        die(clip.path)
        return read_clip(clip, *args)

    def scan(path, *args):
        die(path)
        return scan_video(path, *args)

    monkeypatch.setattr(encoder.loading.data, "read_clip", read)
    monkeypatch.setattr(encoder.loading.batches, "scan_video", scan)
    # By its name a process finds what it is to run.
    read.__module__, scan.__module__ = "encoder.loading.data", "encoder.loading.batches"
    scan.__qualname__ = "scan_video"
    return clips


def test_training_leaves_it_out_and_counts_it(data, tmp_path):
    model = ("--model.image_size", 32, "--model.preset", "tiny", "--model.depth", 1)
    much = ("--recipe.name", "supervised", "--epochs", 2, "--labelled_batch", 3, "--data.short_side", 32)
    run = ("train-encoder", "--data.labelled", data, "--data.workers", 2, *model, *much)
    assert main([*map(str, run), "--output", str(tmp_path / "run"), "--max_broken", "1"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    broken = [line["broken"] for line in lines if "broken" in line]
    assert broken == [
        f"{data.parent / 'train3.mp4'}: decoding it ends the process; it is damaged, fetch it again"
    ]


class Numbers(torch.utils.data.Dataset):
    """Items that are their positions; one of them ends its process once."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __getitem__(self, position: int) -> int:
        if position == 5 and not self.marker.exists():
            os._exit(1)
        return position


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_process_that_ends_before_it_hands_its_batch_over_is_no_other_error(tmp_path, monkeypatch, error):
    def load(first):
        raise error
        yield

    batches = Batches(Numbers(tmp_path), [[0]], 1, Watch("pyav"))
    monkeypatch.setattr(batches, "_load", load)
    with pytest.raises(EncoderError, match=r"was ended .*, and not by a video"):
        list(batches)


def test_a_process_that_no_video_has_ended_is_an_error(tmp_path):
    batches = Batches(Numbers(tmp_path / "gone"), [[0, 1], [2, 3], [4, 5]], 1, Watch("pyav"))
    assert len(batches) == 3
    with pytest.raises(EncoderError, match=r"was ended .*, and not by a video"):
        list(batches)
    (tmp_path / "gone").write_text("")
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5]]
