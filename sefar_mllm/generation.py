"""Answers by generation, read strictly: what cannot be read is wrong and counted, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from gym_qa.questions import Question
from sefar_mllm.dataset import Features
from sefar_mllm.model import SefarMLLM
from sefar_mllm.prompts import LETTERS

NEW_TOKENS = 48

# One letter, alone or in brackets, with an optional announcement before and an optional text behind.
# Announced letters must be capitals: in "The answer is a salto" the "a" is an article.
ANNOUNCED = re.compile(
    r"(?:(?i:(?:the |my )?(?:correct |best )?(?:answer|option|choice)(?: is)?)\s*:?\s*)"
    r"(?:\(([A-Z])\)|([A-Z]))[.:)]?(?:\s+(.+))?",
    re.DOTALL,
)
BARE = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z]))[.:)]?", re.DOTALL)
LETTER_AND_TEXT = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.:)])\s+(.+)", re.DOTALL)
QUOTES = "\"'“”‘’«»"


def plain(text: str) -> str:
    """A text without case, outer quotes, final stop and superfluous space, for comparison as a whole."""
    return " ".join(text.split()).strip(QUOTES + " ").removesuffix(".").strip(QUOTES + " ").casefold()


def read_answer(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply names, or none where it names none, several, or contradicts itself.

    Read are a letter (``A``, ``a``, ``(A)``, ``A.``, ``Answer: A``, ``The answer is (A).``), a letter with
    its own option's text (``A. salto backward tucked``), and an option's text, quoted exactly. The whole
    reply must be such an
    answer: letters within sentences are not looked for.

    Args:
        reply: what the model said.
        options: the texts of the options, A first.
    """
    reply = reply.strip()
    match = BARE.fullmatch(reply)
    if match:
        return index_of(match.group(1) or match.group(2), options)
    match = ANNOUNCED.fullmatch(reply) or LETTER_AND_TEXT.fullmatch(reply)
    if match:
        choice = index_of(match.group(1) or match.group(2), options)
        text = match.group(3)
        if choice is not None and text is not None and plain(text) != plain(options[choice]):
            return None
        return choice
    announced = re.sub(r"^(?i:(?:the )?answer(?: is)?)\s*:?\s+", "", reply)
    named = [number for number, option in enumerate(options) if plain(option) == plain(announced) != ""]
    return named[0] if len(named) == 1 else None


def index_of(letter: str, options: Sequence[str]) -> int | None:
    """The option of a letter; none for a letter beyond the last option."""
    number = LETTERS.index(letter.upper())
    return number if number < len(options) else None


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
            views = [store[clips[q.video] if clips else q.video][0].float() for q in batch]
            features = torch.stack(views).to(model.device)
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
