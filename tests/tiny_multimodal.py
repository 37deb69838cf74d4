"""Tiny multimodal models of the real classes, with random weights and processors made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from mllm_sources import NAMES, QUESTION
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from gym_qa.questions.questions import Question
from sefar_mllm.inference.footage import Shot
from sefar_mllm.inference.multimodal import WholeModel

#: Text of each part of a chat template that the tests' models share.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 8192,
    "initializer_range": 0.3,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
MEAN = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SQUARE = {"height": 28, "width": 28}
ASKED = Question("q", "clip", QUESTION, tuple(NAMES[:4]), 0)
TIMES = (0.1, 1.2, 2.4, 3.3, 4.6, 5.7)  # seconds; far enough apart for every family


def tokenizer(extra: dict[str, str], more: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE with control tokens, by the names under which a processor asks for them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    control = ["<|im_start|>", "<|im_end|>", "<pad>", *dict.fromkeys([*extra.values(), *more])]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(name, special=True) for name in control],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*NAMES, QUESTION, "system user assistant Answer:"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<pad>", extra_special_tokens=extra
    )


@dataclass(frozen=True)
class Family:
    """What a family of models needs to be made small.

    Attributes:
        kind: Transformers' name of it.
        config: its configuration, but for the ids of its tokens.
        tokens: control tokens by the name under which the configuration has their ids (without ``_id`` or
            ``_index``).
        image: image processor, by class and settings.
        video: video processor, the same; none for a model of images.
        image_text: what the chat template writes for an image, and for a video.
        video_text: see ``image_text``.
        processor: further settings of the processor.
        names: names by which the tokenizer has its control tokens.
        more: further control tokens.
    """

    kind: str
    config: dict[str, Any]
    tokens: dict[str, str]
    image: tuple[str, dict[str, Any]]
    video: tuple[str, dict[str, Any]] | None = None
    image_text: str = "<image>\n"
    video_text: str = "<video>\n"
    processor: dict[str, Any] | None = None
    names: dict[str, str] | None = None
    more: tuple[str, ...] = ()


def write(family: Family, folder: Path) -> Path:
    """A model of the family with its processor, in files as its repository has them."""
    names = family.names or family.tokens
    words = tokenizer(names, (*family.tokens.values(), *family.more))
    ids = {
        key: words.convert_tokens_to_ids(token)
        for name, token in family.tokens.items()
        for key in (f"{name}_id", f"{name}_index")
    }
    known = {**family.config, **ids}
    known["text_config"] = {
        **known["text_config"],
        "vocab_size": len(words),
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": None,
    }
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family.kind, **known)
    model: PreTrainedModel = transformers.AutoModelForMultimodalLM.from_config(config)
    for weight in model.parameters():  # Gemma 3's projection begins at nought, and would show nothing
        if weight.dim() > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.3)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(folder)
    processor_of(family, words).save_pretrained(folder)
    return folder


def processor_of(family: Family, words: PreTrainedTokenizerFast) -> ProcessorMixin:
    """The family's processor."""
    known = transformers.models.auto.processing_auto.PROCESSOR_MAPPING_NAMES
    kind = known.get(family.kind, "VideoLlama3Processor")  # which Transformers 5.6 does not list
    parts: dict[str, Any] = {"tokenizer": words, "image_processor": made(*family.image)}
    if family.video:
        parts["video_processor"] = made(*family.video)
    template = TEMPLATE.replace("IMAGE", family.image_text).replace("VIDEO", family.video_text)
    settings = dict(family.processor or {})
    if "feature_extractor" in settings:
        parts["feature_extractor"] = made(settings.pop("feature_extractor"), {})
    return getattr(transformers, kind)(**parts, chat_template=template, **settings)


def made(kind: str, settings: dict[str, Any]) -> Any:
    return getattr(transformers, kind)(**settings)


def shot(frames: np.ndarray | None = None, times: tuple[float, ...] = TIMES) -> Shot:
    noise = np.random.default_rng(3).integers(0, 256, (len(times), 48, 64, 3), dtype=np.uint8)
    return Shot("clip", noise if frames is None else frames, times)


WHOLE: dict[str, WholeModel] = {}


def loaded(name: str, folders: Any) -> WholeModel:
    """A model of the family, made when it is first asked for; ``folders`` is pytest's factory."""
    from multimodal_families import FAMILIES

    if name not in WHOLE:
        WHOLE[name] = WholeModel(str(write(FAMILIES[name], folders.mktemp("whole"))))
    return WHOLE[name]
