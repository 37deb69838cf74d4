"""Whether fine-tuning a language model fits into memory, said before it is tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from projector.build import ProjectorSpec
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.language_model import language_model_config
from sefar_mllm.memory import GB, Memory, Setup, available, finetune_memory
from sefar_mllm.suitable import embedding_width

LIBRARIES = 0.8 * GB  # Python with its libraries, or the GPU's context and workspaces: 0.6 to 0.9 GB
VIDEO_TOKENS = 8


@dataclass(frozen=True)
class Fit:
    """What fine-tuning takes and what there is.

    Attributes:
        language_model: its name.
        setup: the step.
        memory: by the formula of `sefar_mllm.memory`.
        device: where it would run.
        free: bytes there; none for a device that this machine has not.
    """

    language_model: str
    setup: Setup
    memory: Memory
    device: str
    free: float | None

    @property
    def needed(self) -> float:
        """Bytes at the peak, libraries included."""
        return self.memory.total + LIBRARIES

    @property
    def fits(self) -> bool:
        """Whether there is so much."""
        return self.free is not None and self.needed <= self.free

    def __str__(self) -> str:
        setup = self.setup
        kind = "4 bit" if setup.four_bit else str(setup.dtype).removeprefix("torch.")
        again = ", gradient checkpointing" if setup.checkpointing else ""
        lines = [
            f"fine-tuning {self.language_model}, {kind}, LoRA rank {setup.lora.rank}, "
            f"{setup.batch_size} × {setup.length} tokens{again}, on {self.device}",
            str(self.memory),
            f"{'libraries':<12} {LIBRARIES / GB:6.2f} GB",
            f"{'needed':<12} {self.needed / GB:6.2f} GB",
        ]
        if self.free is not None:
            lines.append(
                f"{'there are':<12} {self.free / GB:6.2f} GB: {'fits' if self.fits else 'too little'}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, in bytes."""
        parts = {name: getattr(self.memory, name) for name in Memory.__dataclass_fields__}
        totals = {"peak": self.memory.total, "needed": self.needed, "free": self.free, "fits": self.fits}
        return {"language_model": self.language_model, "device": self.device, **parts, **totals}

    def complaint(self) -> str:
        """What is wrong and what would help; empty where it fits."""
        if self.fits:
            return ""
        if self.free is None:
            return f"this machine has no {self.device}; name the memory of another one with --memory, in GB"
        helps = [
            *(() if self.setup.four_bit else ("--load-in-4bit",)),
            *(() if self.setup.checkpointing else ("--checkpointing",)),
            "a smaller --batch-size (with accumulation)",
        ]
        return (
            f"fine-tuning {self.language_model} needs {self.needed / GB:.1f} GB of {self.free / GB:.1f} GB; "
            f"try {', '.join(helps)}"
        )


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
    free: float | None = None
    if memory is not None:
        free = memory * GB
    elif torch.device(device).type == "cpu" or torch.cuda.is_available():
        free = available(torch.device(device))
    return Fit(language_model, setup, finetune_memory(config, setup), device, free)
