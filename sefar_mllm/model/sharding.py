"""Weights that FSDP2 or ZeRO-3 spread over processes: loaded, read, saved and put back in their parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from transformers.integrations import is_deepspeed_zero3_enabled

from sefar_mllm.errors import SefarMLLMError

WRAPPER = "_checkpoint_wrapped_module."  # in the names of layers whose activations FSDP recomputes


def fsdp_spreads() -> bool:
    """Whether the launcher asks that FSDP spread the model: until it does, weights stay in main memory.

    Raises:
        SefarMLLMError: for the first version of FSDP.
    """
    spread = bool(parse_flag_from_env("ACCELERATE_USE_FSDP"))
    if spread and os.environ.get("FSDP_VERSION", "1") != "2":
        raise SefarMLLMError("FSDP is supported in its second version: set fsdp_version: 2 in fsdp_config")
    return spread


def waits_for_weights() -> bool:
    """Whether this process is given its weights by the first, which alone of its machine loads them."""
    alone_loads = parse_flag_from_env("FSDP_CPU_RAM_EFFICIENT_LOADING")
    return fsdp_spreads() and bool(alone_loads) and os.environ.get("LOCAL_RANK", "0") != "0"


def materialise(model: nn.Module) -> None:
    """Memory for trained weights without any, where the model `waits_for_weights` on the meta device.

    The optimizer is made before the weights arrive, and tells its own by their addresses.
    """
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.requires_grad and weight.is_meta:
                setattr(module, name, nn.Parameter(torch.zeros_like(weight, device="cpu")))


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


def trained_names(model: nn.Module) -> list[str]:
    """Names of the weights that are trained."""
    return [name for name, weight in model.named_parameters() if weight.requires_grad]


def trained_state(model: nn.Module) -> dict[str, Tensor] | None:
    """What is trained of a spread model, put together in the first process's main memory; all must call it.

    Returns:
        Weights by name, in float32; None for a model that is not spread.
    """
    if isinstance(model, FSDPModule):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        return get_model_state_dict(model, options=options)  # type: ignore[return-value]
    if is_deepspeed_zero3_enabled():
        from deepspeed.utils import safe_get_full_fp32_param

        weights = dict(model.named_parameters())
        return {name: safe_get_full_fp32_param(weights[name]).cpu() for name in trained_names(model)}
    return None


def put_trained(model: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Put what `trained_state` gave, or what was saved of it, into a model, spread by FSDP2 or whole.

    Args:
        model: the model.
        state: all of the trained weights by name, each whole and the same on every process.
        place: where they come from, for messages.

    Raises:
        SefarMLLMError: when they are not this model's.
    """
    wanted = {name.replace(WRAPPER, "") for name in trained_names(model)}
    if wrong := sorted(wanted ^ state.keys()):
        raise SefarMLLMError(f"{place}: {wrong[0]} is in the checkpoint or in the model, but not in both")
    if isinstance(model, FSDPModule):
        options = StateDictOptions(full_state_dict=True, strict=False)
        set_model_state_dict(model, dict(state), options=options)
    else:
        model.load_state_dict(state, strict=False)


def frozen_may_be_missing(model: nn.Module, keys: Any) -> None:
    """A hook after ``load_state_dict``: checkpoints hold what is trained, and need not hold the rest."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    keys.missing_keys[:] = [name for name in keys.missing_keys if name not in frozen]
