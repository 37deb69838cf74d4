"""Vision models of Transformers as visual encoders, on tiny random models made on the spot; videos' apart."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import transformers as hf
import vision_models
from encoder_videos import write_direction_set
from safetensors.torch import load_file, save_file
from vision_models import (
    PICTURE,
    SQUARE,
    clip,
    convnext,
    dinov2,
    dinov3,
    frames,
    registers,
    siglip,
    videomae,
    vit,
    vit_classifier,
)

from encoder.errors import EncoderError
from encoder.features.extract import ExtractConfig, extract
from encoder.visual.factory import open_encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model and its processor once. Returns the folder."""
    return partial(vision_models.saved, root=tmp_path_factory.mktemp("models"))


def by_hand(folder: Path, model_class, pictures: torch.Tensor):
    """The library used directly, image by image."""
    model = model_class.from_pretrained(folder).eval()
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        x = processor(list(pictures.permute(0, 3, 1, 2)), return_tensors="pt")["pixel_values"]
        return model(pixel_values=x)


IMAGE_MODELS = [
    (clip, hf.CLIPVisionModel, "pooled"),
    (siglip, hf.SiglipVisionModel, "pooled"),
    (dinov2, hf.Dinov2Model, "pooled"),
    (registers, hf.Dinov2WithRegistersModel, "pooled"),
    (dinov3, hf.DINOv3ViTModel, "pooled"),
    (vit, hf.ViTModel, "pooled"),
    (vit_classifier, hf.ViTModel, "class"),
    (convnext, hf.ConvNextModel, "pooled"),
]


@pytest.mark.parametrize(("make", "model_class", "kind"), IMAGE_MODELS)
def test_image_models_are_the_librarys_frame_by_frame(saved, make, model_class, kind):
    folder = saved(make)
    encoder = open_encoder(f"hf:{folder}?grid=1")
    clips = frames()
    tokens = encoder.encode(encoder.transform(clips))
    assert (encoder.num_tokens, encoder.dim) == tokens.shape[1:]
    for b in range(2):
        output = by_hand(folder, model_class, clips[b])
        expected = output.pooler_output if kind == "pooled" else output.last_hidden_state[:, 0]
        torch.testing.assert_close(tokens[b], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [clip, siglip, registers, dinov3])
def test_a_grid_keeps_the_place_of_patches(saved, make):
    folder = saved(make)
    encoder = open_encoder(f"hf:{folder}?grid=2")
    model_class = {
        clip: hf.CLIPVisionModel,
        siglip: hf.SiglipVisionModel,
        registers: hf.Dinov2WithRegistersModel,
        dinov3: hf.DINOv3ViTModel,
    }[make]
    patches = by_hand(folder, model_class, frames()[0]).last_hidden_state[:, -16:].view(8, 4, 4, 16)
    cells = [patches[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)]
    tokens = encoder.encode(encoder.transform(frames()))
    assert encoder.dim == 4 * 16
    torch.testing.assert_close(tokens[0], torch.cat(cells, 1), atol=1e-5, rtol=1e-4)


def test_the_fingerprint_is_of_weights_transform_and_sampling(saved, tmp_path):
    folder = saved(clip)
    base = open_encoder(f"hf:{folder}").fingerprint
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    for file in folder.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert open_encoder(f"hf:{elsewhere}").fingerprint == base
    prints = {base}
    for option in ("grid=1", "frames=4"):
        prints.add(open_encoder(f"hf:{folder}?{option}").fingerprint)
    settings = json.loads((elsewhere / "preprocessor_config.json").read_text(encoding="utf-8"))
    settings["image_mean"] = [0.1, 0.2, 0.3]
    (elsewhere / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    prints.add(open_encoder(f"hf:{elsewhere}").fingerprint)
    weights = load_file(elsewhere / "model.safetensors")
    name = next(name for name in weights if "vision_model" in name and "weight" in name)
    weights[name] = weights[name] + 1e-3
    save_file(weights, elsewhere / "model.safetensors", {"format": "pt"})
    prints.add(open_encoder(f"hf:{elsewhere}").fingerprint)
    assert len(prints) == 5


def test_features_are_extracted_into_a_store(saved, tmp_path):
    data = write_direction_set(tmp_path, 3, "clip")
    options = {"clips": [data], "workers": 0, "views": 2}
    folder = saved(videomae)
    store = extract(ExtractConfig(encoder=f"hf:{folder}?grid=1", output=tmp_path / "store", **options))
    assert store["clip1"].shape == (2, 8, 16)
    with pytest.raises(EncoderError, match="holds features of 'hf:"):
        extract(ExtractConfig(encoder=f"hf:{saved(clip)}", output=tmp_path / "store", **options))


def test_models_that_draw_at_random_are_refused(tmp_path):
    hf.ViTMAEModel(hf.ViTMAEConfig(**PICTURE)).save_pretrained(tmp_path)
    hf.ViTImageProcessor(**SQUARE).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="leaves out patches at random"):
        open_encoder(f"hf:{tmp_path}?grid=1")


def test_what_cannot_be_loaded_is_named(saved, tmp_path):
    with pytest.raises(EncoderError, match=r"nowhere.*could not load it"):
        open_encoder(f"hf:{tmp_path / 'nowhere'}")
    (tmp_path / "config.json").write_text('{"model_type": "LanguageBindVideo"}', encoding="utf-8")
    with pytest.raises(EncoderError, match=r"hf:LanguageBind/Video-LLaVA-7B-hf"):
        open_encoder(f"hf:{tmp_path}")
    with pytest.raises(EncoderError, match="frames must divide"):
        open_encoder(f"hf:{saved(videomae)}?frames=5")
    with pytest.raises(EncoderError, match="no option 'image_size'"):
        open_encoder(f"hf:{saved(vit)}?image_size=64")
    torn = tmp_path / "torn"
    torn.mkdir()
    for file in saved(vit).iterdir():
        (torn / file.name).write_bytes(file.read_bytes())
    weights = load_file(torn / "model.safetensors")
    del weights[next(name for name in weights if "layer" in name)]
    save_file(weights, torn / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 tensors"):
        open_encoder(f"hf:{torn}")
