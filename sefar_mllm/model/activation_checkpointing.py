"""Activation checkpointing: the decoder's activations are computed again in the backward pass, not kept.

Transformers called it gradient checkpointing and has renamed it; both names are taken here, from both sides.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

OLD_NAMES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


def named_as_installed(trainer: dict[str, Any]) -> dict[str, Any]:
    """Settings for `transformers.TrainingArguments` under the names that the installed version has."""
    known = {field.name for field in fields(TrainingArguments)}
    names = OLD_NAMES if set(OLD_NAMES.values()) <= known else {new: old for old, new in OLD_NAMES.items()}
    return {names.get(name, name): value for name, value in trainer.items()}


def enable_checkpointing(
    causal: PreTrainedModel, checkpoint: dict[str, Any] | None = None, **options: Any
) -> None:
    """Checkpoint a language model whose weights are frozen.

    Args:
        causal: the model of Transformers.
        checkpoint: arguments of `torch.utils.checkpoint.checkpoint`.
        options: what the installed Transformers takes besides (``every_n_layers``, ``offload``).
    """
    if hasattr(causal, "activation_checkpointing_enable"):
        causal.activation_checkpointing_enable(checkpoint, **options)
    else:
        causal.gradient_checkpointing_enable(checkpoint, **options)
    # A reentrant checkpoint passes gradients on only where its input asks for one, and a frozen embedding
    # does not. Newer versions have seen to it already.
    if not getattr(causal, "_require_grads_hook", None):
        causal.enable_input_require_grads()


def disable_checkpointing(causal: PreTrainedModel) -> None:
    """Keep the activations again."""
    if hasattr(causal, "activation_checkpointing_disable"):
        causal.activation_checkpointing_disable()
    else:
        causal.gradient_checkpointing_disable()
    if getattr(causal, "_require_grads_hook", None):
        causal.disable_input_require_grads()


class Checkpointed:
    """What `transformers.Trainer` and PEFT ask of a model that can be checkpointed; a part of `SefarMLLM`."""

    @property
    def causal(self) -> PreTrainedModel:
        """The Transformers model."""
        raise NotImplementedError

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """See `enable_checkpointing`."""
        enable_checkpointing(self.causal, activation_checkpointing_kwargs, **options)

    def activation_checkpointing_disable(self) -> None:
        """Keep the activations again."""
        disable_checkpointing(self.causal)

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether any layer is checkpointed."""
        return any(getattr(part, "gradient_checkpointing", False) for part in self.causal.modules())

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The older name of `activation_checkpointing_enable`."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """The older name of `activation_checkpointing_disable`."""
        self.activation_checkpointing_disable()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """The older name of `is_activation_checkpointing`."""
        return self.is_activation_checkpointing
