"""Folders that a checkpoint names: in full, and relative to the checkpoint, so that both may move."""

from __future__ import annotations

import os
from pathlib import Path

from encoder.visual.base import EncoderSpec, located
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import EMBEDDED


def in_full(language_model: str) -> str:
    """The name of a language model; a folder's from the root, so that it holds wherever it is read."""
    path = Path(language_model).expanduser()
    return os.path.abspath(path) if language_model != EMBEDDED and path.exists() else language_model


def seen_from(folder: Path, settings: MLLMConfig) -> dict[str, str]:
    """Paths from a checkpoint's folder to its language model and its encoder, where those are folders."""
    paths = {"language_model": settings.language_model}
    if settings.encoder is not None:
        paths["encoder"] = EncoderSpec.parse(settings.encoder.location).name
    return {
        key: os.path.relpath(path, folder.absolute()) for key, path in paths.items() if os.path.isabs(path)
    }


def find_language_model(name: str, folder: Path, relative: str | None) -> str:
    """Where a checkpoint's language model is: ``name``, or if that is gone, ``relative`` to the folder."""
    return _moved(name, folder, relative) or name


def find_encoder(spec: str, folder: Path, relative: str | None) -> str:
    """The same for the encoder's ``kind:name?options``."""
    parsed = EncoderSpec.parse(spec)
    moved = _moved(parsed.name, folder, relative)
    return located(spec.replace(parsed.name, moved, 1)) if moved else spec


def _moved(path: str, folder: Path, relative: str | None) -> str | None:
    if relative is None or not os.path.isabs(path) or os.path.exists(path):
        return None
    moved = os.path.abspath(folder / relative)
    return moved if os.path.isdir(moved) else None
