"""A classifier of texts that learns which option is right: what a file's wording gives away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from gym_qa.audit.halves import Preferences
from gym_qa.questions.questions import Question

_WORD = re.compile(r"\w+(?:\.\d+)?")
QUESTION_WORDS = 24  # of a long question only the first are crossed with the options' words


def learn_text(training: Sequence[Question]) -> Callable[[Sequence[Question]], Preferences]:
    """Logistic regression: is this option right? See `option_features` for what it goes by."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression

    hasher = FeatureHasher(2**18, input_type="string", alternate_sign=False)

    def rows(questions: Sequence[Question]) -> Iterator[list[str]]:
        for question in questions:
            yield from option_features(question)

    right = [place == question.answer for question in training for place in range(len(question.options))]
    model = LogisticRegression(solver="liblinear").fit(hasher.transform(rows(training)), right)

    def guess(questions: Sequence[Question]) -> Preferences:
        scores = model.decision_function(hasher.transform(rows(questions)))
        ends = np.cumsum([len(question.options) for question in questions])
        return [part.tolist() for part in np.split(scores, ends[:-1])]

    return guess


def option_features(question: Question) -> Iterator[list[str]]:
    """Of each option what holds of it.

    That is its place, text, words, pairs of words, its words beside the question's, and how it compares to
    the others in length and in words that others have too.
    """
    asked = list(dict.fromkeys(_WORD.findall(question.question.lower())))[:QUESTION_WORDS]
    words = [_WORD.findall(text.lower()) for text in question.options]
    lengths = [len(text) for text in question.options]
    shared = [len(set(own) & {w for other in words if other is not own for w in other}) for own in words]
    for place, own in enumerate(words):
        yield [
            f"place {place} of {len(words)}",
            f"text {question.options[place].strip().lower()}",
            f"longer than {sum(length < lengths[place] for length in lengths)}",
            f"shorter than {sum(length > lengths[place] for length in lengths)}",
            f"shares more than {sum(count < shared[place] for count in shared)}",
            *own,
            *(f"{first} {second}" for first, second in pairwise(own)),
            *(f"{word}? {answer}" for word in asked for answer in own),
        ]
