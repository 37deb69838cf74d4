"""Families of multimodal models with settings that make them tiny; `FAMILIES` holds all of them."""

from __future__ import annotations

from multimodal_settings import (
    LAYERS,
    LLAVA,
    LLAVA_SETTINGS,
    LLAVA_SQUARE,
    LLAVA_TO_PERCEPTION,
    MROPE,
    QWEN3_VISION,
    QWEN_SIZE,
    QWEN_TEXTS,
    QWEN_TOKENS,
    SCALED,
    SIGLIP,
)
from tiny_multimodal import MEAN, SQUARE, TEXT, VISION, Family
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

FAMILIES: dict[str, Family] = LLAVA_TO_PERCEPTION | {
    "LLaVA-NeXT": Family(
        "llava_next",
        {**LLAVA, "image_grid_pinpoints": [[28, 56], [56, 28]], "image_seq_length": 4},
        {"image_token": "<image>"},
        ("LlavaNextImageProcessor", {**LLAVA_SQUARE, "image_grid_pinpoints": [[28, 56], [56, 28]]}),
        processor=LLAVA_SETTINGS,
    ),
    "Gemma 3": Family(
        "gemma3",
        {
            "vision_config": {**SIGLIP, "vision_use_head": False},
            "text_config": {"model_type": "gemma3_text", **TEXT, "layer_types": LAYERS, "sliding_window": 24},
            "mm_tokens_per_image": 1,
        },
        {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"},
        ("Gemma3ImageProcessor", {"size": SQUARE, **MEAN}),
        image_text="<start_of_image>",
        processor={"image_seq_length": 1},
    ),
    "Gemma 4": Family(
        "gemma4",
        {
            "vision_config": {
                **{key: VISION[key] for key in VISION if key not in ("image_size", "patch_size")},
                "num_key_value_heads": 4,
                "head_dim": 8,
                "patch_size": 16,
                "pooling_kernel_size": 3,
                "position_embedding_size": 64,
            },
            "text_config": {
                **TEXT,
                "global_head_dim": 8,
                "layer_types": LAYERS,
                "sliding_window": 24,
                "hidden_size_per_layer_input": 0,
                "num_kv_shared_layers": 0,
            },
            "audio_config": None,
        },
        {
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
            "video_token": "<|video|>",
        },
        ("Gemma4ImageProcessor", {"pooling_kernel_size": 3, "max_soft_tokens": 70}),
        ("Gemma4VideoProcessor", {"pooling_kernel_size": 3, "max_soft_tokens": 70, "num_frames": 8}),
        image_text="<|image|>",
        video_text="<|video|>",
        processor={"feature_extractor": "Gemma4AudioFeatureExtractor"},
    ),
    "GLM-4V": Family(
        "glm4v",
        {
            "vision_config": {
                "depth": 2,
                "hidden_size": 32,
                "num_heads": 4,
                "image_size": 56,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "out_hidden_size": 32,
                "intermediate_size": 64,
            },
            "text_config": {key: MROPE[key] for key in MROPE if key != "head_dim"},
        },
        {
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "image_start_token": "<|begin_of_image|>",
            "image_end_token": "<|end_of_image|>",
            "video_start_token": "<|begin_of_video|>",
            "video_end_token": "<|end_of_video|>",
        },
        ("Glm4vImageProcessor", QWEN_SIZE),
        ("Glm4vVideoProcessor", {**QWEN_SIZE, "max_image_size": {"longest_edge": 56 * 56 * 64}}),
        image_text="<|begin_of_image|><|image|><|end_of_image|>",
        video_text="<|begin_of_video|><|video|><|end_of_video|>",
    ),
    "Qwen3.5": Family(
        "qwen3_5",
        {
            "vision_config": QWEN3_VISION,
            "text_config": {
                **MROPE,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
            },
        },
        QWEN_TOKENS,
        ("Qwen2VLImageProcessor", {**QWEN_SIZE, "patch_size": 16}),
        ("Qwen3VLVideoProcessor", {**QWEN_SIZE, "patch_size": 16}),
        **QWEN_TEXTS,
    ),
    "Molmo 2": Family(
        "molmo2",
        {
            "vision_config": {
                **VISION,
                "image_size": [28, 28],
                "num_key_value_heads": 4,
                "head_dim": 8,
                "initializer_range": 0.3,
            },
            "adapter_config": {
                "vision_feature_layer": [1, 0],
                "hidden_size": 32,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "head_dim": 8,
                "intermediate_size": 64,
                "text_hidden_size": 32,
                "initializer_range": 0.3,
            },
            "text_config": {**TEXT, "additional_vocab_size": 0},
        },
        {
            "image_patch": "<im_patch>",
            "image_start_token": "<im_start>",
            "low_res_image_start_token": "<low_res_im_start>",
            "image_end_token": "<im_end>",
            "frame_start_token": "<frame_start>",
            "frame_end_token": "<frame_end>",
        },
        ("Molmo2ImageProcessor", {"size": SQUARE, "overlap_margins": [0, 0], "max_crops": 1, **SCALED}),
        ("Molmo2VideoProcessor", {"size": SQUARE, "pooling_size": [2, 2], **SCALED}),
        image_text="<|image|>",
        video_text="<|video|>",
        names={"image_token": "<|image|>", "video_token": "<|video|>"},
        more=("<im_col>", "<im_low>"),
    ),
}

#: Those that the installed Transformers holds.
FAMILIES = {
    name: family for name, family in FAMILIES.items() if family.kind in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
}
