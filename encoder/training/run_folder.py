"""The folder of a training run: its options, its log and its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.files import appearing_whole, write_json
from encoder.training.checkpoint import load_checkpoint, prune_checkpoints, save_checkpoint
from encoder.training.checkpoint import newest_checkpoint as newest
from encoder.training.config import TrainConfig, as_json

# Options that a resumed run may change: they do not enter the weights.
_FREE = ("resume", "output", "checkpoint_every", "keep_checkpoints", "log_every", "tracker", "max_broken")


class RunFolder:
    """Only the main process writes; every process reads.

    Args:
        config: The options of the run.
        main: Whether this is the main process.
    """

    def __init__(self, config: TrainConfig, main: bool) -> None:
        self.config, self.main, self.path = config, main, config.output
        self.checkpoints, self.metrics = self.path / "checkpoints", self.path / "metrics.jsonl"

    def check(self) -> None:
        """Raises EncoderError when the folder holds a run that is not to be resumed, or has other options."""
        if not self.config.resume and self.path.exists() and any(self.path.iterdir()):
            raise EncoderError(
                f"{self.path}: already holds a run; name another output, delete it, or add '--resume true'"
            )
        if newest(self.checkpoints) is None:
            return
        settings = as_json(self.config)
        try:
            before = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"{self.path / 'config.json'}: cannot be read ({error}); delete the run"
            ) from None
        changed = [key for key in settings if key not in _FREE and settings[key] != before.get(key)]
        if changed:
            raise EncoderError(
                f"{self.path / 'config.json'}: the run there had another {', '.join(changed)}; resume it "
                "with the same options or name another output"
            )

    def start(self) -> None:
        """Creates the folder and writes the options."""
        if self.main:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / "config.json", as_json(self.config))

    def log(self, line: dict[str, Any]) -> None:
        """Appends a line to ``metrics.jsonl``."""
        if self.main:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def save(self, update: int, states: dict[str, Any], facts: dict[str, Any]) -> None:
        """Writes a checkpoint and deletes those that are too old to keep."""
        if self.main:
            save_checkpoint(self.checkpoints / f"update-{update:08d}", states, {"update": update, **facts})
            prune_checkpoints(self.checkpoints, self.config.keep_checkpoints)

    def newest_update(self) -> int:
        """The update of the newest checkpoint; 0 where there is none."""
        folder = newest(self.checkpoints)
        return int(folder.name.removeprefix("update-")) if folder is not None else 0

    def load(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The newest checkpoint, or None; the log forgets what came after it."""
        folder = newest(self.checkpoints)
        loaded = load_checkpoint(folder) if folder is not None else None
        if self.main and self.metrics.is_file():
            forget_after(self.metrics, loaded[1]["update"] if loaded else 0)
        return loaded


def forget_after(metrics: Path, update: int) -> None:
    """Takes the lines of later updates, and one that was cut off, out of a log."""
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["update"] <= update:
                kept.append(line)
        except ValueError:
            continue  # being written when the run was stopped
    with appearing_whole(metrics) as scratch:
        scratch.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
