"""What a launcher (`accelerate launch`, torchrun, mpirun) says of its processes; imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
OF_A_PROCESS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OF_THE_LAUNCHER = ("ACCELERATE_", "GROUP_", "MV2_", "OMPI_", "PMI_", "ROLE_", "TORCHELASTIC_")


def launched() -> int:
    """How many processes were started together; 1 without a launcher."""
    given = [os.environ[name] for name in SIZES if os.environ.get(name, "").isdecimal()]
    return max(map(int, given), default=1)


def rank() -> int:
    """This process's number among those that were started together, from 0; 0 without a launcher."""
    given = [os.environ[name] for name in RANKS if os.environ.get(name, "").isdecimal()]
    return int(given[0]) if given else 0


def launch_command(verb: str, processes: int) -> str:
    """The command that runs a verb as so many processes of this machine."""
    return f"accelerate launch --num_processes {processes} -m sefar_mllm.cli {verb} …"


@contextmanager
def as_if_alone(gpu: int | None) -> Iterator[None]:
    """Processes started in the block know nothing of the launcher.

    Args:
        gpu: The GPU that they see, by its number among those that this process sees; None for no change.
    """
    before = dict(os.environ)
    for name in before:
        if name in OF_A_PROCESS or (name.startswith(OF_THE_LAUNCHER) and name != "ACCELERATE_USE_CPU"):
            del os.environ[name]
    if gpu is not None:
        visible = before.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
