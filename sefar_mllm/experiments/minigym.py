"""How MiniGym (synthetic) is worked on: the settings of every verb, from the YAML files beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from encoder.training.config import TrainConfig
from sefar_mllm.settings.options import options_from, overridden, read_options, read_values

Size = Literal["tiny", "mini", "full"]
HERE = Path(__file__).parent
ENCODER, FINETUNE, SIZES = (HERE / f"minigym_{name}.yaml" for name in ("encoder", "finetune", "sizes"))


@dataclass(frozen=True)
class Budget:
    """How much work a size is given; the same for every encoder that is compared.

    Attributes:
        labelled: share of the training clips that keep their label.
        updates: of the encoder's training.
        max_steps: of the fine-tuning.
        align_steps: of the projector alone, before it.
        views: stored feature views of a training clip.
    """

    labelled: float
    updates: int
    max_steps: int
    align_steps: int
    views: int


def budget(size: Size) -> Budget:
    """What a size is given."""
    return options_from(Budget, read_values(SIZES)[size], str(SIZES))


def encoder_training(size: Size, output: Path, qa: Path, data: Path, seed: int) -> TrainConfig:
    """Options of SeFAR's training on a size.

    Args:
        size: of MiniGym.
        output: folder of the run.
        qa: folder of the label split.
        data: folder of the rendered data set.
        seed: of the training.
    """
    lists = {"labelled": "train.csv", "unlabelled": "unlabelled.csv", "val": "val.csv"}
    folders = {"video_root": str(data / "videos"), "cache": str(data / "decoded")}
    changes = {
        "output": str(output),
        "data": {name: str(qa / file) for name, file in lists.items()} | folders,
        "updates": budget(size).updates,
        "seed": seed,
    }
    return read_options(TrainConfig, ENCODER, changes)


def finetuning_values(size: Size) -> dict[str, Any]:
    """Values of ``finetune``'s options on a size; without questions, features and output."""
    given = budget(size)
    steps = {"max_steps": given.max_steps, "align_steps": given.align_steps}
    return overridden(read_values(FINETUNE), steps)
