"""Guessers that never see a video: what a question file gives away by itself.

A guesser gives every option of a question a preference; of several options that it prefers alike it picks
one at random, so its expected credit is 1 divided by their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from gym_qa.audit.classifier import learn_text
from gym_qa.audit.halves import Preferences, learnt_elsewhere
from gym_qa.audit.labelled import LabelledCounts
from gym_qa.datasets.table import ActionClass
from gym_qa.questions.questions import Question

Preference = Callable[[Question], Sequence[float]]


@dataclass(frozen=True)
class Evidence:
    """What guessers may know.

    Attributes:
        questions: those that are guessed at.
        labelled: class counts among the labelled clips.
        classes: the classes.
        training: questions about the labelled clips.
    """

    questions: Sequence[Question]
    labelled: LabelledCounts | None = None
    classes: Sequence[ActionClass] | None = None
    training: Sequence[Question] | None = None


@dataclass(frozen=True)
class Guesser:
    """One way to guess.

    Attributes:
        preferences: what it prefers in each question; None where it lacks what it must know.
        remedy: what to give it then.
        about: what it does, for a reader of the figures.
    """

    preferences: Callable[[Evidence], Preferences | None]
    about: str
    remedy: str = ""


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


def commonest_answer(training: Sequence[Question]) -> Callable[[Sequence[Question]], Preferences]:
    """The text that is the right answer most often."""
    wins = Counter(question.options[question.answer].strip() for question in training)
    return lambda questions: [[wins[text.strip()] for text in question.options] for question in questions]


def _each(preference: Preference | None, evidence: Evidence) -> Preferences | None:
    return None if preference is None else [preference(question) for question in evidence.questions]


def _option_prior(training: Sequence[Question]) -> Callable[[Sequence[Question]], Preferences]:
    prior = learned_prior(training)
    return lambda questions: [prior(question) for question in questions]


#: Guessers that take no time; the classifier of texts takes a second for every few hundred questions.
QUICK = (
    "majority letter",
    "commonest class",
    "event oracle",
    "longest option",
    "typical option",
    "learned prior",
    "commonest answer",
    "option prior",
)
_ONE_VIDEO = "questions about at least two videos are needed"
#: Name → guesser, chance first; those that need labels say so.
GUESSERS: dict[str, Guesser] = {
    "chance": Guesser(lambda known: _each(chance, known), "any option"),
    "majority letter": Guesser(
        lambda known: _each(majority_letter(known.questions), known), "the letter that is right most often"
    ),
    "commonest class": Guesser(
        lambda known: _each(known.labelled.preference if known.labelled else None, known),
        "the option with most labelled clips",
        "give --labelled",
    ),
    "event oracle": Guesser(
        lambda known: _each(event_oracle(known.classes) if known.classes else None, known),
        "an option of the right event, which it knows",
        "give --categories",
    ),
    "longest option": Guesser(lambda known: _each(longest_option, known), "the option with most characters"),
    "typical option": Guesser(
        lambda known: _each(typical_option, known), "the option that shares most words with the others"
    ),
    "learned prior": Guesser(
        lambda known: _each(learned_prior(known.training) if known.training else None, known),
        "the option that is right most often where training questions show it",
        "give the labelled clips' question file as --labelled",
    ),
    "commonest answer": Guesser(
        lambda known: learnt_elsewhere(known.questions, commonest_answer),
        "the text that is right most often in the other half",
        _ONE_VIDEO,
    ),
    "option prior": Guesser(
        lambda known: learnt_elsewhere(known.questions, _option_prior),
        "the option that is right most often where the other half shows it",
        _ONE_VIDEO,
    ),
    "text classifier": Guesser(
        lambda known: learnt_elsewhere(known.questions, learn_text),
        "logistic regression over the texts of the other half",
        _ONE_VIDEO,
    ),
}
