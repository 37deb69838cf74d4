"""What labels tell a guesser before it has seen a video: how common each class is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gym_qa.datasets.cliplist import read_labels
from gym_qa.datasets.table import ActionClass, Clip, read_classes
from gym_qa.errors import GymQAError
from gym_qa.questions.loading import load_questions
from gym_qa.questions.matching import check_labels
from gym_qa.questions.questions import Question


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


def counts_of(clips: Iterable[Clip], classes: Sequence[ActionClass]) -> LabelledCounts:
    """Class counts of labelled clips."""
    by_label = Counter(clip.label for clip in clips)
    by_text: Counter[str] = Counter()
    for label, count in by_label.items():
        by_text[classes[label].text] += count
    return LabelledCounts(by_label, by_text)


def counts_of_questions(questions: Iterable[Question]) -> LabelledCounts:
    """Class counts of the right answers of labelled questions."""
    by_label: Counter[int] = Counter()
    by_text: Counter[str] = Counter()
    for question in questions:
        by_text[question.options[question.answer].strip()] += 1
        if question.label >= 0:
            by_label[question.label] += 1
    return LabelledCounts(by_label, by_text)


def load_labelled(
    path: Path, classes: Sequence[ActionClass] | None, asked: Sequence[Question] = ()
) -> tuple[LabelledCounts, list[Question] | None]:
    """Read class counts from a clip list, or from a question file together with its questions.

    Args:
        path: the clip list or question file.
        classes: what a clip list's labels index; by default the ``classes.json`` beside it.
        asked: questions that may be about some of the same clips: they must agree with the labels.
    """
    if path.suffix in (".json", ".jsonl"):
        questions = load_questions(path)
        return counts_of_questions(questions), questions
    if classes is None and (path.parent / "classes.json").exists():
        classes = read_classes(path.parent / "classes.json")
    if classes is None:
        raise GymQAError(
            f"{path}: labels need names; give --categories, or the labelled clips' question file"
        )
    clips = []
    for line, clip_id, label in read_labels(path):
        if label >= len(classes):
            raise GymQAError(f"{path}, line {line}: label {label} is beyond the {len(classes)} classes given")
        clips.append(Clip(clip_id, "", label))
    check_labels(clips, asked, classes, path)
    return counts_of(clips, classes), None
