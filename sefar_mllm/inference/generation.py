"""Answers by generation: greedy replies, which `gym_qa.questions.reply` reads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from sefar_mllm.inference.likelihood import check_passes, check_positions, settle_frequencies, stretched
from sefar_mllm.model.features import Features, first_views
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import Prompter

NEW_TOKENS = 48  # of a reply, at least


@torch.no_grad()
def generate_replies(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features | None,
    clips: Mapping[str, str] | None = None,
    batch_size: int = 16,
    progress: bool = True,
    processes: Processes = ALONE,
) -> list[str]:
    """The model's greedy reply to every question, of 48 tokens or as many as its longest option takes.

    Args:
        model: in eval mode.
        questions: what is asked.
        store: features of their clips (the first view is used); none asks without video.
        clips: shows another clip's features instead: asked-about clip → shown clip.
        batch_size: questions run at a time; in half precision replies may differ with it.
        progress: show a bar.
        processes: those that share the batches; all get all replies, the same whatever their number.

    Raises:
        SefarMLLMError: when the language model has too few positions for prompt and reply.
    """
    replies: list[list[str]] = []
    with_video = store is not None and model.projector is not None
    prompter = model.prompter
    prompts = [prompter.ids(prompter.prefix(q.question, q.options, with_video)) for q in questions]
    check_passes(model, max(map(len, prompts), default=0))
    # Padding on the left is not nothing to layers that look back by other means than attention, nor to
    # positions that are stretched with the sequence.
    size = 1 if not model.shares_passes or stretched(model.causal) else batch_size
    starts = processes.mine(range(0, len(questions), size))
    for start in tqdm(starts, desc="replies", disable=not progress):
        batch = questions[start : start + size]
        features = None
        if with_video and store is not None:
            shown = [clips[q.video] if clips else q.video for q in batch]
            features = first_views(store, shown, model.standardize).to(model.device)
        answers = [
            [prompter.ids(prompter.answer(n, q.options)) for n in range(len(q.options))] for q in batch
        ]
        longest = max((len(row) for rows in answers for row in rows), default=0)
        new = write(model, prompts[start : start + size], features, max(NEW_TOKENS, longest))
        replies.append([said(prompter, *row) for row in zip(batch, answers, new, strict=True)])
    return [reply for batch_replies in processes.gather(replies) for reply in batch_replies]


def write(
    model: SefarMLLM, prompts: Sequence[list[int]], features: Tensor | None, new_tokens: int
) -> list[list[int]]:
    """Ids of the greedy reply to each prompt.

    By the library's own generation and its cache, for families of which that takes embeddings.
    """
    width = max(map(len, prompts))
    check_positions(model, width + new_tokens)
    settle_frequencies(model.causal, width + new_tokens)
    ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    inputs, causal = model.inputs(ids, features), cast(Any, model.causal)
    taken = inspect.signature(causal.prepare_inputs_for_generation).parameters
    if set(inputs) <= set(taken):
        with own_settings(causal, new_tokens, model.prompter.eos[0]) as settings:
            new = causal.generate(**inputs, attention_mask=mask, generation_config=settings)
        return cast(list[list[int]], new.tolist())
    views: Sequence[Tensor | None] = [None] * len(prompts) if features is None else features.split(1)
    return [write_by_full_passes(model, *pair, new_tokens) for pair in zip(prompts, views, strict=True)]


def write_by_full_passes(
    model: SefarMLLM, prompt: list[int], features: Tensor | None, new_tokens: int
) -> list[int]:
    """The same for any family: the whole sequence is run again for every token."""
    new: list[int] = []
    while len(new) < new_tokens and model.prompter.eos[0] not in new:
        ids = torch.tensor([[*prompt, *new]], device=model.device)
        last = torch.zeros_like(ids, dtype=torch.bool)
        last[0, -1] = True
        new.append(int(model.logits(last, **model.inputs(ids, features)).argmax()))
    return new


def said(prompter: Prompter, question: Question, answers: list[list[int]], ids: list[int]) -> str:
    """The text of a reply's ids.

    The ids of one of the ``answers`` are that option's text, also by a tokenizer from which not every text
    comes back as it was.
    """
    end = ids.index(prompter.eos[0]) + 1 if prompter.eos[0] in ids else len(ids)
    if answers.count(ids[:end]) == 1:
        return prompter.answer_text(answers.index(ids[:end]), question.options, prompter.config.answer)
    return prompter.text.decode(ids[:end])


@contextmanager
def own_settings(causal: PreTrainedModel, new_tokens: int, eos: int) -> Iterator[GenerationConfig]:
    """Greedy decoding, whatever the model's own settings say (sampling, beams, repetition penalty …)."""
    settings = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=[eos], pad_token_id=eos
    )
    # What given settings leave open is taken from the model's, so those are put aside as a whole.
    before, causal.generation_config = causal.generation_config, settings
    try:
        yield settings
    finally:
        causal.generation_config = before
