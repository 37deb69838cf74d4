"""Projectors: shapes, sizes by closed form, order of time, files."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from projector.base import ProjectorSpec
from projector.build import (
    PROJECTORS,
    build_projector,
    load_projector,
    parameter_count,
    save_projector,
)
from projector.errors import ProjectorError
from projector.standardize import Standardize


def spec(kind: str, dim: int = 10, hidden: int = 16, tokens: int = 8) -> ProjectorSpec:
    same = kind.partition("?")[0] in ("linear", "mlp")
    return ProjectorSpec(kind, dim, hidden, tokens, tokens if same else 4)


@pytest.mark.parametrize("kind", PROJECTORS)
def test_shape_and_gradients(kind):
    module = build_projector(spec(kind))
    features = torch.randn(3, 8, 10, requires_grad=True)
    tokens = module(features)
    assert tokens.shape == (3, spec(kind).num_tokens, 16)
    tokens.square().sum().backward()
    assert features.grad is not None
    assert bool((features.grad.abs().sum(-1) > 0).all())  # every feature token is read
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(("d", "h", "n"), [(10, 16, 8), (192, 576, 24)])
def test_parameter_counts(d, h, n):
    mlp = (d + 1) * h + (h + 1) * h
    attention = (h + 1) * h + (h + 1) * 2 * h + (h + 1) * h
    feed_forward = 2 * h + (h + 1) * 4 * h + (4 * h + 1) * h
    around = (d + 1) * h + n * h + 4 * h + 2 * h + (h + 1) * h  # reader, queries, norm and output
    expected = {
        "linear": (d + 1) * h,
        "mlp": mlp,
        "pool": mlp,
        "resampler": around + 2 * (4 * h + attention + feed_forward),
        "qformer": around + 2 * (6 * h + 2 * attention + feed_forward),
    }
    assert {kind: parameter_count(spec(kind, d, h, n)) for kind in PROJECTORS} == expected


@pytest.mark.parametrize("kind", PROJECTORS)
def test_sees_the_order_of_time(kind):
    """Reversing time must not leave the same set of tokens: direction is what these questions ask about."""
    torch.manual_seed(0)
    module = build_projector(spec(kind)).eval()
    features = torch.randn(1, 8, 10)
    there, back = module(features), module(features.flip(1))
    assert not torch.allclose(there, back, atol=1e-4)


def test_options_of_its_own():
    d, h, n = 10, 16, 8
    assert parameter_count(spec("mlp?depth=3", d, h, n)) == (d + 1) * h + 2 * (h + 1) * h
    attention, feed_forward = 4 * (h + 1) * h, 2 * h + (h + 1) * 4 * h + (4 * h + 1) * h
    one, three = (parameter_count(spec(f"qformer?depth={k}", d, h, n)) for k in (1, 3))
    assert three - one == 2 * (6 * h + 2 * attention + feed_forward)
    module = build_projector(spec("resampler?depth=1&head_width=4", d, h, n))
    assert module.layers[0].attention.heads == 4
    assert len(module.layers) == 1


def test_pooling_is_the_mean_over_stretches():
    module = build_projector(spec("pool"))
    features = torch.randn(2, 8, 10)
    expected = module.layers(features.unflatten(1, (4, 2)).mean(2))
    torch.testing.assert_close(module(features), expected)


def test_scale_and_offset_of_an_encoder_do_not_matter():
    one, other = Standardize(8, 10), Standardize(8, 10)
    features = torch.randn(50, 8, 10)
    assert torch.equal(one(features), features)
    features[..., 3] = 7.0  # a number that never varies says nothing
    scale = 10.0 ** torch.arange(-4, 6)
    changed = scale * (features + 10 * torch.randn(8, 10))
    one.fit(features)
    other.fit(changed)
    torch.testing.assert_close(other(changed), one(features), atol=1e-3, rtol=0)
    standard = one(features)
    assert standard.mean(0).abs().max() < 1e-5
    expected = torch.tensor([0.0 if k == 3 else 1.0 for k in range(10)])
    torch.testing.assert_close(standard.pow(2).mean((0, 1)), expected, atol=1e-4, rtol=0)
    with pytest.raises(ProjectorError, match="not finite"):
        one.fit(torch.full((2, 8, 10), torch.nan))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_standardised_features_are_float32(dtype):
    features = (10 + 0.05 * torch.randn(50, 8, 10)).to(dtype)
    standardize = Standardize(8, 10)
    standardize.fit(features)
    found = standardize(features)
    assert found.dtype == torch.float32
    exact = features.double()
    exact = (exact - exact.mean(0)) / (exact - exact.mean(0)).pow(2).mean((0, 1)).sqrt()
    torch.testing.assert_close(found.double(), exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", PROJECTORS)
def test_saved_and_loaded(kind, tmp_path):
    module, standardize = build_projector(spec(kind)), Standardize(8, 10)
    standardize.fit(3 + torch.randn(5, 8, 10))
    save_projector(tmp_path, spec(kind), module.state_dict(), standardize)
    found, loaded, again = load_projector(tmp_path)
    features = torch.randn(2, 8, 10)
    assert found == spec(kind)
    assert torch.equal(module(standardize(features)), loaded(again(features)))
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "conv"}, "no projector 'conv'"),
        ({"kind": "resampler?width=3"}, "no option 'width'; 'resampler' has depth, head_width"),
        ({"kind": "linear?depth=3"}, "no option 'depth'; 'linear' has none"),
        ({"kind": "mlp?depth=0"}, "depth must be a whole number above 0"),
        ({"dim": 0}, "dim is 0"),
        ({"kind": "mlp", "num_tokens": 4}, "one token for each"),
        ({"kind": "pool", "num_tokens": 3}, "equal stretches"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ProjectorError, match=message):
        build_projector(dataclasses.replace(spec("pool"), **changes))


def test_broken_files_are_named(tmp_path):
    with pytest.raises(ProjectorError, match=r"projector\.json"):
        load_projector(tmp_path)
    save_projector(tmp_path, spec("mlp"), build_projector(spec("mlp")).state_dict(), Standardize(8, 10))
    text = (tmp_path / "projector.json").read_text(encoding="utf-8")
    for broken in ("[", "[]", json.dumps({**json.loads(text), "dim": "ten"}), json.dumps({"kind": "mlp"})):
        (tmp_path / "projector.json").write_text(broken, encoding="utf-8")
        with pytest.raises(ProjectorError, match=r"projector\.json"):
            load_projector(tmp_path)
    (tmp_path / "projector.json").write_text(text, encoding="utf-8")
    weights = tmp_path / "projector.safetensors"
    state = load_file(weights)
    save_file({**state, "layers.0.bias": torch.ones(11)}, weights)
    with pytest.raises(ProjectorError, match=r"layers\.0\.bias is \(11,\), expected \(16,\)"):
        load_projector(tmp_path)
    save_file({name: tensor for name, tensor in state.items() if name != "standardize.mean"}, weights)
    with pytest.raises(ProjectorError, match=r"standardize\.mean is missing, expected \(8, 10\)"):
        load_projector(tmp_path)
    weights.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ProjectorError, match="no readable projector weights"):
        load_projector(tmp_path)
