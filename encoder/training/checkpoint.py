"""Checkpoints: safetensors and JSON, written under another name and then renamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.errors import EncoderError
from encoder.files import written_whole

#: What PyTorch's ``state_dict()`` gives, by the name of whose state it is.
StateDicts = dict[str, dict[str, Any]]


def split_state(state: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    """A state dict as JSON, its tensors moved into ``tensors`` under their paths."""
    if isinstance(state, Tensor):
        tensors[at] = state.detach().cpu().contiguous()
        return {"tensor": at}
    if isinstance(state, dict):
        return {"dict": [[key, split_state(value, f"{at}.{key}", tensors)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {"list": [split_state(value, f"{at}.{i}", tensors) for i, value in enumerate(state)]}
    return {"value": state}


def join_state(content: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of :func:`split_state` (tuples come back as lists)."""
    kind, value = next(iter(content.items()))
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: join_state(item, tensors) for key, item in value}
    if kind == "list":
        return [join_state(item, tensors) for item in value]
    return value


def save_checkpoint(folder: Path, states: StateDicts, facts: dict[str, Any]) -> None:
    """Writes state dicts and facts into ``folder`` in one step.

    Args:
        folder: The checkpoint; its parent is created.
        states: State dicts by name (model, teacher, optimizer …).
        facts: What else is needed to go on, as JSON.
    """
    tensors: dict[str, Tensor] = {}
    layout = {name: split_state(state, name, tensors) for name, state in states.items()}
    with written_whole(folder) as scratch:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        save_file(tensors, scratch / "state.safetensors")
        (scratch / "state.json").write_text(json.dumps({"facts": facts, "layout": layout}), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[StateDicts, dict[str, Any]]:
    """State dicts by name, and facts. Raises EncoderError for a folder that is not a whole checkpoint."""
    try:
        tensors = load_file(folder / "state.safetensors")
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        states = {name: join_state(layout, tensors) for name, layout in content["layout"].items()}
        return states, content["facts"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise EncoderError(
            f"{folder}: not a whole checkpoint ({error!r}); delete it to go on from the one before"
        ) from None


def newest_checkpoint(root: Path) -> Path | None:
    """The checkpoint of the latest update under ``root``, or None."""
    return max(_checkpoints(root), default=None)


def prune_checkpoints(root: Path, keep: int) -> None:
    """Deletes all but the newest ``keep`` checkpoints."""
    for old in sorted(_checkpoints(root))[: -max(1, keep)]:
        shutil.rmtree(old)


def _checkpoints(root: Path) -> list[Path]:
    return [path for path in root.glob("update-*") if path.suffix != ".tmp"]
