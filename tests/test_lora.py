"""Which layers get an adapter."""

from __future__ import annotations

import re
import warnings

import pytest
from mllm_sources import tiny_causal
from peft import PeftModel
from transformers import FalconConfig, FalconForCausalLM

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.lora import LoraOptions, add_lora


def adapted(family: str = "llama", last_layers: int | None = None, targets: str = "all-linear", **sizes):
    """Names of the layers with an adapter."""
    options = LoraOptions(rank=2, targets=targets, last_layers=last_layers)
    return adapted_layers(add_lora(tiny_causal(family, **sizes), options))


def adapted_layers(model: PeftModel) -> set[str]:
    names = (name for name, _ in model.named_parameters() if "lora_A" in name)
    return {re.sub(r"\.lora_A.*", "", name).removeprefix("base_model.model.") for name in names}


def ends(names: set[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    "targets", ["q_proj,v_proj", "q_proj, v_proj", " v_proj ,q_proj,", "self_attn.q_proj, v_proj"]
)
def test_names_with_spaces_are_names(targets):
    names = adapted(targets=targets)
    assert ends(names) == {"q_proj", "v_proj"}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("targets", "named"),
    [("q_proj, value", "'value'"), ("no_such", "'no_such'"), ("proj", "'proj'"), (" , ", "names no layer")],
)
def test_a_name_that_matches_nothing_is_refused_with_what_there_is(targets, named):
    with pytest.raises(SefarMLLMError, match=named) as error:
        adapted(targets=targets)
    assert all(name in str(error.value) for name in LLAMA)


def test_all_linear_is_all_but_the_head():
    assert ends(adapted()) == LLAMA
    assert len(adapted()) == 2 * len(LLAMA)


@pytest.mark.parametrize(("family", "layer"), [("llama", ".1."), ("gpt2", ".1."), ("mpt", ".1.")])
@pytest.mark.parametrize("targets", ["all-linear", "named"])
def test_last_layers(family, layer, targets):
    sizes = {"d_model": 32, "n_heads": 4, "n_layers": 2} if family == "mpt" else {}
    name = {"llama": "q_proj", "gpt2": "c_attn", "mpt": "Wqkv"}[family]
    names = adapted(family, 1, targets if targets == "all-linear" else name, **sizes)
    assert names
    assert all(layer in full for full in names)
    if targets == "named":
        assert len(names) == 1


def test_routers_and_ways_out_of_mamba_are_left_alone():
    sizes = {"num_local_experts": 2, "intermediate_size_mlp": 64, "moe_layers": [0, 1]}
    assert "router" not in ends(adapted("llama4_text", **sizes))
    mamba = {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
    }
    assert "out_proj" not in ends(adapted("falcon_h1", **mamba))
    assert "in_proj" in ends(adapted("falcon_h1", **mamba))


def test_a_linear_class_of_the_familys_own_is_adapted():
    config = FalconConfig(vocab_size=349, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    names = adapted_layers(add_lora(FalconForCausalLM(config), LoraOptions(rank=2)))
    assert {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"} <= ends(names)


def test_nothing_is_complained_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapted()
        adapted("gpt2")
