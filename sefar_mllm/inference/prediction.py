"""What is answered to a question: the choice, and for our own models a line of ``predictions.jsonl``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gym_qa.questions.questions import Question
from sefar_mllm.inference.score_rules import Scores


@dataclass(frozen=True)
class Answer:
    """What was answered to one question.

    Attributes:
        choice: index of the chosen option; None where the answer could not be read.
        probabilities: of each option; empty where they are not known.
    """

    choice: int | None
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prediction(Answer):
    """An answer of one of our models with all that led to it.

    Attributes:
        question: what was asked.
        scores: log-likelihoods of each option by score rule.
        shown: the clip that was shown in place of the question's own; empty for none.
        reply: what the model wrote; None where it was not let.
        reply_choice: the option that the reply names; None where it could not be read.
    """

    question: Question
    scores: Scores
    shown: str = ""
    reply: str | None = None
    reply_choice: int | None = None

    def as_json(self) -> dict[str, object]:
        """The line of ``predictions.jsonl``, in which scores that are no numbers are null."""
        question = self.question
        scores = {
            rule: [value if math.isfinite(value) else None for value in values]
            for rule, values in self.scores.items()
        }
        written = {} if self.reply is None else {"reply": self.reply, "reply_choice": self.reply_choice}
        return {
            "id": question.id,
            "video": question.video,
            "source": question.source,
            "answer": question.answer,
            "choice": self.choice,
            "probabilities": self.probabilities,
            "scores": scores,
            "event": question.event,
            "set": question.set,
            "label": question.label,
            **({"shown": self.shown} if self.shown else {}),
            **written,
        }
