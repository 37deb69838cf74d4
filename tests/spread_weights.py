"""Fine-tunings in two CPU processes whose weights are spread by FSDP2 or ZeRO-3.

Accelerate spreads weights on GPUs only, torch and DeepSpeed on CPUs too: the changes here tell Accelerate
that CPUs are devices. All else is as on GPUs.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate.state
import torch
import transformers.training_args
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from processes import Launch

import sefar_mllm.finetuning.finetune as finetuning
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.trainer import MLLMTrainer
from sefar_mllm.model.mllm import SefarMLLM

ROOT = Path(__file__).parents[1]

_plain_init = accelerate.state.AcceleratorState.__init__
_plain_build, _plain_embed = finetuning.build_trainer, SefarMLLM.embed
_plain_step = MLLMTrainer.training_step


def _init_with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _plain_init(self, *args, fsdp_plugin=fsdp_plugin, **options)
    plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
    if plugin is not None:
        if self._mixed_precision != "no":
            plugin.set_mixed_precision(self._mixed_precision)
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin


def _frozen(model: SefarMLLM) -> list[torch.Tensor]:
    return [weight for weight in model.parameters() if not weight.requires_grad]


def _here(weight: Any) -> int:
    """Numbers of a weight that this process holds."""
    if hasattr(weight, "ds_tensor"):
        return weight.ds_tensor.numel()
    return (weight.to_local() if hasattr(weight, "to_local") else weight).numel()


def _noting(note: dict[str, Any]) -> None:
    """Keep notes of the next fine-tuning."""

    def build(*args: Any) -> MLLMTrainer:
        trainer = _plain_build(*args)
        frozen = _frozen(trainer.mllm)
        note["loaded"] = sum(_here(weight) for weight in frozen if not weight.is_meta)
        return trainer

    def step(self: MLLMTrainer, *args: Any, **options: Any) -> torch.Tensor:
        note.setdefault("held", sum(map(_here, _frozen(self.mllm))))
        return _plain_step(self, *args, **options)

    def embed(self: SefarMLLM, ids: torch.Tensor, features: torch.Tensor | None) -> torch.Tensor:
        if self.training and features is not None:
            note.setdefault("features", features.float().tolist())
        return _plain_embed(self, ids, features)

    finetuning.build_trainer, MLLMTrainer.training_step, SefarMLLM.embed = build, step, embed


def run_all(folder: Path, runs: list[FinetuneConfig | dict[str, str]]) -> None:
    """To be started in each process; process ``r`` leaves its notes in ``notes-r.json``."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed.comm.torch

        accelerate.state.PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
        transformers.training_args.is_torch_bf16_gpu_available = lambda: True
        accelerate.state.PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
        # A kernel for sums over CPU processes, which it compiles for a minute when it is first used.
        deepspeed.comm.torch.build_shm_op = lambda: None
    else:
        accelerate.state.AcceleratorState.__init__ = _init_with_fsdp
    rank, notes = int(os.environ["RANK"]), []
    for run in runs:
        if isinstance(run, dict):
            if rank == 0:
                shutil.copytree(run["interrupted"], run["as"])
                last = max(Path(run["as"]).glob("steps/*"), key=lambda step: int(step.name.split("-")[1]))
                shutil.rmtree(last)
            torch.distributed.barrier()
            continue
        notes.append({})
        _noting(notes[-1])
        try:
            finetuning.finetune(run)
        except SefarMLLMError as error:
            notes[-1]["refused"] = str(error)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
    (folder / f"notes-{rank}.json").write_text(json.dumps(notes), encoding="utf-8")


def launch(accelerate_file: str, folder: Path, *runs: FinetuneConfig | dict[str, str]) -> list[list[Any]]:
    """Two processes under the settings that the launcher takes from a file of ``configs/accelerate``.

    Args:
        accelerate_file: its name.
        folder: for notes and logs.
        runs: fine-tunings, of which each process takes half a batch, or ``{"interrupted": FOLDER, "as":
            FOLDER}``: a copy of a finished run as it was before its last checkpoint.

    Returns:
        Of each process, for each fine-tuning, what was refused, or where its frozen weights lay before and
        in training, and the first features that were seen.
    """
    script = ROOT / "scripts/finetune_mllm.py"
    command = ["--config_file", str(ROOT / "configs/accelerate" / accelerate_file), "--num_processes", "2"]
    args, file, _ = _validate_launch_command(launch_command_parser().parse_args([*command, str(script)]))
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(file.deepspeed_config)  # as the launcher does
        settings = {**prepare_deepspeed_cmd_env(args)[1], "ACCELERATE_USE_CPU": "false"}
    else:
        settings = {**prepare_multi_gpu_env(args), "ACCELERATE_USE_CPU": "true"}
    halves = [
        replace(
            run, batch_size=run.batch_size // 2, trainer={**run.trainer, "use_cpu": not args.use_deepspeed}
        )
        if isinstance(run, FinetuneConfig)
        else run
        for run in runs
    ]
    launched = Launch(run_all, folder, halves, logs=folder / "logs", processes=2, environment=settings)
    launched.finish()
    return [json.loads((folder / f"notes-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
