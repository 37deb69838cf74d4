"""How likelihoods weigh the options of a question: by the letter, or by the text in three ways.

A rule of one's own is one more entry in `SCORE_RULES`: every evaluation then writes it down, and
``evaluate --score NAME`` decides by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.prompts import PromptConfig

Scores = dict[str, list[float]]  # name of a rule → one number per option


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods of the options of one question, in nats; every list is in the options' order.

    Attributes:
        letters: log p(letter | video, question); empty where the prompt does not list the options.
        texts: log p(text and end of the turn | video, question), summed over tokens.
        lengths: tokens of each text.
        blind_texts: log p(text and end of the turn | question), without video; empty where it was not asked.
    """

    letters: list[float]
    texts: list[float]
    lengths: list[int]
    blind_texts: list[float]


@dataclass(frozen=True)
class ScoreRule:
    """A number for every option, of which the highest is chosen.

    Attributes:
        score: the options' numbers.
        needs_letters: only where the prompt lists the options.
        needs_blind: only where the prompts were also run without video.
    """

    score: Callable[[Likelihoods], list[float]]
    needs_letters: bool = False
    needs_blind: bool = False


def per_token(options: Likelihoods) -> list[float]:
    """The text's mean over its tokens, by which a long name is no worse than a short one."""
    return [value / length for value, length in zip(options.texts, options.lengths, strict=True)]


def pointwise_mutual_information(options: Likelihoods) -> list[float]:
    """What the video adds: log p(text | video, question) - log p(text | question)."""
    return [seen - blind for seen, blind in zip(options.texts, options.blind_texts, strict=True)]


SCORE_RULES: dict[str, ScoreRule] = {
    "letter": ScoreRule(lambda options: options.letters, needs_letters=True),
    "text_sum": ScoreRule(lambda options: options.texts),
    "text_mean": ScoreRule(per_token),
    "text_pmi": ScoreRule(pointwise_mutual_information, needs_blind=True),
}


def all_scores(options: Likelihoods) -> Scores:
    """The numbers by every rule that can be followed."""
    return {
        name: rule.score(options)
        for name, rule in SCORE_RULES.items()
        if (options.letters or not rule.needs_letters) and (options.blind_texts or not rule.needs_blind)
    }


def deciding_rule(prompt: PromptConfig, with_video: bool, name: str = "auto") -> str:
    """Name of the rule by which choices are made: the one of the answer format, unless named.

    Args:
        prompt: how the questions are put.
        with_video: whether the model sees videos.
        name: a rule, or ``auto``.

    Raises:
        SefarMLLMError: for no such rule, letters under a prompt that does not list the options, or a
            comparison with and without video where there is none.
    """
    if name == "auto":
        # Without the list, a name common among the training clips is likely before any video is seen.
        text = "text_pmi" if with_video and not prompt.list_options else "text_sum"
        return "letter" if prompt.answer == "letter" else text
    if name not in SCORE_RULES:
        raise SefarMLLMError(f"score {name!r}: there is no such rule; there are {', '.join(SCORE_RULES)}")
    rule = SCORE_RULES[name]
    if rule.needs_letters and not prompt.list_options:
        raise SefarMLLMError(f"score {name!r} needs a prompt that lists the options; choose a text score")
    if rule.needs_blind and not with_video:
        raise SefarMLLMError(
            f"score {name!r} compares with and without video, and here is none; choose another"
        )
    return name


def choose(scores: Sequence[float]) -> tuple[int | None, list[float]]:
    """The option of the highest score and the softmax of the scores; none where one is not a number.

    Minus infinity, of an option that cannot be, is one, unless all are.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    if bool(values.isnan().any()) or not bool(values.max().isfinite()):
        return None, [float("nan")] * len(scores)
    probabilities: Tensor = values.softmax(0)
    return int(values.argmax()), probabilities.tolist()
