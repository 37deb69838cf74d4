"""Fine-tuning samples: questions and stored features, in an order that is a pure function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gym_qa.questions.questions import Question
from projector.standardize import Standardize
from sefar_mllm.model.features import Features
from sefar_mllm.model.prompts import IGNORED, Encoded, Prompter

GROUPED_BATCHES = 50  # batches sorted by length together; more pad less and mix less


class Sample(TypedDict):
    """One training sample: ids and labels of equal length, and features ``(tokens, dim)`` of one view, as
    they are stored."""

    encoded: Encoded
    features: Tensor | None


class FinetuneDataset(Dataset[Sample]):
    """The whole run's samples one after another: item ``i`` is the ``i``-th sample the run sees.

    Epoch, place within the epoch, view and order of options all follow from ``(seed, i)``. So a run resumed
    at step ``s``, and a run on several processes of which each takes its share of every batch, see exactly
    the samples of an undisturbed run on one.

    Args:
        questions: the training questions.
        store: their clips' features; none for the language model without video.
        prompter: writes the prompts.
        length: samples in the whole run.
        batch_size: samples of one optimizer step, over all processes; samples of like length share a batch.
        seed: of order, views and options.
        shuffle_options: ask each question with its options in a new order every epoch.
        video_dropout: share of samples asked without video, so that the model also learns how likely a
            text is before any video is seen, against which ``text_pmi`` weighs.
        named_steps: the answer's words stand in the video's place, in all samples of the first step and in
            ever fewer until this one; so a small language model learns to look an option up in the list.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        store: Features | None,
        prompter: Prompter,
        length: int,
        batch_size: int,
        seed: int,
        shuffle_options: bool = True,
        video_dropout: float = 0.0,
        named_steps: int = 0,
    ) -> None:
        self.questions = list(questions)
        self.store = store
        self.prompter = prompter
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle_options = shuffle_options
        self.video_dropout, self.named_steps = video_dropout, named_steps
        encoded = [
            prompter.encode(q.question, q.options, q.answer) for q in self.questions
        ]  # refuses bad ones now
        self.lengths = np.array([len(sample.ids) for sample in encoded])
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")  # also ends a loop over the dataset
        epoch, position = divmod(index, len(self.questions))
        if self._order[0] != epoch:
            self._order = (epoch, self.order(epoch))
        number = int(self._order[1][position])
        question = self.questions[number]
        rng = np.random.default_rng([self.seed, epoch, number])
        options, answer = question.options, question.answer
        if self.shuffle_options:
            permutation = rng.permutation(len(options))
            options = tuple(options[old] for old in permutation)
            answer = int(np.flatnonzero(permutation == question.answer)[0])
        step = index // self.batch_size
        named = step < self.named_steps and rng.random() < 1 - step / self.named_steps
        shown = self.store is not None and rng.random() >= self.video_dropout and not named
        words = options[answer] if named else ""
        encoded = self.prompter.encode(question.question, options, answer, shown, words)
        if self.store is None or not shown:
            return {"encoded": encoded, "features": None}
        views = self.store[question.video]
        return {"encoded": encoded, "features": views[int(rng.integers(len(views)))]}

    def order(self, epoch: int) -> np.ndarray:
        """The questions of one epoch, each once, shuffled so that every batch holds samples of like length.

        Batches run on across epochs: the first few of an epoch complete the last batch of the one before.
        """
        count, size = len(self.questions), self.batch_size
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(count)
        lead, rest = np.split(shuffled, [min(-epoch * count % size, count)])
        window = GROUPED_BATCHES * size
        windows = [rest[start : start + window] for start in range(0, len(rest), window)]
        rest = np.concatenate(
            [part[np.argsort(self.lengths[part], kind="stable")] for part in windows] or [rest]
        )
        whole = len(rest) // size * size
        batches = rng.permutation(rest[:whole].reshape(-1, size))
        return np.concatenate([lead, batches.reshape(-1), rest[whole:]])


def collate(samples: Sequence[Sample], standardize: Standardize) -> dict[str, Tensor]:
    """A batch for `SefarMLLM.forward`: ids, mask and labels ``(B, S)``, standardised features
    ``(V, tokens, dim)`` of the ``V`` samples that have a video."""
    batch = pad(
        [sample["encoded"].ids for sample in samples], [sample["encoded"].labels for sample in samples]
    )
    features = [sample["features"] for sample in samples if sample["features"] is not None]
    if features:
        batch["features"] = standardize(torch.stack(features))
    return batch


def pad(ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Pad on the right to the longest row. Padding has id 0, mask 0 and no loss."""
    width = max(map(len, ids))
    return {
        "ids": torch.tensor([[*row, *[0] * (width - len(row))] for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
        "labels": torch.tensor([[*row, *[IGNORED] * (width - len(row))] for row in labels]),
    }
