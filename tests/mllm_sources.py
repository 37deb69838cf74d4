"""Tiny language models, tokenizers, questions and features, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from encoder.features.store import FeatureStore, StoreFacts
from gym_qa.questions.questions import Question, write_questions

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DIRECTIONS, BODIES, TURNS = ("forward", "backward"), ("tucked", "piked", "stretched"), ("", " with 1 turn")
NAMES = [f"salto {way} {body}{turn}" for way in DIRECTIONS for body in BODIES for turn in TURNS]
QUESTION = "What gymnastics move is this athlete performing?"
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def tiny_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens, with a chat template or without."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*NAMES, QUESTION, "system user assistant Answer:"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>"
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_causal(kind: str = "llama", seed: int = 0, spread: float = 0.02, **sizes: Any) -> PreTrainedModel:
    """A random causal language model of a few ten thousand weights of this standard deviation."""
    torch.manual_seed(seed)
    known = {"vocab_size": len(tiny_tokenizer()), **SIZES, **sizes}
    config = AutoConfig.for_model(kind, initializer_range=spread, **known)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def tiny_folder(folder: Path, seed: int = 0, chat: bool = True, kind: str = "llama", **sizes: Any) -> Path:
    """A tiny language model with its tokenizer, on disk, whose frozen head is steep enough to learn with."""
    tiny_causal(kind, seed=seed, **{"spread": 0.5, **sizes}).save_pretrained(folder)
    tiny_tokenizer(chat).save_pretrained(folder)
    return folder


def easy_questions(count: int, split: str = "train") -> list[Question]:
    """Questions whose clip ``i`` shows class ``i % len(NAMES)``."""
    questions = []
    for number in range(count):
        label = number % len(NAMES)
        others = [(label + step) % len(NAMES) for step in (1, 4, 7)]
        answer = number % 4
        labels = [*others[:answer], label, *others[answer:]]
        options = tuple(NAMES[other] for other in labels)
        clip = f"{split}{number:04d}"
        questions.append(Question(clip, clip, QUESTION, options, answer, label, "FX", 21, source=clip))
    return questions


def easy_store(
    folder: Path, questions: list[Question], views: int = 2, fingerprint: str = "abc"
) -> FeatureStore:
    """Features (synthetic) that tell the class, of 3 tokens of 8 numbers."""
    prototypes = torch.randn(len(NAMES), 3, 8, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    features = {
        q.video: prototypes[q.label] + 0.1 * torch.randn(views, 3, 8, generator=generator) for q in questions
    }
    facts = StoreFacts(encoder="synthetic", fingerprint=fingerprint, dim=8, num_tokens=3, views=views)
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(folder, facts, {})
    store.add(features)
    return store


def question_file(path: Path, questions: list[Question]) -> Path:
    """Write a question file."""
    write_questions(path, questions)
    return path
