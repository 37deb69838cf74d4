"""Aligning a fresh projector with the language model's words, before the language model itself is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.features import Features
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.sharding import whole

BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
TEMPERATURE = 0.05
WORDS = 8192  # of the vocabulary embedded at a time


def align_projector(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features,
    steps: int,
    seed: int,
    progress: bool = True,
) -> float:
    """Teach the projector to put a video near the words of its answer.

    A new projector speaks a language that the language model has never read, and a short fine-tuning is
    mostly spent on learning to listen. Here the mean of a clip's projected tokens is pulled towards the mean
    word embedding of its answer and away from those of the other answers: cross-entropy over cosine
    similarities / 0.05, of embeddings from which the answers' common mean is taken, as in CLIP's loss
    (Radford et al. 2021, section 2.3) with fixed texts. A second term holds the tokens at the size of word
    embeddings. It needs one matrix product a step and no pass of the language model: seconds, where
    fine-tuning takes minutes.

    Args:
        model: its projector is trained in place; nothing else changes.
        questions: their answers and clips.
        store: the clips' features; all views are used.
        steps: batches of 64 clips; 0 does nothing.
        seed: of batches and views.
        progress: show a bar.

    Returns:
        The loss of the last batch (nan for no steps).

    Raises:
        SefarMLLMError: when all questions have the same answer: there is nothing to tell apart.
    """
    if steps == 0 or model.projector is None:
        return float("nan")
    texts = sorted({question.options[question.answer] for question in questions})
    if len(texts) < 2:
        raise SefarMLLMError(
            f"all questions have the answer {texts[0]!r}: nothing to align; "
            "set align_steps: 0 or give more classes"
        )
    device = next(model.projector.parameters()).device
    words, size = (embedded.to(device) for embedded in answer_embeddings(model, texts))
    centre = words.mean(0)
    directions = F.normalize(words - centre, dim=-1)
    labels = torch.tensor([texts.index(question.options[question.answer]) for question in questions])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.projector.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), desc="aligning the projector", disable=not progress):
        chosen = torch.randint(len(questions), (BATCH,), generator=generator)
        features = torch.stack([one_view(store, questions[int(n)].video, generator) for n in chosen])
        tokens = model.projector(model.standardize(features).to(device))
        similarity = F.normalize(tokens.mean(1) - centre, dim=-1) @ directions.T
        loss = F.cross_entropy(similarity / TEMPERATURE, labels[chosen].to(device))
        total = loss + (tokens.pow(2).mean(-1).sqrt() / size - 1).pow(2).mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())


def one_view(store: Features, clip: str, generator: torch.Generator) -> Tensor:
    """Features of a clip's view, drawn at random, ``(tokens, dim)``."""
    views = store[clip]
    return views[int(torch.randint(len(views), (1,), generator=generator))]


def answer_embeddings(model: SefarMLLM, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Mean word embedding of each text ``(texts, hidden)``, and the vocabulary's root mean square.

    Both are of what the embedding layer gives, as the decoder gets it: Gemma 3's multiplies its weights by
    the root of the width.
    """
    layer: Any = model.causal.get_input_embeddings()
    prompter = model.prompter
    ids = [prompter.ids(prompter.answer(0, [text], "text")[:-1]) for text in texts]  # as they are learned
    with whole(layer.weight), torch.no_grad():

        def embedded(rows: Tensor) -> Tensor:
            output: Tensor = layer(rows.to(layer.weight.device))
            return output.float()

        means = [embedded(torch.tensor(row)).mean(0) for row in ids]
        words = len(layer.weight)
        squares = sum(embedded(part).pow(2).mean(1).sum() for part in torch.arange(words).split(WORDS))
        return torch.stack(means), torch.as_tensor(squares / words).sqrt()
