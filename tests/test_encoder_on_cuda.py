"""Training on a CUDA device that is not there: copies, places where the host waits, and choice of kernels."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from encoder_runs import options
from fake_cuda import Record, fake_cuda
from torch.utils.data import DataLoader

import encoder.model.backbone
from encoder.loading.augment import AugmentConfig, Views
from encoder.loading.data import Batch, collate
from encoder.model.backbone import PRESETS, Attention
from encoder.model.sefar import SefarEncoder
from encoder.recipes.perturb import PERTURBATIONS, find_perturbation, reorder
from encoder.training.config import OptimConfig
from encoder.training.train import Training

RECIPES = ["supervised", "sefar", "sefar_released", "mean_teacher", "fixmatch", "svformer"]


@pytest.fixture(autouse=True)
def fresh_accelerate():
    precision = torch.get_float32_matmul_precision()
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    yield
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    torch.set_float32_matmul_precision(precision)


def pinning(*args, **kwargs) -> DataLoader:
    return DataLoader(*args, **{**kwargs, "pin_memory": True})


def run_on_cuda(directions: Path, output: Path, recipe: str, **changes) -> tuple[Training, Record]:
    """The training loop from the first to the last update, on the fake device."""
    config = options(
        directions, output, recipe, mixed_precision="bf16", checkpoint_every=0, log_every=1000, **changes
    )
    object.__setattr__(config.data, "val", None)

    def backward(_: Accelerator, loss: torch.Tensor, **__: object) -> None:
        for parameter in training.student.parameters():
            parameter.grad = torch.zeros_like(parameter)

    with (
        fake_cuda() as record,
        mock.patch("encoder.loading.batches.DataLoader", pinning),
        mock.patch.object(Accelerator, "backward", backward),
    ):
        training = Training(config)
        training.model.train()
        record.clear()
        training._loop(mock.Mock())
    return training, record


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_loop_waits_for_the_device_once_an_update(recipe, directions, tmp_path):
    changes = {"updates": 3, "epochs": 3, "accumulate": 1 + (recipe == "sefar")}
    training, record = run_on_cuda(directions, tmp_path / "run", recipe, **changes)
    assert training.accelerator.device.type == "cuda"
    assert record.waits == {"an event": training.total}
    assert record.copies["to host"] == training.total
    assert record.copies["to device"] > 0


def test_what_is_copied_to_the_device_for_an_update_of_sefar(directions, tmp_path):
    training, record = run_on_cuda(directions, tmp_path / "run", "sefar", epochs=2, updates=2)
    # Frames, labels and crops of the labelled clips; with unlabelled ones theirs, crops of the weak and the
    # strong view, the order of the frames, the mask of the mix and its partners.
    assert training.total == 2
    assert record.copies["to device"] == 3 + (3 + 7)


def test_products_are_quick_and_the_optimizer_is_one_kernel(directions, tmp_path):
    for optimizer in ("adamw", "sgd"):
        changes = {"optim": OptimConfig(optimizer), "updates": 2, "epochs": 2}
        training, record = run_on_cuda(directions, tmp_path / optimizer, "mean_teacher", **changes)
        assert record.operators[f"_fused_{optimizer}_"] == 2 * len(training.optimizer.param_groups)
        assert record.operators["_foreach_lerp_"] == 1  # the teacher follows after the first epoch
        for slow in ("_foreach_mul_", "_foreach_addcdiv_", "addcdiv_"):
            assert record.operators[slow] == 0
    assert torch.get_float32_matmul_precision() == "high"
    assert training.accelerator.mixed_precision == "bf16"


@pytest.mark.parametrize("elements", ["2-2-4", "8", "4-4"])
@pytest.mark.parametrize("preset", ["S", "B"])
def test_attention_reaches_a_fused_kernel(preset, elements):
    shape = PRESETS[preset]
    with fake_cuda() as record:
        network = SefarEncoder(99, {"dim": shape.dim, "heads": shape.heads, "depth": 2}, elements).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            network(torch.zeros(400, 8, 3, 224, 224, device="cuda"))
    assert len(record.attention) == 4
    assert all(call.fused and len(call.query) == 4 for call in record.attention)
    masked = [call.masked for call in record.attention]
    assert masked == [elements != "8", False] * 2


@pytest.mark.parametrize(("shape", "axis"), [((2, 8, 12_000, 24), 1), ((9000, 8, 3, 24), 2)])
def test_no_call_is_larger_than_the_grid_of_the_kernels(shape, axis):
    with fake_cuda() as record:
        attention = Attention(24, 12, axis).to("cuda")
        assert attention(torch.zeros(shape, device="cuda")).shape == shape
    assert len(record.attention) > 1
    assert all(call.fused for call in record.attention)


@pytest.mark.parametrize("axis", [1, 2])
def test_attention_in_parts_is_attention(axis, monkeypatch):
    torch.manual_seed(0)
    attention, x = Attention(24, 2, axis), torch.randn(3, 4, 5, 24)
    mask = torch.eye(4, dtype=torch.bool) | torch.rand(4, 4).lt(0.5) if axis == 1 else None
    whole = attention(x, mask)
    monkeypatch.setattr(encoder.model.backbone, "_GRID", 2)
    torch.testing.assert_close(attention(x, mask), whole)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_attention_is_that_of_its_definition(axis, bf16):
    """softmax(QKᵀ/√d)V with the biases of queries, keys and values, position by position."""
    torch.manual_seed(0)
    attention, x = Attention(16, 2, axis), torch.randn(2, 4, 3, 16)
    torch.nn.init.normal_(attention.qkv.bias)
    mask = torch.eye(4, dtype=torch.bool) | torch.rand(4, 4).lt(0.5) if axis == 1 else None
    q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 8)).transpose(axis, 2).unbind(3)
    scores = torch.einsum("bsqhd,bskhd->bshqk", q, k) / 8**0.5
    scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    y = torch.einsum("bshqk,bskhd->bsqhd", scores.softmax(-1), v).flatten(3).transpose(axis, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = attention(x, mask).float()
    torch.testing.assert_close(found, attention.proj(y), rtol=0, atol=2e-2 if bf16 else 1e-5)


def test_batches_are_pinned():
    frames = torch.zeros(8, 20, 24, 3, dtype=torch.uint8).numpy()
    batch = collate([(frames, 1, "a", ""), (frames[:, :16], 0, "b", ""), (None, 0, "c", "broken")])
    with fake_cuda() as record:
        pinned = torch.utils.data._utils.pin_memory.pin_memory(batch)
        assert isinstance(pinned, Batch)
        assert all(x.is_pinned() for x in (pinned.frames, pinned.labels))
        assert not batch.frames.is_pinned()
        moved = pinned.to(torch.device("cuda"))
        assert moved.frames.is_cuda
        assert moved.labels.is_cuda
        assert record.copies == {"to device": 2}
        assert not record.waits
    assert (pinned.clips, pinned.broken) == (["a", "b"], ["broken"])
    assert torch.equal(pinned.frames, batch.frames)


@pytest.mark.parametrize("there", [False, True])
def test_loaders_pin_where_there_is_a_gpu(there, monkeypatch, directions):
    from encoder.loading.data import FrameSource, evaluation_batches
    from encoder.video.clips import read_clips
    from encoder.video.elements import TemporalElements

    clips = read_clips(directions / "labelled.csv")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    made = mock.Mock()
    monkeypatch.setattr("encoder.loading.data.Batches", made)
    evaluation_batches(clips, FrameSource(32, "pyav"), TemporalElements(), 2, 0, 1, 0)
    assert made.call_args.kwargs["pin_memory"] == there


@pytest.mark.parametrize("n", [5, 70])
def test_crops_take_a_few_kernels_however_many_clips(n):
    views = Views(AugmentConfig(horizontal_flip=True), 224, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    with fake_cuda() as record:
        frames = torch.zeros(n, 8, 320, 427, 3, dtype=torch.uint8, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            view = views.flipped(frames, torch.tensor([[320, 427]]).expand(n, 2))
    assert view.shape == (n, 8, 3, 224, 224)
    assert view.dtype == torch.float32
    assert record.copies == {"to device": 1}
    assert not record.waits
    assert record.operators["bmm"] == 2 * -(-n // 32)
    assert sum(record.operators.values()) < 120 + 30 * (n // 32)  # views among them


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_is_one_copy(name):
    elements = SefarEncoder(2, {"dim": 12, "heads": 2, "depth": 1}).elements
    with fake_cuda() as record:
        moved = reorder(torch.zeros(3, 8, 3, 16, 16, device="cuda"), find_perturbation(name)(3, elements))
    assert moved.shape == (3, 8, 3, 16, 16)
    assert record.copies == {"to device": 1}
    assert not record.waits
