"""Controls: the same model under a wrong video or moved options; who does not drop there does not look.

A control of one's own is one more entry in `CONTROLS`: ``evaluate --controls '[NAME]'`` then asks it, and the
tables of ``evaluate`` and ``compare`` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.prediction import Answer
from sefar_mllm.inference.respondent import Predictor

ONE_ORDER = "the prompt does not list the options: their order changes nothing"


@dataclass(frozen=True)
class ControlInput:
    """What a control starts from: the questions as they were given.

    Attributes:
        respondent: who answers.
        questions: the questions.
        stores: features of their clips by the order of the frames, ``filmed`` first; none for a language
            model alone.
        answers: the answers to the questions as they are.
        seed: of what a control draws.
    """

    respondent: Predictor
    questions: Sequence[Question]
    stores: Mapping[str, Any]
    answers: Sequence[Answer]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a control gave.

    Attributes:
        answers: one a question.
        note: what must be known beside its number.
        steps: answers that it was put together from, by the name of their file.
    """

    answers: Sequence[Answer]
    note: str = ""
    steps: Mapping[str, Sequence[Answer]] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes:
        label: what tables call it, behind the model's name.
        ask: asks the questions.
        frames: the order of frames whose features it needs, a key of `ControlInput.stores`; where they are
            not at hand it is not asked. Empty where it needs none.
        sees_video: whether the clip's own video is shown, with its frames or the options moved.
        check: raises for questions that it cannot be asked about, before anything is asked.
    """

    label: str
    ask: Callable[[ControlInput], Outcome]
    frames: str = "filmed"
    sees_video: bool = False
    check: Callable[[Sequence[Question]], object] | None = None

    def name(self, model: str) -> str:
        """What tables call it of a model."""
        return f"{model}: {self.label}"


def ask_without_video(given: ControlInput) -> Outcome:
    """The same prompts without their video."""
    return Outcome(given.respondent.without_video().predict(given.questions, None))


def ask_about_other_clips(given: ControlInput) -> Outcome:
    """Every clip stands for another one, of a class that is none of the options."""
    shown = other_clips(given.questions, given.seed)
    return Outcome(given.respondent.predict(given.questions, given.stores["filmed"], shown))


def ask_with_frames(order: str, given: ControlInput) -> Outcome:
    """The clips' frames in another order, from features that were extracted so."""
    return Outcome(given.respondent.predict(given.questions, given.stores[order]))


def ask_in_every_order(given: ControlInput) -> Outcome:
    """Every question in every rotation of its options; right is who is right in all."""
    runs, steps = [given.answers], {}
    if given.respondent.order_matters:
        for by in range(1, max(len(question.options) for question in given.questions)):
            moved = [shifted(question, by) for question in given.questions]
            runs.append(given.respondent.predict(moved, given.stores.get("filmed")))
            steps[f"shifted-{by}"] = runs[-1]
    note = "" if given.respondent.order_matters else ONE_ORDER
    return Outcome(circular(given.questions, runs), note, steps)


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
    shown = _permutation(classes, offered, seed) or _permutation(classes, own, seed)
    if shown is None:
        raise SefarMLLMError(
            f"the control 'another clip' needs clips of other classes to show: of {len(classes)} clips more "
            "than half are of one class"
        )
    return shown


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
    for number, clip in enumerate(clips):
        if classes[shown[number]] not in refused[clip]:
            continue
        partners = [
            other
            for other, its_clip in enumerate(clips)
            if classes[shown[other]] not in refused[clip] and classes[shown[number]] not in refused[its_clip]
        ]
        if not partners:
            return None
        partner = int(rng.choice(partners))
        shown[number], shown[partner] = shown[partner], shown[number]
    return dict(zip(clips, shown, strict=True))


def shifted(question: Question, by: int) -> Question:
    """The question with its options moved round: option ``i`` stands where option ``i - by`` stood."""
    count = len(question.options)
    order = [(position + by) % count for position in range(count)]
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
    answers = []
    for number, question in enumerate(questions):
        count = len(question.options)
        choices = [
            None if run[number].choice is None else (run[number].choice + by) % count  # type: ignore[operator]
            for by, run in enumerate(runs)
        ]
        wrong = [choice for choice in choices if choice != question.answer]
        answers.append(Answer(wrong[0] if wrong else question.answer))
    return answers


#: By the name of the file of their answers in the folder ``controls``, in the order of the tables.
CONTROLS: dict[str, Control] = {
    "no-video": Control("no video", ask_without_video),
    "other-video": Control("another clip's video", ask_about_other_clips, check=partial(other_clips, seed=0)),
    "shuffled": Control("frames shuffled", partial(ask_with_frames, "shuffled"), "shuffled", sees_video=True),
    "reversed": Control("frames reversed", partial(ask_with_frames, "reversed"), "reversed", sees_video=True),
    "blank": Control("blank video", partial(ask_with_frames, "blank"), "blank"),
    "one-frame": Control("one frame", partial(ask_with_frames, "one-frame"), "one-frame", sees_video=True),
    "circular": Control("right in every order of options", ask_in_every_order, "", sees_video=True),
}
