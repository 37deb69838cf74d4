"""The folder of a training run: its options, its log and its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.files import write_json, written_whole
from encoder.training.checkpoint import StateDicts, load_checkpoint, prune_checkpoints, save_checkpoint
from encoder.training.checkpoint import newest_checkpoint as newest
from encoder.training.config import TrainConfig, as_json
from encoder.training.evaluate import Accuracies

# Options that a resumed run may change: they do not enter the weights.
_FREE = ("resume", "output", "checkpoint_every", "keep_checkpoints", "log_every", "tracker", "max_broken")


@dataclass(frozen=True)
class Progress:
    """How far a run has come, as its checkpoints keep it.

    Attributes:
        update: Updates done.
        evaluation: Accuracies of each network in the last evaluation, if there was one.
        best: Highest top-1 accuracy of a network so far, a fraction.
        broken: What was wrong with the clips that were left out.
    """

    update: int
    evaluation: dict[str, Accuracies]
    best: float
    broken: list[str]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Progress:
        """The inverse of ``dataclasses.asdict``."""
        evaluation = {name: Accuracies(**values) for name, values in content["evaluation"].items()}
        return cls(content["update"], evaluation, content["best"], content["broken"])


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

    def log(self, line: Mapping[str, float | str]) -> None:
        """Appends a line to ``metrics.jsonl``."""
        if self.main:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def save(self, progress: Progress, states: StateDicts) -> None:
        """Writes a checkpoint and deletes those that are too old to keep."""
        if self.main:
            folder = self.checkpoints / f"update-{progress.update:08d}"
            save_checkpoint(folder, states, asdict(progress))
            prune_checkpoints(self.checkpoints, self.config.keep_checkpoints)

    def newest_update(self) -> int:
        """The update of the newest checkpoint; 0 where there is none."""
        folder = newest(self.checkpoints)
        return int(folder.name.removeprefix("update-")) if folder is not None else 0

    def load(self) -> tuple[Progress, StateDicts] | None:
        """The newest checkpoint, or None; the log forgets what came after it."""
        folder, loaded = newest(self.checkpoints), None
        if folder is not None:
            states, facts = load_checkpoint(folder)
            loaded = Progress.from_json(facts), states
        if self.main and self.metrics.is_file():
            forget_after(self.metrics, loaded[0].update if loaded else 0)
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
    with written_whole(metrics) as scratch:
        scratch.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
