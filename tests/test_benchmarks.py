"""The baselines of the benchmarks compute what SeFAR computes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoder.loading.augment import AugmentConfig, Views
from encoder.model.backbone import PRESETS, DividedSpaceTimeViT, ViTShape
from encoder.model.sefar import SefarEncoder
from encoder.recipes.sefar import SefarOptions
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
train_step = pytest.importorskip("train_step")
reader = pytest.importorskip("reader")
step_cost = pytest.importorskip("step_cost")
SHAPE = {"image_size": 16, "patch_size": 8, "dim": 16, "depth": 2, "heads": 2}


def test_plain_attention_gives_the_same_tokens():
    torch.manual_seed(0)
    network = DividedSpaceTimeViT(ViTShape(**SHAPE), TemporalElements())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    frames = torch.randn(2, 8, 3, 16, 16)
    expected = network.eval()(frames)
    train_step.plain(network)
    assert any(type(module) is train_step.PlainAttention for module in network.modules())
    torch.testing.assert_close(network(frames), expected, rtol=1e-4, atol=1e-5)


def test_operations_and_bytes_by_hand():
    """A product of m × k and k × n numbers: 2mnk operations, and each number read or written once."""
    m, k, n = 64, 32, 16
    a, b = torch.zeros(m, k), torch.zeros(k, n)
    found = step_cost.cost(lambda: (a @ b).t().view(n, m))  # views cost nothing
    assert found.operations == 2 * m * n * k
    assert found.moved == 4 * (m * k + k * n + m * n)
    gpu = step_cost.H100
    assert found.seconds == max(found.operations / gpu.float32, found.moved / gpu.bandwidth)


def test_operations_of_a_network_by_hand():
    shape = {**SHAPE, "depth": 3}
    clips, frames, patches, dim = 2, 8, 4, 16
    network = DividedSpaceTimeViT(ViTShape(**shape), TemporalElements()).eval()
    with torch.no_grad():
        found = step_cost.cost(lambda: network(torch.zeros(clips, frames, 3, 16, 16)))
    tokens, places = frames * (1 + patches), frames * patches
    over_time = 2 * 5 * places * dim**2 + 4 * frames * places * dim  # q, k, v, proj, fc; QKᵀ and PV
    within = 2 * 4 * tokens * dim**2 + 4 * (1 + patches) * tokens * dim + 2 * 8 * tokens * dim**2
    cls = 2 * frames * frames * dim
    embedding = 2 * places * 3 * 8 * 8 * dim
    assert found.operations == clips * (3 * (over_time + within + cls) + embedding)


def test_the_plain_teacher_predicts_from_the_same_distribution():
    torch.manual_seed(0)
    student = SefarEncoder(3, SHAPE)
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    views = Views(AugmentConfig(), 16, student.mean, student.std)
    weak = torch.randn(2, 8, 3, 16, 16)
    found = []
    for recipe_class in (train_step.Sefar, train_step.PlainSefar):
        recipe = recipe_class(student, views, SefarOptions(predictions=600), epochs=6)
        found.append(recipe.pseudo_labels(weak))
        assert not recipe.teacher.network.head.training
    torch.testing.assert_close(found[0].probabilities, found[1].probabilities, rtol=0, atol=0.08)
    torch.testing.assert_close(found[0].deviation, found[1].deviation, rtol=0.25, atol=0.02)


def test_the_plain_reader_reads_the_same_frames(tmp_path):
    clip = Clip(tmp_path / "clip.mp4", 0)
    reader.write_clip(clip.path, 0, seconds=0.5, lines=64)
    elements = TemporalElements()
    (batch,) = reader.ours([clip], elements, 1, 0, 32, "pyav")
    plain = reader.OneFrameAtATime([clip], elements, 32)[0]
    assert [view.shape[1:] for view in batch] == [view.shape for view in plain]
    assert float(batch[0].mean()) == pytest.approx(float(plain[0].mean()), abs=0.2)


TINY = "--preset tiny --image-size 32 --steps 1 --predictions 2 --device cpu"
FILM = "--clips 2 --seconds 0.5 --lines 64 --size 32 --batch 1 --rounds 1 --film-clips 1 --film-lines 400"


@pytest.mark.parametrize(("script", "options"), [(train_step, TINY), (reader, FILM)], ids=["step", "reader"])
def test_they_run_and_print_their_ratios(script, options, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], depth=2))
    monkeypatch.setattr(sys, "argv", ["script", *options.split()])
    script.main()
    said = capsys.readouterr().out
    assert "goal: at " in said
    assert "baseline" in said
