"""The feature store: what is extracted, kept, told and refused."""

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import write_direction_set

from encoder.errors import EncoderError
from encoder.features.extract import ExtractConfig, extract
from encoder.features.store import FeatureStore
from encoder.loading.data import FrameSource
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from encoder.video.reader import read_clip
from encoder.visual.factory import open_encoder
from sefar_mllm.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_direction_set(tmp_path_factory.mktemp("clips"), 6, "clip")


def configure(sefar: Path, data: Path, output: Path, **changes) -> ExtractConfig:
    options = {"encoder": f"sefar:{sefar}", "clips": [data], "output": output, "workers": 0, "dtype": "fp32"}
    return ExtractConfig(**{**options, **changes})


def test_stored_features_are_the_encoders(sefar, data, tmp_path):
    store = extract(configure(sefar, data, tmp_path / "store"))
    encoder = open_encoder(f"sefar:{sefar}")
    assert (len(store), store.views, store.num_tokens, store.dim) == (6, 1, 8, 48)
    for i in range(6):
        read = read_clip(Clip(data.parent / f"clip{i}.mp4", 0), TemporalElements().sample)
        x = encoder.transform(torch.from_numpy(read)[None])
        torch.testing.assert_close(store[f"clip{i}"], encoder.encode(x), rtol=1e-4, atol=1e-4)
    again = FeatureStore.open(tmp_path / "store", encoder.fingerprint)
    copy = pickle.loads(pickle.dumps(again))  # as a worker process gets it
    assert torch.equal(copy["clip3"], store["clip3"])


def test_views_are_of_other_frames_and_the_first_is_the_middle(sefar, data, tmp_path):
    one = extract(configure(sefar, data, tmp_path / "one"))
    many = extract(configure(sefar, data, tmp_path / "many", views=3, dtype="fp16"))
    again = extract(configure(sefar, data, tmp_path / "again", views=3, dtype="fp16", workers=1, batch=4))
    for clip in one.shards:
        assert many[clip].shape == (3, 8, 48)
        assert many[clip].dtype == torch.float16
        torch.testing.assert_close(many[clip][0].float(), one[clip][0], rtol=2e-3, atol=2e-3)
        assert not torch.equal(many[clip][1], many[clip][2])
        torch.testing.assert_close(many[clip], again[clip], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_the_size_is_told_before_and_is_right(sefar, data, tmp_path, caplog, dtype):
    caplog.set_level(logging.INFO, "encoder")
    store = extract(configure(sefar, data, tmp_path / "store", views=2, dtype=dtype))
    told = float(caplog.text.split(" MB")[0].split()[-1])
    size = sum(store[clip].nbytes for clip in store.shards)
    assert size == 6 * 2 * 8 * 48 * 2
    assert told == pytest.approx(size / 1e6, abs=0.05)
    assert store["clip0"].dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]


def test_extraction_goes_on_where_it_was_stopped(sefar, data, tmp_path, monkeypatch, caplog):
    import encoder.features.extract

    monkeypatch.setattr(encoder.features.extract, "SHARD_CLIPS", 2)
    read, original = FrameSource.read, encoder.features.extract.read_clips
    decoded = []

    def noted(self, clip, choose):
        decoded.append(clip.id)
        return read(self, clip, choose)

    def stop_after(path, root):
        return original(path, root)[:3]

    with monkeypatch.context() as context:
        context.setattr(encoder.features.extract, "read_clips", stop_after)
        extract(configure(sefar, data, tmp_path / "store"))
    (tmp_path / "store" / "features-00002.safetensors.tmp").write_bytes(b"half a shard")
    before = {p: p.read_bytes() for p in (tmp_path / "store").glob("*.safetensors")}
    caplog.set_level(logging.INFO, "encoder")
    with monkeypatch.context() as context:
        context.setattr(FrameSource, "read", noted)
        store = extract(configure(sefar, data, tmp_path / "store"))
    assert decoded == ["clip3", "clip4", "clip5"]
    assert "3 of 6 clips to extract" in caplog.text
    assert all(p.read_bytes() == content for p, content in before.items())
    whole = extract(configure(sefar, data, tmp_path / "whole"))
    for clip in whole.shards:
        torch.testing.assert_close(store[clip], whole[clip], rtol=1e-4, atol=1e-5)


def test_clips_that_cannot_be_read_do_not_keep_the_others_from_the_store(sefar, data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data.parent, folder)
    bad = [folder / f"clip{i}.mp4" for i in (1, 4)]
    for path in bad:
        path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(
        EncoderError, match=r"2 of 6 clips cannot be read.*clip1\.mp4: no decoder.*clip4\.mp4"
    ):
        extract(configure(sefar, folder / data.name, tmp_path / "store"))
    assert sorted(FeatureStore.open(tmp_path / "store").shards) == ["clip0", "clip2", "clip3", "clip5"]
    for path in bad:
        shutil.copy(data.parent / path.name, path)
    assert len(extract(configure(sefar, folder / data.name, tmp_path / "store")).shards) == 6


def test_features_of_another_encoder_are_refused(sefar, data, tmp_path):
    extract(configure(sefar, data, tmp_path / "store"))
    before = (tmp_path / "store" / "index.json").read_bytes()
    with pytest.raises(EncoderError, match="holds features of 'sefar:"):
        extract(configure(sefar, data, tmp_path / "store", encoder=f"sefar:{sefar}?tokens=clip"))
    with pytest.raises(EncoderError, match="another views"):
        extract(configure(sefar, data, tmp_path / "store", views=2))
    with pytest.raises(EncoderError, match="not of the encoder asked for"):
        FeatureStore.open(tmp_path / "store", "0123")
    assert (tmp_path / "store" / "index.json").read_bytes() == before


def test_a_store_says_what_is_wrong_with_it(sefar, data, tmp_path):
    with pytest.raises(EncoderError, match="no feature store"):
        FeatureStore.open(tmp_path)
    store = extract(configure(sefar, data, tmp_path / "store"))
    assert store.missing(["clip1", "other"]) == ["other"]
    assert "clip1" in store
    with pytest.raises(EncoderError, match="no features of the clip 'other'"):
        store["other"]
    (tmp_path / "store" / "features-00000.safetensors").write_bytes(b"cut")
    with pytest.raises(EncoderError, match=r"features-00000\.safetensors: damaged"):
        FeatureStore.open(tmp_path / "store")["clip1"]
    (tmp_path / "store" / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"index\.json: damaged"):
        FeatureStore.open(tmp_path / "store")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(EncoderError, match="not a feature store and not empty"):
        extract(configure(sefar, data, tmp_path / "full"))


def test_extraction_through_the_command_line(sefar, data, tmp_path, capfd):
    args = ["--encoder", f"sefar:{sefar}", "--clips", f"[{data}]", "--output", str(tmp_path / "store")]
    assert main(["extract-features", *args, "--workers", "1", "--cache", str(tmp_path / "cache")]) == 0
    store = FeatureStore.open(tmp_path / "store")
    assert store["clip0"].dtype == torch.float16
    assert np.isfinite(store["clip0"].float().numpy()).all()
    assert main(["extract-features", *args, "--views", "2"]) == 2
    assert "another views" in capfd.readouterr().err
