"""Visual encoders: whatever turns the frames of a clip into tokens for a language model.

All look at the middles of equal stretches of a clip, in order of time: eight, so the same frames, unless
another number is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn

from encoder.errors import EncoderError
from encoder.video.elements import TemporalElements

GRID = 2  # cells a side of what a frame is pooled to, for every encoder alike: where things are matters


class VisualEncoder(Protocol):
    """What the language side knows of an encoder.

    Attributes:
        spec: The text that :func:`open_encoder` made it from.
        sampling: Which frames of a clip it looks at.
        dim: Width of a token.
        num_tokens: Tokens for a clip.
        fingerprint: Hash of weights, transform, sampling and what is handed over.
    """

    spec: str
    sampling: TemporalElements
    dim: int
    num_tokens: int
    fingerprint: str

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """Frames ``(B, T, H, W, C)`` uint8 → input ``(B, T, C, H', W')``; deterministic, no flips. Holds no
        weights, so that processes that decode can do it."""

    def encode(self, x: Tensor) -> Tensor:
        """Input ``(B, T, C, H', W')`` → tokens ``(B, num_tokens, dim)``, float32."""


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed ``kind:name?option=value&…``."""

    text: str
    kind: str
    name: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> EncoderSpec:
        """Splits a spec; a spec without a kind has an empty name."""
        head, _, query = text.partition("?")
        kind, _, name = head.partition(":")
        return cls(text, kind, name, dict(parse_qsl(query, keep_blank_values=True)))

    def choice(self, option: str, default: str, allowed: tuple[str, ...]) -> str:
        """The value of an option that is one of a few words. Raises EncoderError naming them."""
        value = self.options.get(option, default)
        if value not in allowed:
            raise EncoderError(f"encoder {self.text!r}: {option} must be one of {', '.join(allowed)}")
        return value

    def number(self, option: str, default: int, *words: str) -> int:
        """The value of an option that is a whole number above 0; ``words`` are what else the caller takes."""
        value = self.options.get(option, str(default))
        if not (value.isascii() and value.isdigit() and int(value)):
            raise EncoderError(
                f"encoder {self.text!r}: {option} must be {' or '.join(['a whole number above 0', *words])}"
            )
        return int(value)

    def allow(self, *options: str) -> None:
        """Raises EncoderError for options other than these."""
        if extra := set(self.options) - set(options):
            raise EncoderError(
                f"encoder {self.text!r}: no option {min(extra)!r}; there are {', '.join(options)}"
            )


def located(spec: str) -> str:
    """The same encoder, named so that it is found from any folder: a folder of its own in full."""
    parsed = EncoderSpec.parse(spec)
    folder = Path(parsed.name).expanduser()
    return spec.replace(parsed.name, os.path.abspath(folder), 1) if parsed.name and folder.is_dir() else spec


def fingerprint(network: nn.Module, facts: Mapping[str, object]) -> str:
    """Hash of a network's weights and of the facts that say how it is used."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def pool_grid(patches: Tensor, cells: int) -> Tensor:
    """Patch tokens ``(B, h, w, D)`` averaged within ``cells × cells`` cells: ``(B, cells² · D)``."""
    pooled = nn.functional.adaptive_avg_pool2d(patches.permute(0, 3, 1, 2), cells)
    return pooled.permute(0, 2, 3, 1).flatten(1)
