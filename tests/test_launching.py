"""Launching: the Accelerate configurations and commands, and what becomes of GPUs and processes."""

from __future__ import annotations

import logging
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import PartialState
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from mllm_runs import weights
from mllm_sources import easy_questions, easy_store, question_file

from encoder.errors import EncoderError
from encoder.processes.group import Processes, join, tell_of_idle_gpus
from encoder.processes.launcher import as_if_alone, launched
from sefar_mllm.cli import VERBS, main
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs/accelerate"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
DOCS = (ROOT / "docs/launching.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(block.replace("\\\n", " "))
    for block in re.findall(r"```bash\n(accelerate launch .*?)```", DOCS, re.S)
]
SHARED = ("train-encoder", "extract-features", "evaluate-encoder", "finetune", "evaluate", "compare", "ask")
KINDS = {
    "cpu.yaml": DistributedType.NO,
    "one-gpu.yaml": DistributedType.NO,
    "two-cpu-processes.yaml": DistributedType.MULTI_GPU,
    "ddp.yaml": DistributedType.MULTI_GPU,
    "several-machines.yaml": DistributedType.MULTI_GPU,
    "fsdp.yaml": DistributedType.FSDP,
    "fsdp-4bit.yaml": DistributedType.FSDP,
    "deepspeed-zero3.yaml": DistributedType.DEEPSPEED,
}


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_the_file(name):
    config = load_config_from_file(str(FOLDER / name))
    assert config.distributed_type == KINDS[name]
    command = (FOLDER / name).read_text(encoding="utf-8")
    assert f"--config_file configs/accelerate/{name}" in command.split("compute_environment")[0]


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_one_of_the_launchers_options(name):
    known = vars(launch_command_parser().parse_args(["script.py"]))
    values = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(values.get(section, {})) <= set(known)


def test_the_docs_start_every_file():
    named = [command[command.index("--config_file") + 1] for command in COMMANDS]
    assert sorted(Path(path).name for path in named) == FILES == sorted(KINDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(command[3]).name)
def test_the_launcher_takes_the_commands(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    args, config, _ = _validate_launch_command(launch_command_parser().parse_args(command[2:]))
    assert Path(args.training_script).is_file()
    kind = config.distributed_type
    assert (args.use_fsdp, args.use_deepspeed) == (kind == "FSDP", kind == "DEEPSPEED")
    assert args.multi_gpu == (kind == "MULTI_GPU")
    run = args.training_script_args[args.training_script_args.index("--config") + 1]
    assert run == "RUN.yaml" or (ROOT / run).is_file()
    if "4bit" in command[3]:
        assert args.fsdp_version == 2
        assert "bf16" in args.training_script_args


def test_one_of_several_gpus_is_used_and_a_line_says_so(language_model, tmp_path, monkeypatch, caplog):
    """The library, without a launcher, would put the model on all of them by nn.DataParallel."""
    caplog.set_level(logging.INFO, "encoder")
    questions = easy_questions(24)
    easy_store(tmp_path / "store", questions)
    config = FinetuneConfig(
        questions=question_file(tmp_path / "questions.jsonl", questions),
        features=tmp_path / "store",
        output=tmp_path / "one",
        language_model=str(language_model),
        precision="fp32",
        max_steps=3,
        align_steps=5,
        trainer={"disable_tqdm": True, "use_cpu": False},
    )
    one = finetune(config)
    said = caplog.text
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    two = finetune(replace(config, output=tmp_path / "two"))
    for name, tensor in weights(one).items():
        assert torch.equal(weights(two)[name], tensor)
    line = (
        "using 1 of 2 GPUs; for all of them: accelerate launch --num_processes 2 -m sefar_mllm.cli finetune"
    )
    assert line not in said
    assert line in caplog.text


@pytest.mark.parametrize("device", [None, "auto"])
def test_verbs_that_several_processes_share_take_one_gpu_without_a_launcher(device, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "encoder")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    tell_of_idle_gpus.cache_clear()
    assert join("evaluate", device) == Processes(device=torch.device("cuda"))
    assert "--num_processes 4 -m sefar_mllm.cli evaluate" in caplog.text
    caplog.clear()
    assert join("evaluate", "cuda:1").device == torch.device("cuda:1")
    assert not caplog.text


def test_a_process_started_as_if_alone_knows_nothing_of_the_launcher(monkeypatch):
    launcher = {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "x",
        "MASTER_ADDR": "a",
    }
    for name, value in {**launcher, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "4,6"}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with as_if_alone(gpu=1):
        assert launched() == 1
        assert not launcher.keys() & os.environ.keys()
        assert (os.environ["ACCELERATE_USE_CPU"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("true", "6")
        del os.environ["CUDA_VISIBLE_DEVICES"]
        with as_if_alone(gpu=1):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert dict(os.environ) == before


def test_processes_that_cannot_share_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    PartialState._reset_state()
    with pytest.raises(EncoderError, match="2 processes were started, but each would work alone"):
        join("evaluate")
    with pytest.raises(EncoderError, match="2 processes take a GPU each"):
        join("evaluate", "cuda:0")
    for flag, name in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        with monkeypatch.context() as patch:
            patch.setenv(flag, "true")
            with pytest.raises(EncoderError, match=rf"evaluate: .* {name} would spread it.*ddp\.yaml"):
                join("evaluate")
    for verb in VERBS:
        if verb in SHARED:
            with pytest.raises(SystemExit):
                main([verb, "--help"])
        else:
            assert main([verb]) == 2
            assert f"2 processes were launched, and {verb} runs as one" in capsys.readouterr().err


@pytest.mark.parametrize(("items", "world"), [(0, 2), (1, 3), (7, 1), (7, 2), (8, 4)])
def test_what_processes_part_is_put_together_in_order(items, world, monkeypatch):
    ranks = [Processes(rank, world) for rank in range(world)]
    parts = [rank.mine(range(items)) for rank in ranks]
    assert sorted(item for part in parts for item in part) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    monkeypatch.setattr("encoder.processes.group.gather_object", lambda _: [list(part) for part in parts])
    assert all(rank.gather(parts[rank.rank]) == list(range(items)) for rank in ranks)
