"""Vision models of Transformers as visual encoders, on tiny random models made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from encoder_videos import write_direction_set
from safetensors.torch import load_file, save_file

from encoder.errors import EncoderError
from encoder.features.extract import ExtractConfig, extract
from encoder.video.elements import TemporalElements
from encoder.visual.base import pool_grid
from encoder.visual.factory import open_encoder

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {**SIZES, "image_size": 28, "patch_size": 7}
WORDS = {**SIZES, "vocab_size": 40}
SQUARE = {"size": {"height": 28, "width": 28}}
SHORT = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}


def clip() -> tuple:
    vision = {**PICTURE, "projection_dim": 8}
    config = hf.CLIPConfig(vision_config=vision, text_config=WORDS, projection_dim=8)
    return hf.CLIPModel(config), hf.CLIPImageProcessor(**SHORT)


def siglip() -> tuple:
    config = hf.SiglipConfig(vision_config=PICTURE, text_config={**WORDS, "projection_size": 16})
    return hf.SiglipModel(config), hf.SiglipImageProcessor(**SQUARE)


def dinov2() -> tuple:
    config = hf.Dinov2Config(**PICTURE, mlp_ratio=2)
    return hf.Dinov2Model(config), hf.BitImageProcessor(**SHORT, do_resize=True, do_center_crop=True)


def registers() -> tuple:
    config = hf.Dinov2WithRegistersConfig(**PICTURE, mlp_ratio=2, num_register_tokens=3)
    return hf.Dinov2WithRegistersModel(config), hf.BitImageProcessor(**SHORT)


def vit() -> tuple:
    return hf.ViTModel(hf.ViTConfig(**PICTURE)), hf.ViTImageProcessor(**SQUARE)


def vit_classifier() -> tuple:
    """Its checkpoint has no pooling layer."""
    return hf.ViTForImageClassification(hf.ViTConfig(**PICTURE)), hf.ViTImageProcessor(**SQUARE)


def convnext() -> tuple:
    config = hf.ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, patch_size=4)
    return hf.ConvNextModel(config), hf.ViTImageProcessor(**SQUARE)


def videomae() -> tuple:
    config = hf.VideoMAEConfig(**PICTURE, num_frames=16, tubelet_size=2)
    return hf.VideoMAEModel(config), hf.VideoMAEImageProcessor(**SHORT)


def vivit() -> tuple:
    config = hf.VivitConfig(**SIZES, image_size=28, num_frames=6, tubelet_size=[3, 7, 7])
    return hf.VivitModel(config), hf.VivitImageProcessor(**SHORT)


def timesformer() -> tuple:
    config = hf.TimesformerConfig(**PICTURE, num_frames=4)
    return hf.TimesformerModel(config), hf.VideoMAEImageProcessor(**SHORT)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model and its processor once. Returns the folder."""
    root = tmp_path_factory.mktemp("models")

    def save(make) -> Path:
        folder = root / make.__name__
        if not folder.exists():
            torch.manual_seed(0)
            model, processor = make()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=0.3)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return folder

    return save


def frames(t: int = 8, b: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, t, 40, 56, 3), dtype=torch.uint8, generator=generator)


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


@pytest.mark.parametrize("make", [clip, siglip, registers])
def test_a_grid_keeps_the_place_of_patches(saved, make):
    folder = saved(make)
    encoder = open_encoder(f"hf:{folder}?grid=2")
    model_class = {
        clip: hf.CLIPVisionModel,
        siglip: hf.SiglipVisionModel,
        registers: hf.Dinov2WithRegistersModel,
    }[make]
    patches = by_hand(folder, model_class, frames()[0]).last_hidden_state[:, -16:].view(8, 4, 4, 16)
    cells = [patches[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)]
    tokens = encoder.encode(encoder.transform(frames()))
    assert encoder.dim == 4 * 16
    torch.testing.assert_close(tokens[0], torch.cat(cells, 1), atol=1e-5, rtol=1e-4)


VIDEO = [(videomae, 16, 8), (vivit, 6, 2), (timesformer, 4, 4)]


@pytest.mark.parametrize(("make", "count", "steps"), VIDEO)
def test_video_models_see_as_many_frames_as_they_were_made_for(saved, make, count, steps):
    encoder = open_encoder(f"hf:{saved(make)}?grid=2")
    assert encoder.sampling.n_frames == count
    assert encoder.num_tokens == steps
    edges = [i * 160 // count for i in range(count + 1)]
    assert encoder.sampling.sample(160) == [(edges[i] + edges[i + 1]) // 2 for i in range(count)]
    tokens = encoder.encode(encoder.transform(frames(count)))
    assert tokens.shape == (2, steps, 4 * 16)
    torch.testing.assert_close(encoder.encode(encoder.transform(frames(count)))[1], tokens[1])


@pytest.mark.parametrize(("make", "count", "steps"), VIDEO)
def test_a_video_models_tokens_are_of_their_time_and_place(saved, make, count, steps):
    """With attention muted every patch token depends on its own pixels alone: a change must show there."""
    folder = saved(make)
    encoder = open_encoder(f"hf:{folder}?grid=4")
    with torch.no_grad():
        for name, parameter in encoder.network.named_parameters():
            if "attention" in name or "temporal_dense" in name:
                parameter.zero_()
    x = torch.randn(1, count, 3, 28, 28)
    other = x.clone()
    step, row, column = steps - 1, 1, 2
    span = count // steps
    other[:, step * span : (step + 1) * span, :, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] += 1
    change = (encoder.encode(other) - encoder.encode(x)).view(steps, 4, 4, 16).abs().sum(-1)
    assert change[step, row, column] > 1e-3
    change[step, row, column] = 0
    assert change.max() < 1e-4


def test_fewer_frames_are_shown_several_times(saved):
    folder = saved(videomae)
    few, many = open_encoder(f"hf:{folder}?frames=8"), open_encoder(f"hf:{folder}")
    assert few.sampling.sample(40) == TemporalElements().sample(40)  # what the other encoders see
    assert few.num_tokens == 8
    x = few.transform(frames(8))
    torch.testing.assert_close(few.encode(x), many.encode(x.repeat_interleave(2, 1)))
    assert few.fingerprint != many.fingerprint


def test_the_video_tower_of_video_llava(tmp_path):
    """LanguageBind's video tower, as Transformers can load it: from within Video-LLaVA."""
    torch.manual_seed(0)
    text = hf.LlamaConfig(**SIZES, vocab_size=40, num_key_value_heads=2)
    vision = hf.CLIPVisionConfig(**PICTURE, projection_dim=8)
    config = hf.VideoLlavaConfig(vision_config=vision, text_config=text)
    whole = hf.VideoLlavaForConditionalGeneration(config)
    whole.save_pretrained(tmp_path)
    hf.VideoLlavaImageProcessor(**SHORT).save_pretrained(tmp_path)
    encoder = open_encoder(f"hf:{tmp_path}?grid=2")
    assert encoder.num_tokens == 8
    x = encoder.transform(frames())
    with torch.no_grad():
        patches = whole.eval().model.video_tower(pixel_values=x[0]).last_hidden_state[:, 1:]
    expected = pool_grid(patches.unflatten(1, (4, 4)), 2)
    torch.testing.assert_close(encoder.encode(x)[0], expected, atol=1e-5, rtol=1e-4)


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
