"""Stages of an experiment, each run once: stopped at any moment and started again, it goes on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from encoder.processes.group import ALONE, Processes
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_json

log = logging.getLogger("sefar_mllm")


class Stages:
    """Runs each stage once: finished ones and their seconds are kept in ``stages.json``.

    Args:
        folder: of the run.
        options: what it was made with.
        processes: those that run the stages together; the first keeps the file.

    Raises:
        SefarMLLMError: when the folder holds an experiment with other options.
    """

    def __init__(self, folder: Path, options: dict[str, object], processes: Processes = ALONE) -> None:
        self.file, self.processes = folder / "stages.json", processes
        self.options = json.loads(json.dumps(options, default=str))
        self.seconds: dict[str, float] = processes.once(self._read)

    def _read(self) -> dict[str, float]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            return {}
        found = json.loads(self.file.read_text(encoding="utf-8"))
        if found["options"] != self.options:
            raise SefarMLLMError(
                f"{self.file}: the run was made with {found['options']}, expected {self.options}; "
                "name another --output, or delete the folder to start anew"
            )
        return found["seconds"]

    def do(self, name: str, stage: Callable[[], object]) -> None:
        """Run a stage unless it is finished."""
        if name in self.seconds:
            self._say(f"• {name}: done before, in {self.seconds[name]:.0f} s")
            return
        self._say(f"• {name} …")
        begun = time.perf_counter()
        stage()
        self.finished(name, time.perf_counter() - begun)

    def finished(self, name: str, seconds: float) -> None:
        """Keep that a stage is finished."""
        self.seconds[name] = round(seconds, 1)
        if self.processes.first:
            write_json(self.file, {"options": self.options, "seconds": self.seconds})
        self._say(f"  {name}: {self.seconds[name]:.0f} s")

    def _say(self, line: str) -> None:
        if self.processes.first:
            log.info(line)
