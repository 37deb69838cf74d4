"""What one of several processes of an encoder's training does; started by torchrun with a configuration."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from jsonargparse import auto_cli
from safetensors.torch import save_file

from encoder.processes.group import join
from encoder.training.config import TrainConfig
from encoder.training.progress import Window
from encoder.training.train import Training, train

FIRST_WITH_UNLABELLED = 3


def first_gradients(config: TrainConfig, output: Path) -> None:
    """Writes the gradients of one update, as the optimizer would get them."""
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


def main() -> None:
    what, file, output = sys.argv[1:]
    config = auto_cli(TrainConfig, args=["--config", file], as_positional=False)
    if what == "gradients":
        first_gradients(config, Path(output))
    elif what == "unshared":  # a disk of its own for every process
        train(replace(config, output=Path(output) / os.environ["RANK"]))


if __name__ == "__main__":
    main()
