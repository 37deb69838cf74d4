"""Processes of a launch, forked from a server that has imported the libraries once.

Importing them takes a new interpreter longer than what the tests do in it. What a launcher tells its
processes is told here; slow tests of `test_encoder_training` and `test_rehearsal_launching` use torchrun.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

SERVER = multiprocessing.get_context("forkserver")
IMPORTED = ["sefar_mllm.cli", "sefar_mllm.finetuning.finetune", "encoder.training.train", "deepspeed"]
SERVER.set_forkserver_preload(IMPORTED)
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
SECONDS = 300.0


class Launch:
    """Processes that run the same function, and what they print.

    Args:
        work: a function of an importable module.
        args: its arguments.
        logs: a folder for what each process prints.
        processes: how many; one is told of no launcher.
        environment: more variables.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *args: Any,
        logs: Path,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        shared = {**os.environ, **ALONE, **(environment or {})}
        if processes > 1:
            self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            shared |= {
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self._store.port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",  # it is in this process, as in torchrun's
                "TORCHELASTIC_RESTART_COUNT": "0",
            }
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = [logs / f"process-{rank}.txt" for rank in range(processes)]
        self.processes: list[BaseProcess] = []
        for rank, log in enumerate(self._logs):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
            self.processes.append(SERVER.Process(target=_begin, args=({**shared, **own}, log, work, args)))
            self.processes[-1].start()

    def wait(self) -> int:
        """The exit status of the first process that failed, which ends the others; 0 if none did."""
        deadline = time.monotonic() + SECONDS
        while any(process.is_alive() for process in self.processes) and time.monotonic() < deadline:
            if any(process.exitcode for process in self.processes):
                break
            self.processes[0 if self.processes[0].is_alive() else -1].join(0.05)
        failed = next((process.exitcode for process in self.processes if process.exitcode), 0)
        self.kill()
        return failed or next((process.exitcode for process in self.processes if process.exitcode), 0)

    def kill(self) -> None:
        """Ends what still runs."""
        for process in self.processes:
            process.kill()
            process.join()

    def printed(self) -> str:
        """What the processes have printed."""
        return "\n".join(log.read_text(encoding="utf-8") for log in self._logs)

    def finish(self, expected: int = 0) -> str:
        """Waits, and returns what was printed."""
        status = self.wait()
        assert status == expected, self.printed()[-4000:]
        return self.printed()


def script(path: Path, *arguments: str) -> None:
    """To be started: a script as its command line runs it."""
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def verbs(commands: list[list[str]]) -> None:
    """To be started: verbs of the command line, one after another."""
    from sefar_mllm.cli import main

    for command in commands:
        if main(command):
            sys.exit(2)


def _begin(environment: dict[str, str], log: Path, work: Callable[..., object], args: tuple) -> None:
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    work(*args)
