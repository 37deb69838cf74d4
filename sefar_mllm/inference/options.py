"""The options of a question as something to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError


def check_options(questions: Sequence[Question], place: str, allow_repeats: bool = False) -> None:
    """Refuse questions with a blank option, or with two that a reader of replies could not tell apart.

    Args:
        questions: the questions; one without options is open, and passes.
        place: what an error names, such as their file.
        allow_repeats: let repeated options pass; the copy that is not the answer counts as wrong.

    Raises:
        SefarMLLMError: naming the questions.
    """
    blank = [question for question in questions if not all(map(str.strip, question.options))]
    if blank:
        raise SefarMLLMError(
            f"{place}: {described(blank)} a blank option; expected a text for every option, give it or take "
            "the questions out"
        )
    repeated = [] if allow_repeats else [question for question in questions if repeats(question.options)]
    if repeated:
        raise SefarMLLMError(
            f"{place}: {described(repeated)} the same option twice ({repeats(repeated[0].options)!r}), and "
            "only one of the two would be right; give each option a text of its own, as 'build-qa --recipe "
            "hard' does; finetune and evaluate take such questions with --allow-repeats"
        )


def repeats(options: Sequence[str]) -> str:
    """The first option that says the same as one before it; empty where there is none."""
    said = [" ".join(option.split()).rstrip(".").casefold() for option in options]
    return next((text for n, text in enumerate(options) if said[n] in said[:n]), "")


def described(questions: Sequence[Question]) -> str:
    """How many they are, with the first one's id."""
    if len(questions) == 1:
        return f"the question {questions[0].id!r} holds"
    return f"{len(questions)} questions ({questions[0].id!r} is the first) hold"
