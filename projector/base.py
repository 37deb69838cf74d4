"""What a projector is: an ``nn.Module`` from features to a language model, with options of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn


@dataclass(frozen=True)
class ProjectorSpec:
    """A projector's kind and sizes: ``(B, tokens, dim) → (B, num_tokens, hidden)``.

    Projectors take features that `Standardize` has brought to unit size.

    Attributes:
        kind: one of ``PROJECTORS``, with options as in ``resampler?depth=4``.
        dim: width of the features.
        hidden: width of the language model.
        tokens: feature tokens of one clip.
        num_tokens: tokens that the language model gets.
    """

    kind: str
    dim: int
    hidden: int
    tokens: int
    num_tokens: int


@dataclass(frozen=True)
class ProjectorOptions:
    """Options of a projector, whole numbers above 0: a class beside each projector that has some."""


class Projector(nn.Module):
    """``(B, tokens, dim) → (B, num_tokens, hidden)``. A new one is a subclass and an entry in ``PROJECTORS``.

    Args:
        spec: its sizes.
        options: its own options, an instance of ``Options``.

    Attributes:
        Options: the class of its own options.
        token_by_token: whether it gives as many tokens as it gets.
    """

    Options: ClassVar[type[ProjectorOptions]] = ProjectorOptions
    token_by_token: ClassVar[bool] = False

    def __init__(self, spec: ProjectorSpec, options: ProjectorOptions) -> None:
        super().__init__()
