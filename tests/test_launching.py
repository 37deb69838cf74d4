"""The Accelerate configurations: Accelerate itself reads them, and every command in the docs names one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs/accelerate"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
DOCS = (ROOT / "docs/launching.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(block.replace("\\\n", " "))
    for block in re.findall(r"```bash\n(accelerate launch .*?)```", DOCS, re.S)
]
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
