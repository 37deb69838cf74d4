"""The language model's output head over a few chosen positions, by the model's own forward pass.

What a family does to its logits behind the head (soft-capping in Gemma 2, ``logits_scaling`` in Granite,
``logit_scale`` in Cohere, ``lm_head_multiplier`` in Falcon-H1, and what the next one will do) is so done by
the family itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import PreTrainedModel

from sefar_mllm.errors import SefarMLLMError

ROWS = 16384  # rows of the head's weight that are widened to float32 at a time: 268 MB of Vicuna-7B's width


def chosen_logits(causal: PreTrainedModel, chosen: Tensor, exact: bool, **inputs: Any) -> Tensor:
    """Logits ``(chosen, vocabulary)`` of the chosen positions of a pass, in float32.

    With a vocabulary of 49,152 and answers of ten tokens, the head over all positions would take a quarter of
    the time of a small model.

    Args:
        causal: the Transformers model.
        chosen: ``(B, S)`` booleans.
        exact: make the head's product in float32 whatever the dtype of its weights, so that what comes near
            one another in bfloat16 (the letters of the options: 8 bits are too few for them) is not equal.
        inputs: of the model.
    """
    return chosen_outputs(causal, chosen, exact, **inputs, use_cache=False)[0]


def chosen_outputs(causal: PreTrainedModel, chosen: Tensor, exact: bool, **inputs: Any) -> tuple[Tensor, Any]:
    """The same with everything that the model returns, such as its cache."""
    head: nn.Module | None = causal.get_output_embeddings()
    if head is None:
        raise SefarMLLMError(f"{type(causal).__name__} has no output head: it is no language model")
    before = vars(head).get("forward")
    narrowed: list[bool] = []

    def restore() -> None:
        if before is not None:
            head.forward = before  # type: ignore[method-assign]
        elif "forward" in vars(head):
            del head.forward

    def over_chosen(hidden: Tensor) -> Tensor:
        restore()
        narrowed.append(True)
        rows = hidden.reshape(*chosen.shape, hidden.shape[-1])[chosen][None]
        return in_float32(head, rows) if exact else head.forward(rows)

    head.forward = over_chosen  # type: ignore[method-assign]
    try:
        outputs = causal(**inputs)
    finally:
        restore()
    # A family may multiply with the head's weight by itself; then it has done so at every position.
    logits: Tensor = outputs.logits[0] if narrowed else outputs.logits[chosen]
    return logits.float(), outputs


def in_float32(head: nn.Module, rows: Tensor) -> Tensor:
    """The head's product in float32; its weight is widened piece by piece and stays as it is."""
    rows = rows.float()
    with torch.autocast(rows.device.type, enabled=False):
        if type(head) is nn.Linear:
            parts = [F.linear(rows, weight.float()) for weight in head.weight.split(ROWS)]
            logits = torch.cat(parts, dim=-1)
            return logits if head.bias is None else logits + head.bias.float()
        wide = {name: weight.float() for name, weight in head.named_parameters()}
        answer: Tensor = functional_call(head, wide, rows)
        return answer
