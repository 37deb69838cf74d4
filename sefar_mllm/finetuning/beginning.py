"""What a fine-tuning begins with: questions to follow, the statistics of features, an aligned projector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor

from gym_qa.questions.questions import Question
from sefar_mllm.finetuning.align import align_projector
from sefar_mllm.model.features import Features
from sefar_mllm.model.mllm import SefarMLLM

MOST_CLIPS = 2000  # for the statistics of the features


def drawn(questions: Sequence[Question], size: int | None, seed: int) -> list[Question]:
    """As many of the questions as are wanted (None for all), drawn by the seed, in the file's order."""
    if size is None or size >= len(questions):
        return list(questions)
    chosen = np.random.default_rng([seed, len(questions)]).permutation(len(questions))[:size]
    return [questions[number] for number in sorted(chosen)]


def start_projector(
    model: SefarMLLM, questions: Sequence[Question], store: Features, steps: int, seed: int
) -> None:
    """Take the features' statistics and align the projector; the same on every process of the launch.

    Args:
        model: its projector is trained in place.
        questions: the training questions.
        store: their features.
        steps: of the alignment.
        seed: of its batches.
    """
    model.standardize.fit(training_features(questions, store))
    processes = PartialState()
    if model.device.type != "meta":  # else another process of this machine holds the embeddings
        align_projector(model, questions, store, steps, seed, progress=processes.is_main_process)
    if model.projector is not None and processes.num_processes > 1:
        state = [{name: weight.cpu() for name, weight in model.projector.state_dict().items()}]
        model.projector.load_state_dict(broadcast_object_list(state)[0])


def training_features(questions: Sequence[Question], store: Features) -> Tensor:
    """First views of some 2,000 clips asked about at most, ``(clips, tokens, dim)``."""
    clips = sorted({question.video for question in questions})
    return torch.stack([store[clip][0] for clip in clips[:: max(1, len(clips) // MOST_CLIPS)]])
