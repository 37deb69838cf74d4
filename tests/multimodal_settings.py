"""Families of multimodal models, first part: settings that make them tiny."""

from __future__ import annotations

from tiny_multimodal import MEAN, SQUARE, TEXT, VISION, Family

LLAVA_TOKENS = {"image_token": "<image>", "video_token": "<video>"}
QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
QWEN_TEXTS = {
    "image_text": "<|vision_start|><|image_pad|><|vision_end|>",
    "video_text": "<|vision_start|><|video_pad|><|vision_end|>",
}
MROPE = {
    **TEXT,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
}
QWEN_VISION = {
    "depth": 2,
    "num_heads": 4,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
QWEN3_VISION = {
    **QWEN_VISION,
    "patch_size": 16,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}
QWEN_SIZE = {"size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56 * 64}, **MEAN}
CLIP = {"model_type": "clip_vision_model", **VISION}
SIGLIP = {"model_type": "siglip_vision_model", **VISION}
LLAVA_SQUARE = {"size": {"shortest_edge": 28}, "crop_size": SQUARE, **MEAN}
LLAVA_SETTINGS = {
    "patch_size": 14,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}
SCALED = {**MEAN, "do_rescale": True, "do_normalize": True}
LAYERS = ["sliding_attention", "full_attention"]
LLAVA = {"vision_config": CLIP, "text_config": {"model_type": "llama", **TEXT}}

LLAVA_TO_PERCEPTION: dict[str, Family] = {
    "LLaVA": Family(
        "llava",
        {**LLAVA, "image_seq_length": 4},
        {"image_token": "<image>"},
        ("CLIPImageProcessor", LLAVA_SQUARE),
        processor=LLAVA_SETTINGS,
    ),
    "Video-LLaVA": Family(
        "video_llava",
        {**LLAVA, "image_seq_length": 4, "video_seq_length": 5 * 8},
        LLAVA_TOKENS,
        ("VideoLlavaImageProcessor", LLAVA_SQUARE),
        ("VideoLlavaVideoProcessor", LLAVA_SQUARE),
        processor=LLAVA_SETTINGS,
    ),
    "LLaVA-NeXT-Video": Family(
        "llava_next_video",
        {**LLAVA, "image_grid_pinpoints": [[28, 56], [56, 28]], "image_seq_length": 4},
        LLAVA_TOKENS,
        ("LlavaNextImageProcessor", {**LLAVA_SQUARE, "image_grid_pinpoints": [[28, 56], [56, 28]]}),
        ("LlavaNextVideoVideoProcessor", LLAVA_SQUARE),
        processor=LLAVA_SETTINGS,
    ),
    "LLaVA-OneVision": Family(
        "llava_onevision",
        {
            "vision_config": SIGLIP,
            "text_config": {"model_type": "qwen2", **TEXT},
            "image_grid_pinpoints": [[28, 56], [56, 28]],
        },
        LLAVA_TOKENS,
        (
            "LlavaOnevisionImageProcessor",
            {"size": SQUARE, "image_grid_pinpoints": [[28, 56], [56, 28]], **MEAN},
        ),
        ("LlavaOnevisionVideoProcessor", {"size": SQUARE, **MEAN}),
        processor={"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
    ),
    "Qwen2-VL": Family(
        "qwen2_vl",
        {"vision_config": {**QWEN_VISION, "embed_dim": 32, "hidden_size": 32}, "text_config": MROPE},
        QWEN_TOKENS,
        ("Qwen2VLImageProcessor", QWEN_SIZE),
        ("Qwen2VLVideoProcessor", QWEN_SIZE),
        **QWEN_TEXTS,
    ),
    "Qwen2.5-VL": Family(
        "qwen2_5_vl",
        {
            "vision_config": {
                **QWEN_VISION,
                "hidden_size": 32,
                "intermediate_size": 64,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
                "tokens_per_second": 2,
            },
            "text_config": MROPE,
        },
        QWEN_TOKENS,
        ("Qwen2VLImageProcessor", QWEN_SIZE),
        ("Qwen2VLVideoProcessor", QWEN_SIZE),
        **QWEN_TEXTS,
    ),
    "Qwen3-VL": Family(
        "qwen3_vl",
        {
            "vision_config": {**QWEN3_VISION, "deepstack_visual_indexes": [0, 1]},
            "text_config": MROPE,
        },
        QWEN_TOKENS,
        ("Qwen2VLImageProcessor", {**QWEN_SIZE, "patch_size": 16}),
        ("Qwen3VLVideoProcessor", {**QWEN_SIZE, "patch_size": 16}),
        **QWEN_TEXTS,
    ),
    "InternVL": Family(
        "internvl",
        {
            "vision_config": {**VISION, "image_size": [28, 28], "patch_size": [14, 14]},
            "text_config": {"model_type": "qwen2", **TEXT},
            "image_seq_length": 1,
        },
        {"image_token": "<IMG_CONTEXT>"},
        ("GotOcr2ImageProcessor", {"size": SQUARE, "crop_to_patches": False, **MEAN}),
        ("InternVLVideoProcessor", {"size": SQUARE, **MEAN}),
        image_text="<IMG_CONTEXT>\n",
        processor={"image_seq_length": 1},
        names={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "SmolVLM": Family(
        "smolvlm",
        {
            "vision_config": {**VISION, "image_size": 28},
            "text_config": {"model_type": "llama", **TEXT},
            "scale_factor": 2,
        },
        {"image_token": "<image>"},
        (
            "SmolVLMImageProcessor",
            {"size": {"longest_edge": 28}, "max_image_size": {"longest_edge": 28}, **MEAN},
        ),
        (
            "SmolVLMVideoProcessor",
            {
                "size": {"longest_edge": 28},
                "max_image_size": {"longest_edge": 28},
                "fps": 1,
                "num_frames": 8,
                **MEAN,
            },
        ),
        image_text="<image>",
        video_text="<video>",
        processor={"image_seq_len": 1},
        more=("<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>", "<row_1_col_1>"),
    ),
    "VideoLLaMA 3": Family(
        "video_llama_3",
        {"vision_config": {**VISION, "patch_size": 14}, "text_config": {"model_type": "qwen2", **TEXT}},
        {key: QWEN_TOKENS[key] for key in ("image_token", "video_token")},
        ("VideoLlama3ImageProcessor", {**QWEN_SIZE, "merge_size": 1}),
        ("VideoLlama3VideoProcessor", {**QWEN_SIZE, "merge_size": 2}),
        image_text="<|image_pad|>",
        video_text="<|video_pad|>",
    ),
    "PerceptionLM": Family(
        "perception_lm",
        {
            "vision_config": {
                "architecture": "vit_pe_core_large_patch14_336",
                "model_args": {
                    "embed_dim": 32,
                    "depth": 2,
                    "num_heads": 4,
                    "img_size": [28, 28],
                    "global_pool": "",
                    "use_post_transformer_norm": False,
                    "init_values": 0.1,
                    "ref_feat_shape": (2, 2),
                },
            },
            "text_config": {"model_type": "llama", **TEXT},
            "projector_pooling_ratio": 2,
            "vision_use_cls_token": True,
        },
        {"image_token": "<|image|>", "video_token": "<|video|>"},
        ("PerceptionLMImageProcessor", {"tile_size": 28, "max_num_tiles": 2, **MEAN}),
        ("PerceptionLMVideoProcessor", {"size": SQUARE, **MEAN}),
        image_text="<|image|>",
        video_text="<|video|>",
        processor={"patch_size": 14, "pooling_ratio": 2},
    ),
}
