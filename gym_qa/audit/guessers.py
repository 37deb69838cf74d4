"""Guessers that never see a video: what a question file gives away by itself.

A guesser gives every option of a question a preference; of several options that it prefers alike it picks
one at random, so its expected credit is 1 divided by their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from gym_qa.datasets.table import ActionClass
from gym_qa.questions.questions import Question

Preference = Callable[[Question], Sequence[float]]


@dataclass(frozen=True)
class LabelledCounts:
    """How often each class labels a labelled clip: by label where labels are known, and by option text."""

    by_label: Mapping[int, int]
    by_text: Mapping[str, int]

    def preference(self, question: Question) -> Sequence[float]:
        """The commonest class among the labelled."""
        if self.by_label and question.option_labels:
            return [self.by_label.get(label, 0) for label in question.option_labels]
        return [self.by_text.get(text.strip(), 0) for text in question.options]


def credit(preferences: Sequence[float], answer: int) -> float:
    """Expected credit of a guesser with these preferences, in [0, 1]."""
    best = max(preferences)
    return 1 / sum(value == best for value in preferences) if preferences[answer] == best else 0.0


def chance(question: Question) -> Sequence[float]:
    """No preference."""
    return [0.0] * len(question.options)


def majority_letter(questions: Sequence[Question]) -> Preference:
    """The letter that is right most often in this very file."""
    letters = Counter(question.answer for question in questions)
    return lambda question: [letters[place] for place in range(len(question.options))]


def longest_option(question: Question) -> Sequence[float]:
    """The option with most characters."""
    return [len(text) for text in question.options]


def typical_option(question: Question) -> Sequence[float]:
    """The option that shares most words with the others: the one they were made from, if they were."""
    words = [set(text.lower().split()) for text in question.options]
    return [sum(len(one & other) / max(1, len(one | other)) for other in words) for one in words]


def event_oracle(classes: Sequence[ActionClass]) -> Preference:
    """Knows the apparatus from a glance and guesses among the options of that apparatus."""
    events: dict[str, set[str]] = {}
    for action in classes:
        events.setdefault(action.text, set()).add(action.event)

    def preference(question: Question) -> Sequence[float]:
        if question.option_labels:
            found = [{classes[label].event} for label in question.option_labels]
        else:
            found = [events.get(text.strip(), set()) for text in question.options]
        right = {question.event} if question.event else found[question.answer]
        return [float(bool(option & right)) for option in found]

    return preference


def learned_prior(training: Sequence[Question]) -> Preference:
    """How often each class wins when it is among the options of training questions made in the same way.

    This is what a language model can learn from its training questions without looking at any video.
    """
    wins: Counter[Hashable] = Counter()
    shown: Counter[Hashable] = Counter()
    labelled = all(question.option_labels for question in training)

    def keys(question: Question) -> Sequence[Hashable]:
        return question.option_labels if labelled else [text.strip() for text in question.options]

    for question in training:
        shown.update(keys(question))
        wins[keys(question)[question.answer]] += 1

    def preference(question: Question) -> Sequence[float]:
        # One win in four (options) is what a class that training never showed is taken for.
        return [(wins[key] + 1) / (shown[key] + len(question.options)) for key in keys(question)]

    return preference
