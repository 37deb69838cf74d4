"""The memory formula against hand counts and a measured step, and the verb that tells it."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from sefar_mllm.cli import main
from sefar_mllm.doctor.memory import Setup, finetune_memory, layer_activations
from sefar_mllm.model.lora import LoraOptions, add_lora

ROOT = Path(__file__).parents[1]
VICUNA = ROOT / "configs/mllm/vicuna-7b-shape"
GB = 1e9


def memory_benchmark():
    """`benchmarks/memory.py` as a module."""
    spec = importlib.util.spec_from_file_location("memory_benchmark", ROOT / "benchmarks/memory.py")
    module = sys.modules.setdefault("memory_benchmark", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


def test_vicunas_parts_counted_by_hand():
    """Vicuna-7B: 32 layers of width 4,096 and 11,008, 32,000 words, untied."""
    setup = Setup(4, 160, torch.bfloat16, four_bit=True, lora=LoraOptions(rank=16))
    memory = finetune_memory(AutoConfig.from_pretrained(VICUNA), setup)
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    others = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096
    assert memory.frozen == pytest.approx(linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 2 * others)
    adapter = 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert memory.trained == pytest.approx(18 * adapter)
    assert memory.total < 10 * GB


def test_more_of_anything_takes_more():
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4)
    plain = Setup(4, 32, torch.float32, fused_attention=False)
    base = finetune_memory(config, plain).total
    for change in ({"batch_size": 8}, {"length": 64}, {"lora": LoraOptions(rank=32)}):
        assert finetune_memory(config, replace(plain, **change)).total > base
    for change in ({"four_bit": True}, {"dtype": torch.bfloat16}):
        assert (
            finetune_memory(config, replace(plain, **change)).frozen < finetune_memory(config, plain).frozen
        )
    for change in ({"checkpointing": True}, {"fused_attention": True}):
        assert finetune_memory(config, replace(plain, **change)).total < base


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's VmHWM")
def test_the_formula_is_what_a_step_takes():
    """A float32 step with a projector, its peak resident size measured in a process of its own."""
    case = memory_benchmark().cases("cpu")["float32, projector"]
    measured = memory_benchmark().in_a_process("float32, projector")
    assert finetune_memory(case.config, case.setup).total / measured == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_layer_keeps_what_the_formula_says(dtype, attention):
    """Counted tensor by tensor: what a second layer adds to what autograd saves."""
    setup = Setup(2, 64, dtype, lora=LoraOptions(rank=16), fused_attention=attention == "sdpa")
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 8, "vocab_size": 99}
    kept = []
    for layers in (1, 2):
        config = LlamaConfig(**sizes, num_key_value_heads=4, num_hidden_layers=layers)
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
        base.requires_grad_(False)
        adapted = add_lora(base, setup.lora).train()
        weights = {p.data_ptr() for p in base.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: torch.Tensor, weights=weights, saved=saved) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        words = torch.randn(2, 64, 64, dtype=dtype, requires_grad=True)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = base.model(inputs_embeds=words, use_cache=False).last_hidden_state
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        copies = 2 * trained if dtype != torch.float32 else 0  # these are the formula's "trained"
        kept.append(sum(saved.values()) - copies)
        del output
    assert layer_activations(config, setup) == pytest.approx(kept[1] - kept[0], rel=0.03)


def test_the_doctor_says_what_fine_tuning_takes_and_whether_it_fits(tmp_path, capsys):
    report = tmp_path / "doctor.json"
    arguments = ["doctor", "--language-model", str(VICUNA), "--load-in-4bit", "--batch-size", "4"]
    arguments += ["--length", "160", "--device", "cuda", "--precision", "bf16", "--output", str(report)]
    assert main([*arguments, "--memory", "24"]) == 0
    said = capsys.readouterr().out
    assert "4 bit, LoRA rank 16, 4 × 160 tokens, on cuda" in said
    found = json.loads(report.read_text(encoding="utf-8"))["memory"]
    parts = ("frozen", "trained", "activations", "workspace")
    assert found["peak"] == pytest.approx(sum(found[name] for name in parts))
    assert f"{found['needed'] / GB:6.2f} GB" in said
    assert f"{24:6.2f} GB: fits" in said
    assert main([*arguments, "--memory", "6"]) == 2
    assert "of 6.0 GB; try --checkpointing" in capsys.readouterr().err


def test_on_this_machine(capsys):
    model = ["doctor", "--language-model", str(VICUNA), "--device", "cpu", "--precision", "fp32"]
    assert main([*model, "--batch-size", "100000"]) == 2
    said = capsys.readouterr()
    assert "too little" in said.out
    assert "--load-in-4bit" in said.err
    assert main(["doctor", "--language-model", "/nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
