"""Options of encoder training that few runs turn on: tracker, compilation, half precision."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from encoder_runs import assert_same_weights, options

from encoder.errors import EncoderError
from encoder.training.config import DataConfig, TrainConfig
from encoder.training.lists import TrainingLists
from encoder.training.train import train
from encoder.video.clips import Clip

QUICK = {"updates": 2, "epochs": 2, "log_every": 1, "checkpoint_every": 0, "evaluate_every": 0}


@pytest.fixture(scope="module")
def plain(directions, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("plain") / "run"
    train(options(directions, output, **QUICK))
    return output


def losses(output: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text("utf-8").splitlines()]
    return {line["update"]: line["loss"] for line in lines if "loss" in line}


def test_tensorboard_shows_what_the_log_says(directions, plain, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    output = tmp_path / "run"
    train(options(directions, output, tracker="tensorboard", **QUICK))
    assert_same_weights(plain, output)
    (events,) = output.rglob("events.out.tfevents*")
    shown = accumulator.EventAccumulator(str(events))
    shown.Reload()
    assert {e.step: e.value for e in shown.Scalars("loss")} == pytest.approx(losses(output), rel=1e-5)
    assert {"student_top1", "teacher_top1", "learning_rate", "loss_un"} <= set(shown.Tags()["scalars"])


def test_a_compiled_backbone_trains_the_same_network(directions, plain, tmp_path, monkeypatch):
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    # Tracing is what can go wrong in our code; the compiler behind it takes minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled = []
    plainly = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: (compiled.append(self), plainly(self)))
    train(options(directions, tmp_path / "run", compile=True, **QUICK))
    assert graphs
    student, teacher = compiled
    assert student is not teacher
    assert all(module._compiled_call_impl is not None for module in compiled)
    assert [next(module.parameters()).requires_grad for module in compiled] == [True, False]
    assert_same_weights(plain, tmp_path / "run", tolerance=1e-4)


def test_bfloat16_differs_by_rounding(directions, plain, tmp_path):
    train(options(directions, tmp_path / "run", mixed_precision="bf16", **QUICK))
    assert losses(tmp_path / "run") == pytest.approx(losses(plain), rel=0.05)
    assert losses(tmp_path / "run") != losses(plain)


@pytest.mark.parametrize("told", [True, False])
def test_float16_without_a_gpu_is_refused(directions, tmp_path, monkeypatch, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if told:
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(EncoderError, match="fp16 needs a GPU"):
        train(options(directions, tmp_path / "run", mixed_precision="fp16", **QUICK))
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_float16_with_loss_scaling_and_resuming(directions, tmp_path):
    changes = {**QUICK, "checkpoint_every": 1, "mixed_precision": "fp16"}
    train(options(directions, tmp_path / "run", **changes))
    assert all(torch.isfinite(torch.tensor(list(losses(tmp_path / "run").values()))))


@pytest.mark.parametrize(("over", "updates"), [("unlabelled", 3930), ("labelled", 600)])
def test_updates_of_gym99_at_5_percent_of_the_labels(tmp_path, monkeypatch, over, updates):
    """1,316 of 26,320 clips have labels; 600 updates, 100 of them warm-up, is what the release makes."""
    counts = {"labelled.csv": 1316, "unlabelled.csv": 26320 - 1316}
    monkeypatch.setattr(
        "encoder.training.lists.read_clips",
        lambda path, _: [Clip(tmp_path / "clip.mp4", 0)] * counts[path.name],
    )
    (tmp_path / "classes.json").write_text('["salto"]', encoding="utf-8")
    data = DataConfig(labelled=tmp_path / "labelled.csv", unlabelled=tmp_path / "unlabelled.csv")
    lists = TrainingLists(TrainConfig(tmp_path / "run", data, epoch_over=over), True, 0, 1)
    assert lists.total == updates
    warmup = sum(lists.epoch(update) < 5 for update in range(updates))
    assert warmup == updates // 6


def test_a_recipe_may_have_unlabelled_clips_decoded_twice(directions, tmp_path):
    config = options(directions, tmp_path / "run", **QUICK)
    lists = TrainingLists(config, True, 0, 1)
    lists.open()
    once, twice = (next(lists.unlabelled_batches(0, draws)) for draws in (1, 2))
    assert (once.frames.shape[1], twice.frames.shape[1]) == (8, 16)
    first, second = twice.frames[:, :8], twice.frames[:, 8:]
    assert not torch.equal(first, second)
