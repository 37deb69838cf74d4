"""A fine-tuning as one of several CPU processes whose weights are spread by FSDP2 or ZeRO-3.

Accelerate spreads weights on GPUs only, torch and DeepSpeed on CPUs too: the changes here tell Accelerate
that CPUs are devices. All else is as on GPUs. Takes the options of the fine-tuning as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import accelerate.state
import torch
import transformers.training_args
from accelerate.utils import DistributedType

from sefar_mllm.compare import configured
from sefar_mllm.finetune import finetune

_plain_init = accelerate.state.AcceleratorState.__init__


def _init_with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _plain_init(self, *args, fsdp_plugin=fsdp_plugin, **options)
    plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
    if plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin


def main() -> None:
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        accelerate.state.PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
        transformers.training_args.is_torch_bf16_gpu_available = lambda: True
        accelerate.state.PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    else:
        accelerate.state.AcceleratorState.__init__ = _init_with_fsdp
    finetune(configured(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
