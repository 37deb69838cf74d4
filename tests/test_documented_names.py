"""Every model that the documentation, a configuration or a message names: timm and Transformers know it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import transformers
import vision_models
import yaml
from multimodal_families import FAMILIES
from timm.models.vision_transformer import VisionTransformer
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from encoder.visual.factory import open_encoder

ROOT = Path(__file__).parents[1]
PLACEHOLDERS = {"NAME", "NAME-OR-FOLDER", "FOLDER"}
TIMM = {
    "vit_base_patch16_224.mae",
    "eva_giant_patch14_clip_224.merged2b",
    "vit_large_patch16_dinov3.lvd1689m",
    "vit_pe_core_large_patch14_336.fb",
}
STARTING_WEIGHTS = {
    "vit_small_patch16_224.augreg_in21k",
    "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224.orig_in21k_ft_in1k",  # what the released SeFAR-B starts from
}
HF = {  # the model_type of each on the Hub, and a tiny one of that kind
    "openai/clip-vit-large-patch14": ("clip", vision_models.clip),
    "google/siglip-so400m-patch14-384": ("siglip", vision_models.siglip),
    "google/siglip2-so400m-patch14-384": ("siglip", vision_models.siglip),
    "facebook/dinov2-large": ("dinov2", vision_models.dinov2),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": ("dinov3_vit", vision_models.dinov3),
    "MCG-NJU/videomae-base": ("videomae", vision_models.videomae),
    "facebook/vjepa2-vitl-fpc64-256": ("vjepa2", vision_models.vjepa2),
    "MHRDYN7/videoprism-base-f16r288": ("videoprism_vision_model", vision_models.videoprism),
    "facebook/pe-av-base-16-frame": ("pe_audio_video", vision_models.pe_audio_video),
    "LanguageBind/Video-LLaVA-7B-hf": ("video_llava", vision_models.video_llava),
}
WHOLE_MODELS = {"Qwen/Qwen2-VL-7B-Instruct": "qwen2_vl"}  # of ``evaluate --model``
LANGUAGE_MODELS = {"lmsys/vicuna-7b-v1.5": "llama"}


def texts() -> dict[str, str]:
    """What a user may read: documentation, configurations, and code with its messages."""
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*/*.yaml")]
    for room in ("encoder", "projector", "gym_qa", "sefar_mllm", "scripts", "benchmarks"):
        files += ROOT.glob(f"{room}/**/*.py")
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def named(kind: str) -> set[str]:
    """The names after ``timm:`` or ``hf:``."""
    found = re.findall(rf"(?<![\w-]){kind}:([A-Za-z0-9_][\w./-]*[\w])", "\n".join(texts().values()))
    return set(found) - PLACEHOLDERS


def in_configurations(folder: str, *keys: str) -> set[str]:
    """The values of ``keys`` in the YAML files of ``configs/folder``."""
    found = set()
    for path in ROOT.glob(f"configs/{folder}/*.yaml"):
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value.get(key, {})
        found.add(value)
    return found


def test_every_name_is_tried_here():
    assert named("timm") == TIMM
    assert named("hf") == {*HF, *WHOLE_MODELS}
    assert set(WHOLE_MODELS.values()) <= {family.kind for family in FAMILIES.values()}
    assert in_configurations("encoder", "model", "weights") - {"minigym"} == STARTING_WEIGHTS
    embedded = {"SmolLM2-135M-Instruct"}
    assert in_configurations("mllm", "language_model") - embedded == set(LANGUAGE_MODELS)
    hub = re.findall(r"lmsys/[\w.-]*\w", "\n".join(texts().values()))
    assert set(hub) == set(LANGUAGE_MODELS)


@pytest.mark.parametrize("name", sorted(TIMM | STARTING_WEIGHTS))
def test_timm_has_the_model_and_weights_under_this_tag(name):
    assert timm.is_model_pretrained(name)
    facts = timm.get_pretrained_cfg(name)
    assert facts.hf_hub_id or facts.url
    with torch.device("meta"):  # the shapes alone: the giant would take 4 GB
        model = timm.create_model(name, pretrained=False, num_classes=0)
    assert name not in STARTING_WEIGHTS or isinstance(model, VisionTransformer)


def test_a_tag_that_timm_does_not_know_would_be_noticed():
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        timm.get_pretrained_cfg("eva_giant_patch14_clip_224.merged2b_s11b_b114k")


@pytest.mark.parametrize("name", HF)
def test_transformers_has_the_vision_model_and_its_processor(name, tmp_path):
    """A tiny model of the same configuration class, saved as it would be on the Hub, gives features."""
    kind, make = HF[name]
    if kind == "videoprism_vision_model" and not hasattr(transformers, "VideoPrismVisionModel"):
        pytest.skip("VideoPrism came with Transformers 5.13")
    folder = vision_models.saved(make, tmp_path)
    assert type(AutoConfig.from_pretrained(folder)) is type(AutoConfig.for_model(kind))
    encoder = open_encoder(f"hf:{folder}")
    tokens = encoder.encode(encoder.transform(vision_models.frames()))
    assert tokens.shape == (2, encoder.num_tokens, encoder.dim)
    assert tokens.isfinite().all()
    assert tokens.std() > 0


@pytest.mark.parametrize("name", sorted(TIMM))
def test_the_timm_model_gives_features(name, monkeypatch):
    """At a small width and depth, of random weights."""
    create = partial(timm.create_model, depth=1, embed_dim=64, num_heads=4)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, pretrained=False))
    encoder = open_encoder(f"timm:{name}")
    tokens = encoder.encode(encoder.transform(vision_models.frames(t=1, b=1)))
    assert tokens.shape == (1, 1, 4 * 64)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_transformers_has_the_language_model(name):
    assert type(AutoConfig.for_model(LANGUAGE_MODELS[name])) in MODEL_FOR_CAUSAL_LM_MAPPING
