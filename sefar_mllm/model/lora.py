"""Low-rank adapters on a frozen language model, by PEFT."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.suitable import reason

ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adaptation of the language model (Hu et al. 2022), by PEFT.

    Args:
        rank: rank of the update; 0 trains the projector alone.
        alpha: the update is scaled by alpha / rank.
        dropout: dropout before the update.
        targets: ``all-linear``, or the names of the adapted layers, separated by commas (``q_proj, v_proj``).
        last_layers: adapt only this many of the last decoder layers; null adapts all.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str = ALL_LINEAR
    last_layers: int | None = None


def add_lora(language_model: PreTrainedModel, options: LoraOptions) -> PeftModel:
    """Wrap the language model in a PEFT adapter whose weights are float32 whatever the base's dtype.

    Raises:
        SefarMLLMError: when a name is no layer's, or there are not so many layers.
    """
    targets = target_layers(language_model, options)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(language_model.get_submodule(name), Conv1D) for name in targets),
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            return get_peft_model(language_model, config)  # type: ignore[return-value]
    except ValueError as error:
        raise SefarMLLMError(
            f"lora.targets {options.targets!r} does not fit this language model: {reason(error)}"
        ) from error


def load_lora(language_model: PreTrainedModel, folder: Path) -> PeftModel:
    """Wrap the language model in the adapter that a checkpoint holds."""
    with quiet():
        return PeftModel.from_pretrained(language_model, str(folder))


@contextmanager
def quiet() -> Iterator[None]:
    """Without PEFT's complaint that Transformers gives it: it asks for a name that is going away."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def target_layers(language_model: PreTrainedModel, options: LoraOptions) -> list[str]:
    """Full names of the layers that get an adapter.

    ``all-linear`` leaves out the output head; layers that answer with more than a product (the routers of
    some mixtures of experts); and the way out of a Mamba mixer, whose fused kernel takes the weight past the
    layer.

    Raises:
        SefarMLLMError: when a name is no linear layer's, listing what there is, or there are too few layers.
    """
    parts = dict(language_model.named_modules())
    linear = [name for name, part in parts.items() if isinstance(part, (nn.Linear, Conv1D))]
    if options.targets == ALL_LINEAR:
        head = language_model.get_output_embeddings()
        mixers = {name for name, part in parts.items() if hasattr(part, "A_log") and hasattr(part, "D")}
        ways_out = {f"{name}.out_proj" for name in mixers}
        chosen = [
            name
            for name in linear
            if parts[name] is not head and name not in ways_out and gives_a_product(parts[name])
        ]
    else:
        chosen = named(options.targets, linear)
    if options.last_layers is None:
        return chosen
    layers = language_model.config.get_text_config().num_hidden_layers
    if not 1 <= options.last_layers <= layers:
        raise SefarMLLMError(
            f"lora.last_layers is {options.last_layers}, expected 1 to {layers}, the model's layers"
        )
    numbers = {name: re.search(r"\.(\d+)\.", name) for name in chosen}
    first = layers - options.last_layers
    return [name for name, number in numbers.items() if number and int(number[1]) >= first]


def named(targets: str, linear: list[str]) -> list[str]:
    """The linear layers that ``targets`` names, by the end of their full name."""
    names = [name.strip() for name in targets.split(",") if name.strip()]
    layers_of = {name: [layer for layer in linear if f".{layer}".endswith(f".{name}")] for name in names}
    unknown = [repr(name) for name, layers in layers_of.items() if not layers]
    if unknown or not names:
        what = f"no linear layer is called {' or '.join(unknown)}" if names else "names no layer"
        there_are = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
        raise SefarMLLMError(
            f"lora.targets {targets!r}: {what}; this language model has {there_are}; or take {ALL_LINEAR!r}"
        )
    wanted = {layer for layers in layers_of.values() for layer in layers}
    return [layer for layer in linear if layer in wanted]


def gives_a_product(part: nn.Module) -> bool:
    """Whether a linear layer of a family's own class answers as any other; by shapes, nothing is computed."""
    if not type(part).__module__.startswith("transformers.models."):
        return True
    given, wanted = int(part.in_features), int(part.out_features)  # type: ignore[arg-type]
    sizes = {"weight": (wanted, given), "bias": (wanted,)}
    weights = {name: torch.empty(sizes.get(name, ()), device="meta") for name, _ in part.named_parameters()}
    try:
        answer = functional_call(part, weights, torch.empty(1, given, device="meta"))
    except (RuntimeError, ValueError):
        return False
    return isinstance(answer, torch.Tensor) and answer.shape == (1, wanted)
