"""Fine-tunings as one of several CPU processes whose weights are spread by FSDP2 or ZeRO-3.

Accelerate spreads weights on GPUs only, torch and DeepSpeed on CPUs too: the changes here tell Accelerate
that CPUs are devices. All else is as on GPUs. Takes a folder for its notes and a list of runs as JSON: the
options of a fine-tuning, or ``{"interrupted": FOLDER, "as": FOLDER}``, a copy of a finished run as it was
before its last checkpoint. Notes of process ``r`` go to ``notes-r.json``: for each fine-tuning what was
refused, or where its frozen weights lay before and in training, and the first features that were seen.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import accelerate.state
import torch
import transformers.training_args
from accelerate.utils import DistributedType

import sefar_mllm.finetuning.finetune as finetuning
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.trainer import MLLMTrainer
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.settings.options import options_from

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


def main() -> None:
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed.comm.torch

        accelerate.state.PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
        transformers.training_args.is_torch_bf16_gpu_available = lambda: True
        accelerate.state.PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
        # A kernel for sums over CPU processes, which it compiles for a minute when it is first used.
        deepspeed.comm.torch.build_shm_op = lambda: None
    else:
        accelerate.state.AcceleratorState.__init__ = _init_with_fsdp
    folder, notes = Path(sys.argv[1]), []
    rank = int(os.environ["RANK"])
    for run in json.loads(sys.argv[2]):
        if "interrupted" in run:
            if rank == 0:
                shutil.copytree(run["interrupted"], run["as"])
                last = max(Path(run["as"]).glob("steps/*"), key=lambda step: int(step.name.split("-")[1]))
                shutil.rmtree(last)
            torch.distributed.barrier()
            continue
        notes.append({})
        _noting(notes[-1])
        try:
            finetuning.finetune(options_from(FinetuneConfig, run, "run"))
        except SefarMLLMError as error:
            notes[-1]["refused"] = str(error)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
    (folder / f"notes-{rank}.json").write_text(json.dumps(notes), encoding="utf-8")


if __name__ == "__main__":
    main()
