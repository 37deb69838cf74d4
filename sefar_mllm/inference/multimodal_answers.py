"""Answers of a whole multimodal model: its greedy reply, and the likelihood of letters and texts of options.

The prompt with its video is run once, and each candidate answer behind its cache. That this gives what a
pass over the whole sequence gives is not taken for granted: the model shows it on the first prompt with a
video and the first without, and on each that is longer than those before. One that does not (recurrent layers
that begin anew, positions that are lost behind a cache) is run over the whole sequence for every candidate.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.likelihood import NOISE, spread
from sefar_mllm.inference.multimodal import Inputs, WholeModel
from sefar_mllm.model.head import chosen_outputs
from sefar_mllm.model.suitable import reason

log = logging.getLogger("sefar_mllm")

#: Inputs that have a place for each token, with what stands there for a token of an answer.
PER_TOKEN = {"attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0}


class Answerer:
    """Lets a whole model answer.

    Attributes:
        shares_passes: whether candidates may be run behind the cache of their prompt.
    """

    def __init__(self, whole: WholeModel) -> None:
        self.whole, self.model = whole, whole.model
        self.shares_passes = True
        self._checked = {True: 0, False: 0}  # with video, without: tokens of the longest prompt

    @torch.no_grad()
    def reply(self, inputs: Inputs, options: Sequence[str]) -> str:
        """The greedy reply, of ``new_tokens`` or as many as the longest option takes."""
        whole = self.whole
        longest = max((len(whole.answer_ids(option, True)) for option in options), default=0)
        whole.fresh()
        with greedy(self.model, max(whole.config.new_tokens, longest), whole.end) as settings:
            new: Tensor = self.model.generate(**inputs, generation_config=settings)  # type: ignore[operator]
        whole.check_placed()
        ids = new[0, inputs["input_ids"].shape[1] :].tolist()
        return whole.text.decode(ids).strip()

    @torch.no_grad()
    def scores(self, inputs: Inputs, question: Question) -> dict[str, list[float]]:
        """``letter``, ``text_sum`` and ``text_mean`` (per token) of every option, in nats."""
        letters = [
            self.whole.answer_ids(letter, False) for letter in ascii_uppercase[: len(question.options)]
        ]
        texts = [self.whole.answer_ids(option, True) for option in question.options]
        found = [
            float(tokens.double().sum()) for tokens in self.log_probabilities(inputs, [*letters, *texts])
        ]
        sums = found[len(letters) :]
        return {
            "letter": found[: len(letters)],
            "text_sum": sums,
            "text_mean": [value / len(text) for value, text in zip(sums, texts, strict=True)],
        }

    def log_probabilities(self, inputs: Inputs, candidates: Sequence[list[int]]) -> list[Tensor]:
        """log p of each candidate's tokens behind the prompt."""
        self._check_passes(inputs, max(candidates, key=len))
        if self.shares_passes:
            return self._behind_cache(inputs, candidates)
        return [self._whole_pass(inputs, tokens) for tokens in candidates]

    def _behind_cache(self, inputs: Inputs, candidates: Sequence[list[int]]) -> list[Tensor]:
        size = inputs["input_ids"].shape[1]
        self.whole.fresh()
        last = torch.zeros(1, size, dtype=torch.bool, device=self.model.device)
        last[0, -1] = True
        first, outputs = chosen_outputs(self.model, last, True, **inputs, use_cache=True)
        self.whole.check_placed()
        found = []
        for tokens in candidates:
            logits = first
            if len(tokens) > 1:
                ids = torch.tensor([tokens[:-1]], device=self.model.device)
                every = torch.ones_like(ids, dtype=torch.bool)
                cache = copy.deepcopy(outputs.past_key_values)
                more = chosen_outputs(
                    self.model, every, True, input_ids=ids, past_key_values=cache, use_cache=True
                )
                logits = torch.cat([first, more[0]])
            found.append(picked(logits, tokens))
        return found

    def _whole_pass(self, inputs: Inputs, tokens: list[int], rounding: float = 0.0) -> Tensor:
        """The same by one pass over prompt and candidate; ``rounding`` changes words by so much of them."""
        size, device = inputs["input_ids"].shape[1], self.model.device
        more = torch.tensor([tokens], device=device)
        given = {**inputs, "input_ids": torch.cat([inputs["input_ids"], more], dim=1)}
        for name, value in PER_TOKEN.items():
            if name in inputs:
                given[name] = torch.cat([inputs[name], torch.full_like(more, value)], dim=1)
        places = torch.arange(size + len(tokens), device=device)[None]
        chosen = (places >= size - 1) & (places < size + len(tokens) - 1)
        self.whole.fresh()
        with rounded_words(self.model, rounding):
            logits, _ = chosen_outputs(self.model, chosen, True, **given, use_cache=False)
        self.whole.check_placed()
        return picked(logits, tokens)

    def _check_passes(self, inputs: Inputs, tokens: list[int]) -> None:
        """See whether candidates may be run behind a cache, as `likelihood.check_passes` does."""
        size, video = inputs["input_ids"].shape[1], self.whole.visual is not None
        if not self.shares_passes or size <= self._checked[video]:
            return
        self._checked[video] = size
        right = self._whole_pass(inputs, tokens)
        rounded = self._whole_pass(inputs, tokens, torch.finfo(self.model.dtype).eps)
        try:
            difference = spread(self._behind_cache(inputs, [tokens])[0] - right)
            if difference <= NOISE * spread(rounded - right) + 1e-6:
                return
            why = f"off by {difference:.2g} nats a token"
        except (torch.OutOfMemoryError, SefarMLLMError):
            raise
        except Exception as error:
            why = reason(error)
        self.shares_passes = False
        log.info(
            "%s: options cannot share a pass (%s): each is run by itself, which takes longer",
            self.whole.kind,
            why,
        )


def picked(logits: Tensor, tokens: list[int]) -> Tensor:
    """log p of each token by its logits ``(tokens, vocabulary)``."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    return logits.log_softmax(-1).gather(1, chosen)[:, 0]


@contextmanager
def rounded_words(model: nn.Module, rounding: float) -> Iterator[None]:
    """Changes the embeddings of words by ``rounding`` of themselves, at random, the same each time."""

    def change(_: nn.Module, args: Any, words: Tensor) -> Tensor:
        noise = torch.randn(words.shape, generator=torch.Generator().manual_seed(0)).to(words.device)
        return (words * (1 + rounding * noise)).to(words.dtype)

    if not rounding:
        yield
        return
    hook = model.get_input_embeddings().register_forward_hook(change)  # type: ignore[operator]
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def greedy(model: Any, new_tokens: int, end: int) -> Iterator[GenerationConfig]:
    """Greedy decoding that ends where the model's own settings say so, whatever else they say."""
    before = model.generation_config
    ends = before.eos_token_id if before is not None else None
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=end if ends is None else ends,
        pad_token_id=end,
    )
    # What given settings leave open is taken from the model's, so those are put aside as a whole.
    model.generation_config = settings
    try:
        yield settings
    finally:
        model.generation_config = before
