"""Extraction on a CUDA device that is not there, and what passes between the processes that decode and it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import counting_frames, write_video
from fake_cuda import fake_cuda

from encoder.features.extract import ExtractConfig, _collated, _ViewInputs, extract
from encoder.loading.data import FrameSource
from encoder.model.sefar import SefarEncoder
from encoder.video.clips import read_clips
from encoder.visual.factory import open_encoder

SHAPE = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Clips of two sizes, and one that is broken."""
    folder = tmp_path_factory.mktemp("clips")
    sizes = {"a": (48, 64), "b": (72, 54), "c": (48, 64)}
    for name, (height, width) in sizes.items():
        write_video(folder / f"{name}.mp4", counting_frames(12, height, width))
    (folder / "clips.csv").write_text("video,label\n" + "".join(f"{name}.mp4,0\n" for name in sizes))
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def sefar(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sefar")
    network = SefarEncoder(3, SHAPE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return folder


def test_weights_are_in_bfloat16_and_nothing_but_the_result_is_waited_for(data, sefar, tmp_path):
    precision = torch.get_float32_matmul_precision()
    options = {"workers": 0, "batch": 2, "precision": "bf16", "device": "cuda", "views": 2}
    try:
        with fake_cuda() as record:
            encoder = open_encoder(f"sefar:{sefar}", "cuda", torch.bfloat16)
            record.clear()
            store = extract(ExtractConfig(f"sefar:{sefar}", [data], tmp_path / "store", **options))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert {p.dtype for p in encoder.network.parameters()} == {torch.bfloat16}
    assert store["a"].shape == (2, encoder.num_tokens, encoder.dim)
    assert store.facts.precision == "bf16"
    assert record.copies == {"to device": 2}  # one for each batch, from pinned memory
    weights = record.waits.pop("a copy to device")  # when the encoder is opened
    assert weights <= len(encoder.network.state_dict()) + len(list(encoder.network.buffers()))
    assert record.waits == {"a copy to host": 2}
    assert all(call.fused for call in record.attention)
    assert encoder.fingerprint == open_encoder(f"sefar:{sefar}").fingerprint == store.fingerprint


@pytest.mark.parametrize("spec", ["sefar:{}", "timm:vit_tiny_patch16_224"])
def test_what_decodes_sends_the_encoders_size_and_holds_no_weights(spec, data, sefar, monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, pretrained=False))
    encoder = open_encoder(spec.format(sefar))
    clips = read_clips(data)
    config = ExtractConfig(spec, [data], Path("unused"), views=2)
    inputs = _ViewInputs(config, encoder, clips, FrameSource(None, "pyav"), torch.float32)
    assert len(pickle.dumps(inputs.transform)) < 5000
    assert not any(isinstance(value, torch.nn.Module) for value in vars(inputs).values())
    (name, small), (_, tall) = inputs[0], inputs[1]
    size = 32 if "sefar" in spec else 224
    assert name == "a"
    assert small.shape == tall.shape == (2, 8, 3, size, size)
    frames = inputs.source.read(clips[1], lambda n: encoder.sampling.sample(n))
    torch.testing.assert_close(tall[:1], encoder.transform(torch.from_numpy(frames)[None]))
    names, batch, broken = _collated([inputs[0], "c.mp4: broken", inputs[1]])
    assert (names, broken, batch.shape[0]) == (["a", "b"], ["c.mp4: broken"], 2)


def test_bfloat16_weights_give_nearly_the_same_features(data, sefar):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 8, 40, 56, 3)).astype(np.uint8))
    full = open_encoder(f"sefar:{sefar}?tokens=all")
    half = open_encoder(f"sefar:{sefar}?tokens=all", "cpu", torch.bfloat16)
    assert half.fingerprint == full.fingerprint
    expected, found = (encoder.encode(encoder.transform(frames)) for encoder in (full, half))
    assert found.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
    assert cosine.min() > 0.998


def test_precision_is_chosen_by_the_device(data, sefar, tmp_path):
    store = extract(ExtractConfig(f"sefar:{sefar}", [data], tmp_path / "store", device="cpu", workers=0))
    assert store.facts.precision == "fp32"
