"""What a language model must be to be used here, asked of its configuration and of the model itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from encoder.errors import first_line
from sefar_mllm.errors import SefarMLLMError

TOKENS = 8  # of the sequences by which a model shows that it reads from left to right


def check_kind(config: PretrainedConfig, name: str) -> None:
    """Refuse, before any weights are read, what cannot be a causal language model.

    Raises:
        SefarMLLMError: for encoder-decoders, and for what Transformers has no causal language model of.
    """
    if config.is_encoder_decoder:
        raise SefarMLLMError(
            f"language model {name!r}: {config.model_type} is an encoder-decoder, which writes behind "
            "another text and not behind a prompt; name a causal language model"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise SefarMLLMError(
            f"language model {name!r}: of {config.model_type} Transformers has no causal language model; "
            "name one of another kind"
        )


@torch.no_grad()
def check_causal(causal: PreTrainedModel) -> None:
    """Refuse a model whose logits at one token change with a later one, as BERT's do.

    Two sequences that differ in their last token are run. Models that are spread over processes while they
    are loaded (ZeRO-3) cannot be run yet and are passed by.

    Raises:
        SefarMLLMError: for such a model, and for one that cannot be run by itself.
    """
    weight: torch.Tensor = causal.get_input_embeddings().weight  # type: ignore[assignment]
    if is_deepspeed_zero3_enabled() or any(part.is_meta for part in causal.parameters()):
        return
    ids = torch.arange(1, TOKENS + 1, device=weight.device).repeat(2, 1)
    ids[1, -1] += 1
    training = causal.training
    causal.eval()
    kind = type(causal).__name__
    try:
        logits = causal(input_ids=ids, use_cache=False).logits.float()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise SefarMLLMError(f"{kind} cannot be run on a prompt alone: {reason(error)}") from error
    finally:
        causal.train(training)
    change = (logits[0] - logits[1]).pow(2).mean(-1).sqrt()
    # Rows of one batch may be rounded differently.
    if bool(change[:-1].max() > max(1e-4, torch.finfo(causal.dtype).eps) * change[-1]):
        raise SefarMLLMError(
            f"{kind} reads in both directions (its logits change with tokens that come later), as BERT does: "
            "it can fill gaps, but neither write nor weigh an answer behind a prompt; name a causal language "
            "model"
        )


def embedding_width(config: PretrainedConfig) -> int:
    """Width of the input embeddings, which in some models (OPT-350m) is not that of the layers."""
    kinds: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with torch.device("meta"):
        model = (kinds[0] if isinstance(kinds, tuple) else kinds)(config)
    return int(model.get_input_embeddings().weight.shape[1])


def most_positions(causal: PreTrainedModel) -> int | None:
    """Tokens that a model has positions for, where these stand in a table (GPT-2, OPT, GPT-J); else none.

    Rotary positions that are computed go on behind those seen in training.
    """
    config = causal.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return None
    words = causal.get_input_embeddings()
    parts = (part for part in causal.modules() if isinstance(part, nn.Embedding) and part is not words)
    sizes = {part.num_embeddings for part in parts}
    sizes |= {size for buffer in causal.buffers() for size in buffer.shape}
    # A few rows more belong to tables that are read from an offset on.
    return int(most) if any(most <= size <= most + 8 for size in sizes) else None


def reason(error: Exception) -> str:
    """Kind and first line of an exception."""
    return f"{type(error).__name__}: {first_line(error)}"
