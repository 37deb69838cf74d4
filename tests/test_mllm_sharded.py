"""Fine-tuning with weights spread over two CPU processes, by FSDP2 and ZeRO-3, against the same on one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from mllm_sources import easy_questions, easy_store, question_file, tiny_folder
from several_processes import torchrun
from test_mllm_finetune import log, weights

from sefar_mllm.finetune import FinetuneConfig, finetune
from sefar_mllm.prompts import PromptConfig

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests/sharded_run.py"
ZERO3 = pytest.param(
    "deepspeed-zero3.yaml",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("deepspeed") is None, reason="needs DeepSpeed: pip install -e '.[deepspeed]'"
    ),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> FinetuneConfig:
    folder = tmp_path_factory.mktemp("sharded")
    questions = easy_questions(48)
    easy_store(folder / "store", questions)
    file = question_file(folder / "questions.jsonl", questions)
    return FinetuneConfig(
        questions=file,
        validation=file,
        features=folder / "store",
        output=folder / "one",
        language_model=str(tiny_folder(folder / "lm")),
        prompt=PromptConfig(list_options=False),
        precision="fp32",
        max_steps=12,
        batch_size=8,
        align_steps=20,
        learning_rate=1e-2,
        evaluate_every=6,
        save_every=4,
        trainer={"use_cpu": True, "disable_tqdm": True, "logging_steps": 1},
    )


@pytest.fixture(scope="module")
def alone(config) -> Path:
    return finetune(config)


def launch(config: FinetuneConfig, accelerate_file: str) -> Path:
    """Two processes under the settings that Accelerate's launcher takes from the file."""
    command = ["--config_file", str(ROOT / "configs/accelerate" / accelerate_file), "--num_processes", "2"]
    args, file, _ = _validate_launch_command(launch_command_parser().parse_args([*command, str(SCRIPT)]))
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(file.deepspeed_config)  # as the launcher does
        _, settings = prepare_deepspeed_cmd_env(args)
        config = replace(config, trainer={**config.trainer, "use_cpu": False})
    else:
        settings = {**prepare_multi_gpu_env(args), "ACCELERATE_USE_CPU": "true"}
    options = json.dumps(asdict(replace(config, batch_size=config.batch_size // 2)), default=str)
    environment = {**settings, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*torchrun(2, config.output.parent / "logs"), str(SCRIPT), options],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return config.output


def assert_same_weights(one: Path, two: Path, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(weights(one), weights(two), rtol=0, atol=tolerance)


@pytest.mark.parametrize("file", ["fsdp.yaml", ZERO3])
def test_spread_weights_train_as_whole_ones_and_go_on_after_an_interruption(config, alone, tmp_path, file):
    run = launch(replace(config, output=tmp_path / "run"), file)
    assert_same_weights(alone, run)
    one, two = log(alone), log(run)
    assert [row.get("eval_accuracy") for row in one] == [row.get("eval_accuracy") for row in two]
    losses = [[row["loss"] for row in rows if "loss" in row] for rows in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    first = tmp_path / "first"
    run.rename(first)
    shutil.copytree(first, run)
    shutil.rmtree(run / "steps/checkpoint-12")
    launch(replace(config, output=run, resume=True), file)
    assert_same_weights(first, run, tolerance=0)


@pytest.mark.parametrize("file", [ZERO3])
def test_zero_3_refuses_4_bit_weights_and_says_what_takes_them(config, tmp_path, file):
    with pytest.raises(
        RuntimeError, match=r"ZeRO-3 cannot spread 4-bit weights; launch with .*fsdp-4bit\.yaml"
    ):
        launch(replace(config, output=tmp_path / "run", quantization="nf4"), file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "quantization"),
    [("fsdp-4bit.yaml", "nf4"), pytest.param(*ZERO3.values, "none", marks=ZERO3.marks)],
)
def test_spread_weights_train_in_bfloat16_and_4_bit(config, tmp_path, file, quantization):
    half = replace(config, precision="bf16", quantization=quantization, validation=None, save_every=None)
    one = finetune(replace(half, output=tmp_path / "one"))
    two = launch(replace(half, output=tmp_path / "two"), file)
    losses = [[row["loss"] for row in log(run) if "loss" in row] for run in (one, two)]
    # The same run but for rounding, which a learning rate this high multiplies from step to step.
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.02)
    assert losses[0] == pytest.approx(losses[1], rel=0.15)
