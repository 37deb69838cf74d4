"""Features of clips, as the language side reads them: from a store, or of clips just looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from gym_qa.questions.questions import Question
from projector.standardize import Standardize
from sefar_mllm.errors import SefarMLLMError


class Features(Protocol):
    """What is asked of a feature store; `encoder.features.store.FeatureStore` is one."""

    @property
    def fingerprint(self) -> str:
        """Of the encoder that made the features."""

    @property
    def dim(self) -> int:
        """Width of a token."""

    @property
    def num_tokens(self) -> int:
        """Tokens of a view."""

    def __contains__(self, clip: object) -> bool: ...

    def __getitem__(self, clip: str) -> Tensor:
        """Features of a clip, ``(views, tokens, dim)``."""


def check_clips(questions: Sequence[Question], store: Features, place: str) -> None:
    """Refuse questions about clips that have no features.

    Raises:
        SefarMLLMError: naming the first of them.
    """
    missing = [question.video for question in questions if question.video not in store]
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise SefarMLLMError(
            f"{place}: holds no features of {len(missing)} of {len(questions)} clips asked about ({shown}); "
            "extract the features of this question file's clips first"
        )


def first_views(store: Features, clips: Sequence[str], standardize: Standardize) -> Tensor:
    """Standardised features ``(clips, tokens, dim)`` of each clip's first view, for `SefarMLLM.embed`."""
    # Stores keep half precision, which autocast on CPUs does not take.
    return standardize(torch.stack([store[clip][0].float() for clip in clips]))
