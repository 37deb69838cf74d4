"""How one of several processes ends."""

from __future__ import annotations

import atexit
import gc
from functools import cache

import torch.distributed.nn.functional  # first imported later, its default arguments would hold the group


@cache
def leave_process_group_at_exit() -> None:
    """Ends gloo's threads while the interpreter still stands; to be called before the group is made.

    They give back their last tensors some time after a collective. One that does so while the interpreter
    goes aborts the process (pytorch/pytorch#179291), and a finished run counts as failed. NCCL has no such
    threads.
    """
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
    gc.collect()  # what lies in a reference cycle with DistributedDataParallel has a hold on the group too
