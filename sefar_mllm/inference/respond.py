"""A fine-tuned model as something that answers a list of questions, line by line of predictions.jsonl."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from gym_qa.questions.reply import read_answer
from sefar_mllm.inference.generation import generate_replies
from sefar_mllm.inference.multiple_choice import Score, choose, score_questions
from sefar_mllm.model.features import Features
from sefar_mllm.model.mllm import SefarMLLM


@dataclass(frozen=True)
class Respondent:
    """A model and how its answers are read.

    Attributes:
        model: the fine-tuned model.
        score: the likelihood by which choices and probabilities are given.
        generate: also let it write replies.
        reply_decides: the reply, read strictly, is the choice.
        pmi: also compute ``text_pmi``.
        batch_size: questions run at a time.
        processes: those that share the questions.
    """

    model: SefarMLLM
    score: Score
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
        """The same for prompts without video, against which PMI has nothing to weigh."""
        return replace(self, score="text_sum" if self.score == "text_pmi" else self.score, pmi=False)

    def rows(
        self,
        questions: Sequence[Question],
        store: Features | None,
        clips: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """One line of predictions.jsonl for every question, in their order, on every process.

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
            self._row(question, row, reply, clips)
            for question, row, reply in zip(questions, scores, replies, strict=True)
        ]

    def _row(
        self,
        question: Question,
        scores: dict[str, list[float]],
        reply: str | None,
        clips: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        choice, probabilities = choose(scores[self.score])
        written = (
            {} if reply is None else {"reply": reply, "reply_choice": read_answer(reply, question.options)}
        )
        return {
            "id": question.id,
            "video": question.video,
            "source": question.source,
            "answer": question.answer,
            "choice": written.get("reply_choice") if self.reply_decides else choice,
            "probabilities": [] if choice is None else probabilities,
            "scores": scores,
            "event": question.event,
            "set": question.set,
            "label": question.label,
            **({"shown": clips[question.video]} if clips else {}),
            **written,
        }


def autocast(model: SefarMLLM) -> contextlib.AbstractContextManager[None]:
    """Products in the frozen weights' dtype: the trained weights are float32."""
    dtype = model.causal.dtype
    return torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32)
