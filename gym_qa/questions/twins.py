"""Twins: two clips whose classes differ in one attribute, asked the same question with the same two options.

Whoever sees the texts alone sees the same twice, so it is right in one question of every pair and in both
questions of none: half of the questions by any rule, and a quarter of the pairs by tossing a coin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from gym_qa.dice import by_chance
from gym_qa.questions.questions import Question


def paired(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """The questions that have a twin, in their order; ``pair`` is the id of the one whose answer is A.

    Args:
        questions: with two options each; those with the same options in the same order can be twins.
        seed: decides between questions that serve equally well.
    """
    by_options: dict[Hashable, tuple[list[Question], list[Question]]] = defaultdict(lambda: ([], []))
    for question in sorted(questions, key=lambda question: by_chance(seed, question.id)):
        key = (question.question, question.options, question.option_labels)
        by_options[key][question.answer].append(question)
    pair: dict[str, str] = {}
    for first, second in by_options.values():
        for twin, other in zip(first, second, strict=False):
            pair[twin.id] = pair[other.id] = twin.id
    return [replace(question, pair=pair[question.id]) for question in questions if question.id in pair]
