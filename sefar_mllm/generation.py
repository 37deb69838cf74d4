"""Answers by generation: greedy replies, which `sefar_mllm.reply` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from gym_qa.questions import Question
from sefar_mllm.dataset import Features, first_views
from sefar_mllm.model import SefarMLLM

NEW_TOKENS = 48


@torch.inference_mode()
def generate_replies(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features | None,
    clips: Mapping[str, str] | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> list[str]:
    """The model's greedy reply to every question, at most 48 tokens long.

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
        causal: Any = model.causal
        new = causal.generate(
            inputs_embeds=model.embed(ids, features),
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(prompter.eos),
            pad_token_id=prompter.eos[0],
        )
        replies += [str(text) for text in model.tokenizer.batch_decode(new, skip_special_tokens=True)]
    return replies
