"""The shipped training configurations: they parse, and those for FineGym hold the paper's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from jsonargparse import auto_cli

from encoder.model.backbone import PRESETS
from encoder.recipes.sefar import SefarOptions
from encoder.training.build import build_optimizer
from encoder.training.config import OptimConfig, TrainConfig
from sefar_mllm.finetuning.config import FinetuneConfig

FOLDER = Path(__file__).parents[1] / "configs/encoder"
MLLM = Path(__file__).parents[1] / "configs/mllm"


@pytest.mark.parametrize("path", FOLDER.glob("*.yaml"), ids=lambda path: path.stem)
def test_a_configuration_parses_and_its_head_names_it(path):
    config = auto_cli(TrainConfig, args=["--config", str(path)])
    assert config.recipe.name == ("sefar_released" if "released" in path.stem else "sefar")
    head = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert path.stem == "minigym" or f"--config configs/encoder/{path.name}" in head


@pytest.mark.parametrize("path", MLLM.glob("*.yaml"), ids=lambda path: path.stem)
def test_a_configuration_of_the_language_side_parses_and_its_head_names_it(path):
    given = ["--config", str(path), "--questions", "questions.jsonl", "--output", "run"]
    config = auto_cli(FinetuneConfig, args=given, as_positional=False)
    assert (config.named_steps > 0) == (path.stem == "minigym-letter")
    head = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert f"--config configs/mllm/{path.name}" in head


@pytest.mark.parametrize("preset", ["S", "B"])
@pytest.mark.parametrize("ending", ["", "-released"])
def test_those_for_finegym_are_the_papers(preset, ending):
    config = auto_cli(TrainConfig, args=["--config", str(FOLDER / f"gym99-{preset.lower()}{ending}.yaml")])
    assert config.optim == OptimConfig(name="sgd", learning_rate=0.005, weight_decay=1e-3, schedule="step")
    optimizer = build_optimizer(config.optim, torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    assert optimizer.defaults["momentum"] == 0.9
    assert config.recipe.options == SefarOptions(
        warmup_epochs=5,
        ema_decay=0.9999,
        predictions=10,
        unlabelled_weight=2.0,
        mix_weight=2.0,
    )
    assert (config.epochs, config.labelled_batch, config.unlabelled_ratio) == (30, 64, 3)
    assert config.epoch_over == ("labelled" if ending else "unlabelled")
    assert config.augment.horizontal_flip
    assert (config.model.elements, config.augment.perturbation) == ("2-2-4", "mod-perturb")
    assert (config.augment.feature_dropout, config.model.dropout, config.model.drop_path) == (0.2, 0.5, 0.1)
    vit = timm.create_model(config.model.weights, pretrained=False)
    shape = PRESETS[preset]
    assert (vit.embed_dim, len(vit.blocks), vit.blocks[0].attn.num_heads) == (
        shape.dim,
        shape.depth,
        shape.heads,
    )
    assert vit.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)  # not ImageNet's usual mean
