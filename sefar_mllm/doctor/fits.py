"""Whether training an encoder or fine-tuning a language model fits into memory, said before it is tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from encoder.training.config import TrainConfig
from encoder.training.memory import training_memory
from projector.base import ProjectorSpec
from sefar_mllm.doctor.memory import GB, Setup, available, finetune_memory
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.language_model import language_model_config
from sefar_mllm.model.suitable import embedding_width
from sefar_mllm.settings.options import read_options

LIBRARIES = 0.8 * GB  # Python with its libraries, or the GPU's context and workspaces: 0.6 to 0.9 GB
VIDEO_TOKENS = 8


class Parts(Protocol):
    """Memory in parts: a dataclass of bytes, told line by line by ``str``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def total(self) -> float:
        """The peak, without libraries."""


@dataclass(frozen=True)
class Fit:
    """What a training takes and what there is.

    Attributes:
        what: the training, in words.
        memory: its parts, by a formula.
        device: where it would run.
        free: bytes there; none for a device that this machine has not.
        helps: what would take less.
        facts: what else the report says.
    """

    what: str
    memory: Parts
    device: str
    free: float | None
    helps: tuple[str, ...]
    facts: dict[str, object]

    @property
    def needed(self) -> float:
        """Bytes at the peak, libraries included."""
        return self.memory.total + LIBRARIES

    @property
    def fits(self) -> bool:
        """Whether there is so much."""
        return self.free is not None and self.needed <= self.free

    def __str__(self) -> str:
        lines = [
            f"{self.what}, on {self.device}",
            str(self.memory),
            f"{'libraries':<12} {LIBRARIES / GB:6.2f} GB",
            f"{'needed':<12} {self.needed / GB:6.2f} GB",
        ]
        if self.free is not None:
            lines.append(
                f"{'there are':<12} {self.free / GB:6.2f} GB: {'fits' if self.fits else 'too little'}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same as JSON values, in bytes."""
        parts = {name: getattr(self.memory, name) for name in self.memory.__dataclass_fields__}
        totals = {"peak": self.memory.total, "needed": self.needed, "free": self.free, "fits": self.fits}
        return {**self.facts, "device": self.device, **parts, **totals}

    def complaint(self) -> str:
        """What is wrong and what would help; empty where it fits."""
        if self.fits:
            return ""
        if self.free is None:
            return f"this machine has no {self.device}; name the memory of another one with --memory, in GB"
        return (
            f"{self.what} needs {self.needed / GB:.1f} GB of {self.free / GB:.1f} GB; "
            f"try {', '.join(self.helps)}"
        )


def free_bytes(device: str, memory: float | None) -> float | None:
    """What there is to fit into: ``memory`` in GB where it is given, else what is free on the device."""
    if memory is not None:
        return memory * GB
    there = torch.device(device).type == "cpu" or torch.cuda.is_available()
    return available(torch.device(device)) if there else None


def check_fit(
    language_model: str, setup: Setup, projector: str, feature_dim: int, device: str, memory: float | None
) -> Fit:
    """Compare the formula with the memory of a device.

    Args:
        language_model: ``SmolLM2-135M-Instruct``, a folder with a config.json, or a name on the Hub; its
            weights are not loaded.
        setup: the step; its projector is filled in here.
        projector: mlp, linear, pool, resampler or qformer, for 8 video tokens.
        feature_dim: width of the features.
        device: a torch device.
        memory: GB to fit into; none for what is free on this machine's device.

    Raises:
        SefarMLLMError: when there is no such language model.
        ProjectorError: when there is no such projector.
    """
    config = language_model_config(language_model)
    if min(setup.batch_size, setup.length, feature_dim) < 1:
        raise SefarMLLMError("doctor: batch_size, length and feature_dim must be at least 1")
    hidden = embedding_width(config)
    spec = ProjectorSpec(projector, feature_dim, hidden, VIDEO_TOKENS, VIDEO_TOKENS)
    setup = replace(setup, projector=spec)
    kind = "4 bit" if setup.four_bit else str(setup.dtype).removeprefix("torch.")
    again = ", gradient checkpointing" if setup.checkpointing else ""
    return Fit(
        f"fine-tuning {language_model}, {kind}, LoRA rank {setup.lora.rank}, "
        f"{setup.batch_size} × {setup.length} tokens{again}",
        finetune_memory(config, setup),
        device,
        free_bytes(device, memory),
        helps=(
            *(() if setup.four_bit else ("--load-in-4bit",)),
            *(() if setup.checkpointing else ("--checkpointing",)),
            "a smaller --batch-size (with accumulation)",
        ),
        facts={"language_model": language_model},
    )


def check_encoder_fit(settings: Path, processes: int, device: str, memory: float | None) -> Fit:
    """Compare the formula for encoder training with the memory of a device.

    Args:
        settings: YAML file of options of train-encoder; no clip list is read and no weights are fetched.
        processes: GPUs that share an update.
        device: a torch device.
        memory: GB to fit into; none for what is free on this machine's device.

    Raises:
        SefarMLLMError: when the file is not such.
        EncoderError: when there are no such starting weights.
    """
    if processes < 1:
        raise SefarMLLMError("doctor: processes must be at least 1")
    config = read_options(TrainConfig, settings)
    name = config.model.weights or f"SeFAR-{config.model.preset_or_default}"
    helps = ["a larger --accumulate", "more GPUs"]
    if not config.model.gradient_checkpointing:
        helps.append("--model.gradient_checkpointing true")
    return Fit(
        f"training {settings} ({name}, {config.mixed_precision}, {config.labelled_batch} labelled clips in "
        f"{config.accumulate} parts on {processes} GPU{'s' if processes > 1 else ''})",
        training_memory(config, processes),
        device,
        free_bytes(device, memory),
        helps=tuple(helps),
        facts={"encoder": str(settings), "processes": processes},
    )
