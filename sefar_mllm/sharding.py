"""Weights that FSDP or DeepSpeed spread over processes, whole where the model is used beside ``forward``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers.integrations import is_deepspeed_zero3_enabled


@contextmanager
def outer_weights(model: Any) -> Iterator[None]:
    """Embeddings, head and projector of a model in training, whole on every process.

    FSDP2 gathers what lies outside the decoder layers only while ``forward`` of the whole model runs; the
    layers gather themselves, as all modules do under ZeRO-3.
    """
    sharded = isinstance(model, FSDPModule)
    if sharded:
        model.unshard()
    try:
        yield
    finally:
        if sharded:
            model.reshard()


def whole(weight: Tensor) -> AbstractContextManager[Any]:
    """For reading a weight before training starts; ZeRO-3 spreads language models while it loads them."""
    if is_deepspeed_zero3_enabled():
        import deepspeed

        return deepspeed.zero.GatheredParameters([weight])
    return nullcontext()
