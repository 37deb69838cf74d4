"""The rehearsal of ``configs/accelerate``: every file under ``configs/mllm/vicuna-7b-qlora.yaml``.

Two CPU processes stand for GPUs and for machines; of the command line only what the documentation changes
with a file is changed, and how long it runs. `test_mllm_sharded` compares spread weights with whole ones.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from jsonargparse import auto_cli
from mllm_sources import NAMES, QUESTION, easy_questions, easy_store, question_file
from safetensors.torch import load_file
from spread_weights import launch

from sefar_mllm.doctor.self_test import small_vicuna
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS

ROOT = Path(__file__).parents[1]
RUN = ROOT / "configs/mllm/vicuna-7b-qlora.yaml"
SPREAD = {  # with what the documentation's command says for each
    "fsdp.yaml": {"quantization": "none"},
    "fsdp-4bit.yaml": {"quantization": "nf4", "precision": "bf16"},
    "deepspeed-zero3.yaml": {"quantization": "none"},
}
ALONE = ("cpu.yaml", "one-gpu.yaml")
TOGETHER = ("two-cpu-processes.yaml", "ddp.yaml", "several-machines.yaml")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A small Vicuna, questions and features."""
    folder = tmp_path_factory.mktemp("launching")
    questions = easy_questions(32)
    easy_store(folder / "features", questions)
    question_file(folder / "questions.jsonl", questions)
    small_vicuna(folder / "vicuna-7b", [QUESTION, *NAMES])
    return folder


def given(world: Path, output: Path) -> list[str]:
    return [
        f"--config={RUN}",
        f"--questions={world / 'questions.jsonl'}",
        f"--features={world / 'features'}",
        f"--language_model={world / 'vicuna-7b'}",
        f"--output={output}",
        "--max_steps=2",
        "--save_every=1",
        "--projector_steps=1",
    ]


def assert_learned(run: Path, world: Path) -> None:
    """Two steps were made, adapter and projector are whole, and the checkpoint answers."""
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert max(steps) == 2
    assert sorted(path.name for path in (run / "steps").iterdir()) == ["checkpoint-1", "checkpoint-2"]
    for name in (ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS):
        tensors = load_file(run / name)
        assert all(tensor.isfinite().all() and tensor.numel() for tensor in tensors.values())
    moved = [tensor for name, tensor in load_file(run / ADAPTER_WEIGHTS).items() if "lora_B" in name]
    assert any(tensor.any() for tensor in moved)
    features, questions = world / "features", world / "questions.jsonl"
    metrics = evaluate(EvaluateConfig(questions, run / "answers", run, features, device="cpu"))
    assert metrics.n == 32


def test_every_file_is_rehearsed():
    assert {*SPREAD, *ALONE, *TOGETHER} == {
        path.name for path in (ROOT / "configs/accelerate").glob("*.yaml")
    }


@pytest.mark.slow
@pytest.mark.parametrize("file", SPREAD)
def test_weights_are_spread_under_the_run_as_it_is_shipped(world, tmp_path, file):
    config = auto_cli(FinetuneConfig, args=given(world, tmp_path / "run"), as_positional=False)
    launch(file, tmp_path, replace(config, **SPREAD[file]))
    assert_learned(tmp_path / "run", world)


@pytest.mark.slow
@pytest.mark.parametrize("file", [*ALONE, *TOGETHER])
def test_the_whole_model_is_on_every_process_under_the_run_as_it_is_shipped(world, tmp_path, file):
    """Accelerate starts such processes by torchrun; so does this, on one machine or as two of them."""
    kind = yaml.safe_load((ROOT / "configs/accelerate" / file).read_text(encoding="utf-8"))
    assert (kind["num_processes"] > 1) == (file in TOGETHER)
    environment = {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    if kind["num_machines"] > 1:
        two = [*torchrun, "--nnodes=2", "--nproc-per-node=1"]
        two += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
        commands = [[*two, f"--node-rank={rank}", f"--log-dir={tmp_path / str(rank)}"] for rank in range(2)]
    else:
        one = [*torchrun, "--standalone", f"--nproc-per-node={1 if file in ALONE else 2}"]
        commands = [[*one, f"--log-dir={tmp_path / 'logs'}"]]
    script = [
        str(ROOT / "scripts/finetune_mllm.py"),
        *given(world, tmp_path / "run"),
        "--trainer.use_cpu=true",
    ]
    running = [
        subprocess.Popen([*command, *script], env=os.environ | environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    assert_learned(tmp_path / "run", world)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
