"""Tiny random vision models of each kind that Transformers has, with processors, and frames to show them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as hf

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


def dinov3() -> tuple:
    config = hf.DINOv3ViTConfig(**PICTURE, num_register_tokens=4)
    return hf.DINOv3ViTModel(config), hf.DINOv3ViTImageProcessor(**SQUARE)


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


def vjepa2() -> tuple:
    """Rotary positions, 2 frames a time step."""
    config = hf.VJEPA2Config(
        patch_size=7,
        crop_size=28,
        frames_per_clip=16,
        tubelet_size=2,
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        mlp_ratio=2,
        pred_hidden_size=8,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
    )
    return hf.VJEPA2Model(config), hf.VJEPA2VideoProcessor(crop_size=28)


PRISM = {
    **{name: SIZES[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")},
    "image_size": 28,
    "tubelet_size": [1, 7, 7],
    "num_frames": 16,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
}


def prism_processor() -> hf.BaseVideoProcessor:
    """As its checkpoints have it: pixels from 0 to 1, frames of its own choosing, a number that misleads."""
    return hf.LlavaOnevisionVideoProcessor(
        size={"height": 28, "width": 28}, do_normalize=False, do_sample_frames=True, num_frames=5
    )


def videoprism() -> tuple:
    """Tables of places and of times, no class token."""
    return hf.VideoPrismVisionModel(hf.VideoPrismVisionConfig(**PRISM)), prism_processor()


def videoprism_with_text() -> tuple:
    config = hf.VideoPrismConfig(vision_config=PRISM, text_config=WORDS)
    return hf.VideoPrismClipModel(config), prism_processor()


PERCEPTION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 8,
}
PERCEPTION_PICTURE = {
    "model_type": "timm_wrapper",
    "architecture": "vit_pe_core_large_patch14_336",
    "num_classes": 12,
    "do_pooling": True,
    "global_pool": "map",
    "model_args": {
        "embed_dim": 32,
        "img_size": [28, 28],
        "depth": 1,
        "num_heads": 2,
        "ref_feat_shape": [2, 2],
    },
}
PERCEPTION_VIDEO = {**PERCEPTION, "vision_config": PERCEPTION_PICTURE}
MODERN_WORDS = {"model_type": "modernbert", **WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODERN_WORDS |= {"cls_token_id": 1, "sep_token_id": 2}


def perception_processor(**options) -> hf.BaseVideoProcessor:
    half = [0.5, 0.5, 0.5]
    shown = {"do_sample_frames": True, "do_resize": True, "do_rescale": True, "do_normalize": True}
    return hf.PeVideoVideoProcessor(**SQUARE, **shown, image_mean=half, image_std=half, **options)


def pe_video() -> tuple:
    """A picture model of timm and a transformer over its vectors: one token a frame."""
    config = hf.PeVideoConfig(video_config=PERCEPTION_VIDEO, text_config=MODERN_WORDS)
    return hf.PeVideoModel(config), perception_processor()


def pe_audio_video() -> tuple:
    """As the checkpoints are: sound as well, and 16 frames."""
    sound = {"model_type": "dac", "encoder_hidden_size": 4, "downsampling_ratios": [2], "hidden_size": 8}
    sound |= {"decoder_hidden_size": 8, "codebook_dim": 4, "n_codebooks": 1}
    both = {
        **PERCEPTION,
        "video_config": {"model_type": "pe_video_encoder", **PERCEPTION_VIDEO},
        "audio_config": {"model_type": "pe_audio_encoder", **PERCEPTION, "dac_config": sound},
    }
    config = hf.PeAudioVideoConfig(text_config=MODERN_WORDS, audio_video_config=both)
    return hf.PeAudioVideoModel(config), perception_processor(num_frames=16)


def video_llava() -> tuple:
    """LanguageBind's video tower, as Transformers can load it: from within Video-LLaVA."""
    text = hf.LlamaConfig(**SIZES, vocab_size=40, num_key_value_heads=2)
    vision = hf.CLIPVisionConfig(**PICTURE, projection_dim=8)
    config = hf.VideoLlavaConfig(vision_config=vision, text_config=text)
    return hf.VideoLlavaForConditionalGeneration(config), hf.VideoLlavaImageProcessor(**SHORT)


def saved(make, root: Path) -> Path:
    """Saves a model and its processor under ``root``, once. Returns the folder."""
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


def frames(t: int = 8, b: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, t, 40, 56, 3), dtype=torch.uint8, generator=generator)
