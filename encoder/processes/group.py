"""Several processes of one launch: joining them, sharing work among them, and how each ends."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed.nn.functional  # first imported later, its default arguments would hold the group
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

from encoder.device import own_device
from encoder.errors import EncoderError
from encoder.processes.launcher import launch_command, launched

log = logging.getLogger("encoder")

T = TypeVar("T")

CPU = torch.device("cpu")
#: How long one process waits for another: a process that fails ends the launch, so this need not be short.
PATIENCE = timedelta(days=7)
SPREADING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


@dataclass(frozen=True)
class Processes:
    """The processes of a launch that do the same work together; by default there is only this one.

    Attributes:
        rank: this process's number, from 0.
        world: how many there are.
        device: where this process computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what all have in the same order."""
        return items[self.rank :: self.world]

    def padded(self, items: Sequence[T]) -> Sequence[T]:
        """The items, some repeated, so that all processes get equally many: a model that is spread over them
        can only be used by all at once."""
        return [items[i % len(items)] for i in range(-(-len(items) // self.world) * self.world)]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """The results of all processes, in the order of the items that `mine` parted. All must call it."""
        parts: list[Sequence[T]] = gather_object([mine]) if self.world > 1 else [mine]
        whole: list[T | None] = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            whole[rank :: self.world] = part
        return whole  # type: ignore[return-value]

    def once(self, do: Callable[[], T]) -> T:
        """What the first process does while the others wait; all get its result. All must call it."""
        done: list[T | None] = [do() if self.first else None]
        return (broadcast_object_list(done) if self.world > 1 else done)[0]  # type: ignore[return-value]


ALONE = Processes()


def join(verb: str, device: str | None = None) -> Processes:
    """Takes this process's place among those that a launcher started to run a verb together.

    Args:
        verb: The verb, for messages.
        device: A torch device, or None or ``auto`` for this process's own GPU where there is one.

    Raises:
        EncoderError: The processes do not know of each other, are to spread a model over them, or are all
            told to use one GPU.
    """
    leave_process_group_at_exit()
    spread = [name for flag, name in SPREADING.items() if parse_flag_from_env(flag)]
    if spread:
        raise EncoderError(
            f"{verb}: every process holds the whole model, and {spread[0]} would spread it; launch with "
            "configs/accelerate/ddp.yaml, or without a launcher"
        )
    if launched() == 1:
        device_here = own_device(device)
        if device in (None, "auto") and device_here.type == "cuda":
            tell_of_idle_gpus(verb, torch.cuda.device_count())
        return Processes(device=device_here)
    own = None if device in (None, "auto") else torch.device(str(device))
    if own is not None and own.index is not None:
        raise EncoderError(f"device {own}: {launched()} processes take a GPU each; leave out its number")
    use_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=use_cpu, timeout=PATIENCE)
    if launched() != state.num_processes:
        raise EncoderError(
            f"{launched()} processes were started, but each would work alone; without a GPU set "
            "ACCELERATE_USE_CPU=true before 'torchrun'"
        )
    return Processes(state.process_index, state.num_processes, own or state.device)


@cache
def tell_of_idle_gpus(verb: str, count: int) -> None:
    """Says that one of several GPUs is used, and how to use them all; once for each verb."""
    if count > 1:
        log.info(f"using 1 of {count} GPUs; for all of them: {launch_command(verb, count)}")


@cache
def leave_process_group_at_exit() -> None:
    """Ends gloo's threads while the interpreter still stands; to be called before the group is made.

    They give back their last tensors some time after a collective. One that does so while the interpreter
    goes aborts the process (pytorch/pytorch#179291), and a finished run counts as failed. NCCL has no such
    threads.
    """
    atexit.register(_leave)


def _leave() -> None:
    if hasattr(sys, "last_value"):  # it failed, and would wait for what others are no longer going to send
        return
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
    gc.collect()  # what lies in a reference cycle with DistributedDataParallel has a hold on the group too
