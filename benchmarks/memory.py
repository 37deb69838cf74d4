"""The memory formula (`sefar_mllm.doctor.memory`) against measurements of real fine-tuning steps.

    python benchmarks/memory.py                       # small models on this machine's CPU
    python benchmarks/memory.py --device cuda         # the same, and Vicuna-7B's shape in 4 bit, on a GPU

On a CPU each case runs in a process of its own, whose highest resident size (VmHWM, Linux) is compared with
its size before the model was made; on a GPU it is PyTorch's highest allocation. Weights are random. In
bfloat16 on a CPU the libraries' own buffers take 40 to 80 MB that the formula leaves to them: much beside
these small models, little beside real ones.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.doctor.memory import GB, Setup, finetune_memory
from sefar_mllm.model.activation_checkpointing import enable_checkpointing
from sefar_mllm.model.language_model import nf4_config
from sefar_mllm.model.lora import LoraOptions, add_lora

SMALL = LlamaConfig(
    hidden_size=512,
    intermediate_size=1408,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    vocab_size=4096,
)
VICUNA = Path(__file__).parents[1] / "configs/mllm/vicuna-7b-shape"
STEPS = 2


@dataclass(frozen=True)
class Case:
    """A model's configuration and a step of it."""

    config: PretrainedConfig
    setup: Setup


def cases(device: str) -> dict[str, Case]:
    """What is measured."""
    plain = Setup(8, 128, torch.float32, fused_attention=False, lora=LoraOptions(rank=16))
    spec = ProjectorSpec("mlp", 768, 512, 8, 8)
    found = {
        "float32": Case(SMALL, plain),
        "float32, projector": Case(SMALL, replace(plain, projector=spec)),
        "float32, longer": Case(SMALL, replace(plain, batch_size=4, length=384)),
        "float32, checkpointing": Case(SMALL, replace(plain, checkpointing=True, batch_size=16)),
        "bfloat16": Case(SMALL, replace(plain, dtype=torch.bfloat16)),
        "4 bit": Case(SMALL, replace(plain, four_bit=True)),
    }
    if device == "cpu":
        return found
    found = {name: Case(c.config, replace(c.setup, fused_attention=True)) for name, c in found.items()}
    vicuna = AutoConfig.from_pretrained(VICUNA)
    spec = replace(spec, hidden=vicuna.hidden_size)
    big = Setup(4, 160, torch.bfloat16, four_bit=True, projector=spec)
    found["Vicuna-7B, 4 bit"] = Case(vicuna, big)
    found["Vicuna-7B, 4 bit, checkpointing"] = Case(vicuna, replace(big, checkpointing=True))
    found["Vicuna-7B, bfloat16"] = Case(vicuna, replace(big, four_bit=False))
    return found


def random_model(
    config: PretrainedConfig, dtype: torch.dtype, four_bit: bool, device: str, fused: bool
) -> torch.nn.Module:
    """A language model of random weights, without ever holding more than one unpacked layer in 4 bit."""
    attention = "sdpa" if fused else "eager"
    if not four_bit:
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    import bitsandbytes as bnb
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
        replace_with_bnb_linear(
            model, modules_to_not_convert=["lm_head"], quantization_config=nf4_config(dtype)
        )
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            shape = module.out_features, module.in_features
            weight = torch.randn(shape, dtype=dtype) * 0.02
            module.weight = bnb.nn.Params4bit(
                weight, requires_grad=False, quant_type="nf4", compress_statistics=True, quant_storage=dtype
            ).to(device)
        elif hasattr(module, "inv_freq"):
            module.__init__(config)  # type: ignore[misc]
            module.to(device)
        else:
            for name, parameter in module.named_parameters(recurse=False):
                new = torch.randn(parameter.shape, dtype=dtype, device=device) * 0.02
                setattr(module, name, torch.nn.Parameter(new))
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.tie_weights()
    model.is_loaded_in_4bit = True
    return model


def resident(name: str) -> float:
    """VmRSS or VmHWM of this process, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]


def measure(case: Case, device: str) -> float:
    """Bytes at the peak of a few steps, over those before the model was made."""
    setup = case.setup
    tokens = torch.randint(0, case.config.vocab_size, (setup.batch_size, setup.length), device=device)
    (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum().item()  # starts libraries
    before = resident("VmRSS") if device == "cpu" else torch.cuda.memory_allocated()
    base = random_model(case.config, setup.dtype, setup.four_bit, device, setup.fused_attention)
    base.requires_grad_(False)
    model = add_lora(base, setup.lora)  # type: ignore[arg-type]
    projector = build_projector(setup.projector).to(device) if setup.projector else None
    trained = [p for p in model.parameters() if p.requires_grad]
    trained += list(projector.parameters()) if projector else []
    if setup.checkpointing:
        enable_checkpointing(base, {"use_reentrant": False})  # type: ignore[arg-type]
    model.train()
    optimizer = torch.optim.AdamW(trained, fused=True)
    gc.collect()
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts anew
    else:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        with torch.autocast(device, setup.dtype, enabled=setup.dtype != torch.float32):
            words = base.get_input_embeddings()(tokens)  # type: ignore[operator]
            if projector is not None and setup.projector is not None:
                features = torch.randn(len(tokens), setup.projector.tokens, setup.projector.dim)
                video = projector(features.to(device)).to(words.dtype)
                words = torch.cat([video, words[:, video.shape[1] :]], dim=1)
            hidden = base.model(inputs_embeds=words, use_cache=False).last_hidden_state  # type: ignore[operator, union-attr]
            logits = base.lm_head(hidden[:, -setup.answer_tokens :]).float()  # type: ignore[operator]
            targets = tokens[:, -setup.answer_tokens :]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return (resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()) - before


def in_a_process(name: str) -> float:
    """`measure` on the CPU, alone in its process, with an allocator that gives memory back at once."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--only", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table: formula, measurement and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", help="measure this case alone and print its bytes")
    options = parser.parse_args()
    found = cases(options.device)
    if options.only:
        print(json.dumps(measure(found[options.only], options.device)))
        return
    print(f"{'case':<34}{'formula':>10}{'measured':>10}{'ratio':>8}")
    for name, case in found.items():
        expected = finetune_memory(case.config, case.setup).total
        if options.device == "cpu":
            got = in_a_process(name)
        else:
            got = measure(case, "cuda")
            torch.cuda.empty_cache()
        print(f"{name:<34}{expected / GB:>7.3f} GB{got / GB:>7.3f} GB{expected / got:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
