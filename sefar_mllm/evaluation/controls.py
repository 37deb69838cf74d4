"""Controls: the same model under a wrong video or moved options; who does not drop there does not look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.answers import Answer


def other_clips(questions: Sequence[Question], seed: int) -> dict[str, str]:
    """For the control "another clip's video": each clip is shown another one, and each is shown once.

    The shown clip is of a class that is none of the asked-about clip's options, so that a model which names
    what it sees has to guess. Where the classes are too few for that, it is merely of another class.

    Args:
        questions: the questions; the right option's text is the class of their clip.
        seed: another seed, other clips.

    Returns:
        Asked-about clip → shown clip, a permutation without a fixed point.

    Raises:
        SefarMLLMError: when more than half of the clips are of one class.
    """
    classes = {question.video: question.options[question.answer] for question in questions}
    own = {clip: {name} for clip, name in classes.items()}
    offered: dict[str, set[str]] = {clip: set() for clip in classes}
    for question in questions:
        offered[question.video] |= set(question.options)
    found = _permutation(classes, offered, seed) or _permutation(classes, own, seed)
    if found is None:
        raise SefarMLLMError(
            f"the control 'another clip' needs clips of other classes to show: of {len(classes)} clips more "
            "than half are of one class"
        )
    return found


def _permutation(
    classes: Mapping[str, str], refused: Mapping[str, set[str]], seed: int
) -> dict[str, str] | None:
    """A random permutation under which no clip is shown a class that it refuses; None where none is found.

    Starts from any permutation and swaps away each clip that refuses what it is shown. Where every clip
    refuses its own class alone, and no class has more than half of the clips, a partner always exists: at
    most 2m - 1 of n clips are of, or are shown, a class of m <= n / 2 clips, counting the clip itself once.
    """
    clips = sorted(classes)
    rng = np.random.default_rng(seed)
    shown = rng.permutation(clips).tolist()
    for place, clip in enumerate(clips):
        if classes[shown[place]] not in refused[clip]:
            continue
        partners = [
            other
            for other, asked in enumerate(clips)
            if classes[shown[other]] not in refused[clip] and classes[shown[place]] not in refused[asked]
        ]
        if not partners:
            return None
        partner = int(rng.choice(partners))
        shown[place], shown[partner] = shown[partner], shown[place]
    return dict(zip(clips, shown, strict=True))


def shifted(question: Question, by: int) -> Question:
    """The question with its options moved round: option ``i`` stands where option ``i - by`` stood."""
    count = len(question.options)
    order = [(place + by) % count for place in range(count)]
    return replace(
        question,
        options=tuple(question.options[old] for old in order),
        answer=order.index(question.answer),
        option_labels=tuple(question.option_labels[old] for old in order) if question.option_labels else (),
    )


def circular(questions: Sequence[Question], runs: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Circular evaluation (MMBench, Liu et al. 2023): right is who is right in every rotation.

    Args:
        questions: the questions as they stand in their file.
        runs: the answers under shifts 0, 1, 2, …, each to the questions ``shifted`` so far.

    Returns:
        The right choice where every order was answered right, else the first wrong one; as an index of the
        question's own options.
    """
    found = []
    for number, question in enumerate(questions):
        count = len(question.options)
        choices = [
            None if run[number].choice is None else (run[number].choice + by) % count  # type: ignore[operator]
            for by, run in enumerate(runs)
        ]
        wrong = [choice for choice in choices if choice != question.answer]
        found.append(Answer(wrong[0] if wrong else question.answer))
    return found
