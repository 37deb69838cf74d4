"""Whether questions and classes belong together: labels, events and texts of one set, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gym_qa.datasets.table import ActionClass, Clip
from gym_qa.errors import GymQAError
from gym_qa.questions.questions import Question


def check_classes(questions: Sequence[Question], classes: Sequence[ActionClass], place: Path) -> None:
    """Refuse questions about the classes of another set.

    Args:
        questions: with labels, or (official files) with texts alone.
        classes: what the labels should index and the texts should name.
        place: the questions' file.

    Raises:
        GymQAError: naming the first question whose label is beyond the classes, whose event is not its
            label's, or whose right option names no class; and how many there are.
    """
    texts = {action.text for action in classes}
    faults = [(question.id, fault) for question in questions if (fault := _fault(question, classes, texts))]
    if faults:
        name, fault = faults[0]
        raise GymQAError(
            f"{place}, question {name}: {fault}; {len(faults)} of {len(questions)} questions disagree like "
            "this. Use the classes that belong to the questions"
        )


def _fault(question: Question, classes: Sequence[ActionClass], texts: set[str]) -> str:
    beyond = max(question.label, *question.option_labels, -1)
    if beyond >= len(classes):
        return f"label {beyond} is beyond the {len(classes)} classes"
    if question.label < 0:
        right = question.options[question.answer].strip()
        return "" if right in texts else f"{right!r:.80} is no class of them"
    event = classes[question.label].event
    if question.event and event and question.event != event:
        return f"it is about {question.event}, but label {question.label} is a class of {event}"
    return ""


def check_labels(
    clips: Sequence[Clip], questions: Sequence[Question], classes: Sequence[ActionClass], place: Path
) -> None:
    """Refuse labelled clips whose label names another class than the questions about the same clips.

    Raises:
        GymQAError: naming the first such clip and how many there are.
    """
    right = {question.video: question.options[question.answer].strip() for question in questions}
    wrong = [clip for clip in clips if right.get(clip.clip_id, text := classes[clip.label].text) != text]
    if wrong:
        raise GymQAError(
            f"{place}: {wrong[0].clip_id} has label {wrong[0].label}, "
            f"{classes[wrong[0].label].text!r}, but the question about it has the answer "
            f"{right[wrong[0].clip_id]!r}; {len(wrong)} of {len(clips)} clips disagree like this. "
            "Use the classes that belong to the list"
        )
