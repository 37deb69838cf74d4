"""Answers by generation: greedy replies, which `gym_qa.reply` reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel

from gym_qa.questions import Question
from sefar_mllm.dataset import Features, first_views
from sefar_mllm.model import SefarMLLM
from sefar_mllm.prompts import Prompter

NEW_TOKENS = 48  # of a reply, at least


@torch.inference_mode()
def generate_replies(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features | None,
    clips: Mapping[str, str] | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> list[str]:
    """The model's greedy reply to every question, of 48 tokens or as many as its longest option takes.

    Args:
        model: in eval mode.
        questions: what is asked.
        store: features of their clips (the first view is used); none asks without video.
        clips: shows another clip's features instead: asked-about clip → shown clip.
        batch_size: questions run at a time.
        progress: show a bar.
    """
    replies: list[str] = []
    with_video = store is not None and model.projector is not None
    for start in tqdm(range(0, len(questions), batch_size), desc="replies", disable=not progress):
        batch = questions[start : start + batch_size]
        prompter = model.prompter
        prompts = [prompter.ids(prompter.prefix(q.question, q.options, with_video)) for q in batch]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device
        )
        features = None
        if with_video and store is not None:
            shown = [clips[q.video] if clips else q.video for q in batch]
            features = first_views(store, shown, model.standardize).to(model.device)
        answers = [
            [prompter.ids(prompter.answer(n, q.options)) for n in range(len(q.options))] for q in batch
        ]
        longest = max((len(row) for rows in answers for row in rows), default=0)
        with own_settings(model.causal, max(NEW_TOKENS, longest), prompter.eos[0]) as settings:
            causal: Any = model.causal
            embedded = model.embed(ids, features)
            new = causal.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=settings)
        replies += map(partial(said, prompter), batch, answers, new.tolist())
    return replies


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
