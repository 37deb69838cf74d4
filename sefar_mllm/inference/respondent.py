"""A fine-tuned model as something that answers a list of questions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from gym_qa.questions.reply import read_answer
from sefar_mllm.inference.generation import generate_replies
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.prediction import Prediction
from sefar_mllm.inference.score_rules import SCORE_RULES, Scores, choose
from sefar_mllm.model.features import Features
from sefar_mllm.model.mllm import SefarMLLM


class Predictor(Protocol):
    """Who answers a list of questions: a fine-tuned model, a whole one, or one behind a server."""

    @property
    def order_matters(self) -> bool:
        """Whether the order of the options can change anything."""

    def without_video(self) -> Predictor:
        """The same for prompts without video."""

    def predict(
        self, questions: Sequence[Question], store: Any, clips: Mapping[str, str] | None = None
    ) -> Sequence[Prediction]:
        """The answer to every question, in their order, on every process; see `Respondent.predict`."""


@dataclass(frozen=True)
class Respondent:
    """A model and how its answers are read.

    Attributes:
        model: the fine-tuned model.
        score: the rule of `SCORE_RULES` by which choices and probabilities are given.
        generate: also let it write replies.
        reply_decides: the reply, read strictly, is the choice.
        pmi: also run the prompts without video, for the rules that need it.
        batch_size: questions run at a time.
        processes: those that share the questions.
    """

    model: SefarMLLM
    score: str
    generate: bool
    reply_decides: bool
    pmi: bool
    batch_size: int
    processes: Processes = ALONE

    @property
    def order_matters(self) -> bool:
        """Whether the order of the options can change anything: only where the prompt lists them."""
        return self.model.settings.prompt.list_options

    def without_video(self) -> Respondent:
        """The same for prompts without video, against which there is nothing to weigh."""
        score = "text_sum" if SCORE_RULES[self.score].needs_blind else self.score
        return replace(self, score=score, pmi=False)

    def predict(
        self,
        questions: Sequence[Question],
        store: Features | None,
        clips: Mapping[str, str] | None = None,
    ) -> list[Prediction]:
        """The answer to every question, in their order, on every process.

        Args:
            questions: what is asked.
            store: features of their clips; none asks without video.
            clips: shows another clip's features instead: asked-about clip → shown clip.
        """
        replies: Sequence[str | None] = [None] * len(questions)
        with autocast(self.model):
            bar, shared = self.processes.first, self.processes
            scores = score_questions(
                self.model, questions, store, clips, self.pmi, self.batch_size, bar, shared
            )
            if self.generate:
                replies = generate_replies(self.model, questions, store, clips, self.batch_size, bar, shared)
        return [
            self._prediction(question, by_rule, reply, clips[question.video] if clips else "")
            for question, by_rule, reply in zip(questions, scores, replies, strict=True)
        ]

    def _prediction(self, question: Question, scores: Scores, reply: str | None, shown: str) -> Prediction:
        likeliest, probabilities = choose(scores[self.score])
        read = None if reply is None else read_answer(reply, question.options)
        return Prediction(
            choice=read if self.reply_decides else likeliest,
            probabilities=() if likeliest is None else tuple(probabilities),
            question=question,
            scores=scores,
            shown=shown,
            reply=reply,
            reply_choice=read,
        )


def autocast(model: SefarMLLM) -> contextlib.AbstractContextManager[None]:
    """Products in the frozen weights' dtype: the trained weights are float32."""
    dtype = model.causal.dtype
    return torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32)
