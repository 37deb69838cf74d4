"""Frames in another order: what an encoder that looks at time makes of it, and one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from encoder_videos import write_direction_set

from encoder.errors import EncoderError
from encoder.features.extract import ExtractConfig, extract
from encoder.features.store import FeatureStore
from encoder.model.sefar import SefarEncoder

IMAGE = "efficientnet-lite0?image_size=32"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_direction_set(tmp_path_factory.mktemp("data"), 3, "clip")


@pytest.fixture(scope="module")
def sefar(tmp_path_factory) -> str:
    """A random video encoder whose temporal attention does something."""
    torch.manual_seed(0)
    network = SefarEncoder(2, {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 1, "heads": 2})
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "temporal" in name or "time" in name:
                weight.normal_(std=0.5)
    folder = tmp_path_factory.mktemp("sefar")
    network.save_pretrained(folder)
    return f"sefar:{folder}"


def stored(spec: str, data: Path, output: Path, order: str) -> FeatureStore:
    return extract(
        ExtractConfig(spec, [data], output, frame_order=order, workers=0, dtype="fp32")  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_permuting_an_image_encoders_tokens_is_encoding_permuted_frames(data, tmp_path, order):
    filmed, other = (stored(IMAGE, data, tmp_path / name, name) for name in ("filmed", order))
    for clip in filmed.shards:
        ours, theirs = filmed[clip][0], other[clip][0]
        distances = torch.cdist(theirs, ours)
        permutation = distances.argmin(1)
        assert sorted(permutation.tolist()) == list(range(8))
        assert permutation.tolist() != list(range(8))
        torch.testing.assert_close(theirs, ours[permutation], rtol=1e-3, atol=1e-3)
        if order == "reversed":
            assert permutation.tolist() == list(range(8))[::-1]


def test_permuting_a_video_encoders_tokens_is_not(sefar, data, tmp_path):
    filmed, other = (stored(sefar, data, tmp_path / name, name) for name in ("filmed", "reversed"))
    for clip in filmed.shards:
        assert not torch.allclose(other[clip][0], filmed[clip][0].flip(0), rtol=1e-2, atol=1e-2)


def test_other_orders_have_their_own_fingerprint_and_are_repeatable(sefar, data, tmp_path):
    shuffled = stored(sefar, data, tmp_path / "one", "shuffled")
    again = stored(sefar, data, tmp_path / "two", "shuffled")
    assert shuffled.fingerprint == again.fingerprint == f"{shuffled.fingerprint.split('-')[0]}-shuffled"
    for clip in shuffled.shards:
        torch.testing.assert_close(shuffled[clip], again[clip])
    with pytest.raises(EncoderError, match="not of the encoder asked for"):
        stored(sefar, data, tmp_path / "one", "filmed")
