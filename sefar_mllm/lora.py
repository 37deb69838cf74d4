"""Low-rank adapters on a frozen language model, by PEFT."""

from __future__ import annotations

from dataclasses import dataclass

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from sefar_mllm.errors import SefarMLLMError


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adaptation of the language model (Hu et al. 2022), by PEFT.

    Args:
        rank: rank of the update; 0 trains the projector alone.
        alpha: the update is scaled by alpha / rank.
        dropout: dropout before the update.
        targets: ``all-linear``, or the names of the adapted layers, separated by commas (``q_proj,v_proj``).
        last_layers: adapt only this many of the last decoder layers; null adapts all.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str = "all-linear"
    last_layers: int | None = None


def add_lora(language_model: PreTrainedModel, options: LoraOptions) -> PeftModel:
    """Wrap the language model in a PEFT adapter whose weights are float32 whatever the base's dtype.

    Raises:
        SefarMLLMError: when the named layers do not exist.
    """
    layers = language_model.config.get_text_config().num_hidden_layers
    if options.last_layers is not None and not 1 <= options.last_layers <= layers:
        raise SefarMLLMError(
            f"lora.last_layers is {options.last_layers}, expected 1 to {layers}, the model's layers"
        )
    targets: str | list[str] = options.targets
    if (
        targets == "all-linear" and options.last_layers is not None
    ):  # PEFT limits layers only for a list of names
        head = language_model.get_output_embeddings()
        linear = {
            name
            for name, part in language_model.named_modules()
            if isinstance(part, nn.Linear) and part is not head
        }
        targets = sorted({name.rpartition(".")[2] for name in linear})
    elif targets != "all-linear":
        targets = options.targets.split(",")
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        layers_to_transform=None
        if options.last_layers is None
        else list(range(layers - options.last_layers, layers)),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(language_model, config)  # type: ignore[return-value]
    except ValueError as error:
        raise SefarMLLMError(
            f"lora.targets {options.targets!r} does not fit this language model: {error}"
        ) from error
