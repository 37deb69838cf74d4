"""Fine-tuning with activation checkpointing has the gradients of fine-tuning without, and keeps less."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from mllm_sources import easy_questions, easy_store, question_file, tiny_folder
from transformers import TrainerCallback
from transformers.models.llama.modeling_llama import LlamaMLP

from encoder.features.store import FeatureStore
from gym_qa.questions.questions import read_questions
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import build_trainer
from sefar_mllm.model.activation_checkpointing import named_as_installed
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import PromptConfig

SHIPPED = {
    file.name: block
    for file in sorted((Path(__file__).parents[1] / "configs/mllm").glob("*.yaml"))
    if (block := yaml.safe_load(file.read_text(encoding="utf-8")).get("trainer"))
}
BLOCKS = {
    **SHIPPED,
    "reentrant": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "defaults": {"gradient_checkpointing": True},
    "newer names": {
        "activation_checkpointing": True,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
    },
}
if "activation_checkpointing" in {field.name for field in dataclasses.fields(transformers.TrainingArguments)}:
    BLOCKS["every other layer"] = {"activation_checkpointing": True} | {
        "activation_checkpointing_kwargs": {"use_reentrant": True, "every_n_layers": 2}
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> FinetuneConfig:
    folder = tmp_path_factory.mktemp("checkpointing")
    questions = easy_questions(16)
    easy_store(folder / "features", questions)
    return FinetuneConfig(
        questions=question_file(folder / "train.jsonl", questions),
        validation=question_file(folder / "val.jsonl", questions[:4]),
        output=folder / "run",
        features=folder / "features",
        language_model=str(tiny_folder(folder / "lm", num_hidden_layers=4)),
        precision="fp32",
        prompt=PromptConfig(list_options=False),
        lora=LoraOptions(rank=4),
        evaluate_every=1,
        max_steps=2,
    )


class Watch(TrainerCallback):
    """Gradients of the first step, and how often an MLP ran in all."""

    def __init__(self, model: SefarMLLM) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.runs, self.checkpointing = 0, False
        self.model = model
        for part in model.modules():
            if isinstance(part, LlamaMLP):
                part.register_forward_pre_hook(self.count)  # recomputing stops inside

    def count(self, part: LlamaMLP, *_: object) -> None:
        self.runs += part.training

    def on_pre_optimizer_step(self, args, state, control, **_) -> None:
        if not self.gradients:
            named = self.model.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named if p.requires_grad}
        self.checkpointing = self.model.is_activation_checkpointing and self.model.is_gradient_checkpointing


def run(config: FinetuneConfig, trainer: dict, **changes: object) -> Watch:
    quiet = {"disable_tqdm": True, "use_cpu": True, "max_grad_norm": 0.0}
    config = dataclasses.replace(config, trainer={**quiet, **trainer}, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        loop = build_trainer(
            config,
            read_questions(config.questions),
            read_questions(config.validation),
            FeatureStore.open(config.features) if config.features else None,
        )
        for name, parameter in loop.mllm.named_parameters():
            if "lora_B" in name:  # zero at the start: lora_A would have no gradient
                torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(3))
        watch = Watch(loop.mllm)
        loop.add_callback(watch)
        config.output.mkdir(exist_ok=True)
        loop.train()
    return watch


@pytest.fixture(scope="module")
def kept(config) -> Watch:
    """Without checkpointing."""
    return run(config, {})


def test_a_shipped_configuration_checkpoints():
    assert "vicuna-7b-qlora.yaml" in SHIPPED


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_those_without_checkpointing(config, kept, name):
    watch = run(config, BLOCKS[name])
    assert watch.checkpointing
    assert not kept.checkpointing
    again = 2 if name == "every other layer" else 4  # layers run a second time, of four
    assert watch.runs == kept.runs * (4 + again) // 4
    assert all(bool(gradient.any()) for gradient in kept.gradients.values())
    assert watch.gradients.keys() == kept.gradients.keys()
    for gradient, expected in zip(watch.gradients.values(), kept.gradients.values(), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_reentrant_checkpoints_without_video_have_gradients(config):
    """Nothing before the decoder is trained then, so its input must be told to ask for gradients."""
    blind = {"features": None, "validation": config.questions}
    plain, watch = run(config, {}, **blind), run(config, BLOCKS["reentrant"], **blind)
    for gradient, expected in zip(watch.gradients.values(), plain.gradients.values(), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    assert all(bool(gradient.any()) for gradient in watch.gradients.values())


@pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
def test_either_name_switches_on_and_off(config, name):
    config = dataclasses.replace(config, validation=None)
    model = build_trainer(
        config, read_questions(config.questions), [], FeatureStore.open(config.features)
    ).mllm
    getattr(model, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": True}})
    assert getattr(model, f"is_{name}")
    getattr(model, f"{name}_disable")()
    assert not getattr(model, f"is_{name}")
    words = model.embed(torch.zeros(1, 3, dtype=torch.long), None)
    assert not model.causal.get_input_embeddings()(torch.zeros(1, 3, dtype=torch.long)).requires_grad
    assert words.shape == (1, 3, 32)


def test_settings_go_by_the_installed_names():
    known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    for prefix in ("gradient", "activation"):
        given = {f"{prefix}_checkpointing": True, f"{prefix}_checkpointing_kwargs": {}, "use_cpu": True}
        named = named_as_installed(given)
        assert named.keys() <= known
        assert "use_cpu" in named
        if "activation_checkpointing" in known:
            assert not any("gradient" in name for name in named)
