"""What a `SefarMLLM` is made of, besides its trained weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from projector.base import ProjectorSpec
from sefar_mllm.model.language_model import EMBEDDED
from sefar_mllm.model.prompts import PromptConfig

Quantization = Literal["none", "nf4"]


@dataclass(frozen=True)
class EncoderIdentity:
    """Whose features a model was trained on.

    Attributes:
        name: for people, as the encoder was named when its features were extracted.
        fingerprint: for machines.
        dim: width of a token.
        num_tokens: tokens of a clip.
        location: the name with its folder in full, where it has one; says where to look, not which it is.
    """

    name: str
    fingerprint: str
    dim: int
    num_tokens: int
    location: str = field(default="", compare=False)


@dataclass(frozen=True)
class MLLMConfig:
    """All that it takes to build a `SefarMLLM` besides its trained weights.

    Attributes:
        language_model: ``SmolLM2-135M-Instruct`` (embedded), a folder, or a name on the Hub.
        quantization: ``nf4`` holds the frozen weights in 4 bit.
        prompt: how questions are put.
        projector: its kind and sizes; none for the language model without video.
        encoder: whose features it reads; none for the language model without video.
    """

    language_model: str = EMBEDDED
    quantization: Quantization = "none"
    prompt: PromptConfig = field(default_factory=PromptConfig)
    projector: ProjectorSpec | None = None
    encoder: EncoderIdentity | None = None
