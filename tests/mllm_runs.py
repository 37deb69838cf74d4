"""Fine-tunings of seconds on the tiny language model, and what they leave; the tiny model put together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from mllm_sources import tiny_causal, tiny_tokenizer
from safetensors.torch import load_file

from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM, add_lora
from sefar_mllm.model.prompts import PromptConfig

QUIET = {"disable_tqdm": True, "logging_steps": 1}
SPEC = ProjectorSpec("mlp", 8, 32, 3, 3)


def config(world: Path, output: Path, **changes) -> FinetuneConfig:
    """A run on the ``train.jsonl``, ``features`` and ``lm`` of a folder."""
    base = FinetuneConfig(
        questions=world / "train.jsonl",
        output=output,
        features=world / "features",
        language_model=str(world / "lm"),
        precision="fp32",
        prompt=PromptConfig(list_options=False),
        lora=LoraOptions(rank=8),
        max_steps=4,
        align_steps=50,
        learning_rate=1e-2,
        projector_learning_rate=1e-2,
        trainer=QUIET,
    )
    return dataclasses.replace(base, **changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All that a run has learned."""
    return {**load_file(folder / ADAPTER_WEIGHTS), **load_file(folder / PROJECTOR_WEIGHTS)}


def log(folder: Path) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def tiny_model(kind: str = "llama", prompt: PromptConfig | None = None) -> SefarMLLM:
    """A random model with a random adapter, in float32."""
    language_model = add_lora(tiny_causal(kind), LoraOptions(rank=4))
    for name, parameter in language_model.named_parameters():
        if "lora_B" in name:  # zero at the start: the adapter would change nothing
            torch.nn.init.normal_(parameter, std=0.5)
    settings = MLLMConfig("tiny", prompt=prompt or PromptConfig(), projector=SPEC)
    return SefarMLLM(language_model, tiny_tokenizer(), build_projector(SPEC), settings).eval()
