"""A tiny encoder, batches and recipes for it, trainings of seconds, and what they leave."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from encoder.loading.augment import AugmentConfig, Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.processes.group import join
from encoder.recipes.base import Recipe
from encoder.recipes.config import RECIPES, RecipeConfig, find_recipe
from encoder.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from encoder.training.progress import Window
from encoder.training.train import Training, train

SEMI = ["sefar", "sefar_released", "mean_teacher", "fixmatch", "svformer"]
FIRST_WITH_UNLABELLED = 3


def tiny_encoder(classes: int = 5, seed: int = 0) -> SefarEncoder:
    """A network of random weights, none of them at its first value of zero or one."""
    torch.manual_seed(seed)
    model = SefarEncoder(classes, {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 2, "heads": 2})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch(b: int = 6, seed: int = 0) -> Batch:
    """Clips of noise."""
    frames = torch.randint(
        0, 256, (b, 8, 36, 36, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Batch(frames, torch.tensor([[36, 36]] * b), torch.arange(b) % 5, [str(i) for i in range(b)], [])


def recipe(name: str, student: SefarEncoder, **options) -> Recipe:
    """A recipe after whose first epoch every pseudo-label counts; the student is put in training."""
    views = Views(AugmentConfig(), 32, student.mean, student.std)
    few = {"warmup_epochs": 1, "threshold": 0.0, **options}
    own = {field.name for field in fields(RECIPES[name].Options)}
    given = RecipeConfig(name, **{key: value for key, value in few.items() if key in own}).options
    made = find_recipe(name)(student, views, given, 4)
    student.train()
    return made


class Recorder(torch.nn.Module):
    """A stand-in for the wrapped student that keeps what it is shown."""

    def __init__(self, student):
        super().__init__()
        self.student, self.seen = student, []

    def forward(self, frames, feature_dropout=0.0):
        self.seen.append((frames, feature_dropout))
        return self.student(frames)


def options(data: Path, output: Path, recipe: str = "sefar", **changes) -> TrainConfig:
    """A run of seconds: every dropout, crop and mix is on."""
    config = {
        "output": output,
        "data": DataConfig(
            labelled=data / "labelled.csv",
            unlabelled=data / "unlabelled.csv",
            val=data / "val.csv",
            short_side=32,
            workers=0,
        ),
        "model": ModelConfig(image_size=32, patch_size=8, dim=24, depth=2, heads=2),
        "recipe": RecipeConfig(recipe, **({} if recipe == "supervised" else {"warmup_epochs": 1})),
        "optim": OptimConfig("adamw", learning_rate=3e-3, schedule="cosine", warmup_updates=2),
        "epochs": 4,
        "updates": 12,
        "labelled_batch": 4,
        "evaluate_every": 2,
        "checkpoint_every": 3,
        "log_every": 2,
        **changes,
    }
    return TrainConfig(**config)


def first_gradients(config: TrainConfig, output: Path) -> None:
    """Writes the gradients of one update, as the optimizer would get them; to be started in each process."""
    join("train-encoder")
    training = Training(config)

    def step() -> None:
        if training.accelerator.is_main_process:
            parameters = training.student.named_parameters()
            save_file({name: p.grad.clone() for name, p in parameters if p.grad is not None}, output)

    training.optimizer.step = step
    training.model.train()
    batches = training.lists.labelled_batches(0), training.lists.unlabelled_batches(0)
    training._one_update(FIRST_WITH_UNLABELLED, *batches, Window())


def unshared(config: TrainConfig, output: Path) -> None:
    """A training whose every process has a disk of its own; to be started in each process."""
    train(replace(config, output=output / os.environ["RANK"]))


def config_file(config: TrainConfig, path: Path) -> Path:
    """The options as a YAML file (JSON is YAML), as ``--config`` takes it."""
    path.write_text(json.dumps(asdict(config), default=str), encoding="utf-8")
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The networks of a run."""
    return {
        f"{name}.{key}": tensor
        for name in ("student", "teacher")
        if (folder / name).is_dir()
        for key, tensor in load_file(folder / name / "model.safetensors").items()
    }


def assert_same_weights(one: Path, other: Path, tolerance: float = 0.0) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert len(a) > 20
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=tolerance, msg=key)
