"""What a launcher (`accelerate launch`, torchrun, mpirun) says of its processes; imports nothing heavy."""

from __future__ import annotations

import os

SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def launched() -> int:
    """How many processes were started together; 1 without a launcher."""
    given = [os.environ[name] for name in SIZES if os.environ.get(name, "").isdecimal()]
    return max(map(int, given), default=1)


def launch_command(verb: str, processes: int) -> str:
    """The command that runs a verb as so many processes of this machine."""
    return f"accelerate launch --num_processes {processes} -m sefar_mllm.cli {verb} …"
