"""A folder that ``datasets.load_dataset`` reads and can be pushed to the Hugging Face Hub, with its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gym_qa.audit.audit import audit
from gym_qa.audit.guessers import QUICK
from gym_qa.audit.labelled import counts_of_questions
from gym_qa.datasets.sources import DATASETS
from gym_qa.datasets.table import ActionClass, read_classes
from gym_qa.files import write_json_lines, write_text
from gym_qa.questions.provenance import Provenance
from gym_qa.questions.questions import Question, read_questions

SPLITS = ("train", "validation", "test")
UNKNOWN = "unknown"


def write_dataset(
    folder: Path,
    name: str,
    split: str,
    questions: Sequence[Question],
    files: Mapping[str, str],
    beside: Path,
    license: str = "",
) -> None:
    """Write one split, and the card of all splits that are in the folder.

    Args:
        folder: where to; other splits in it stay.
        name: of the data set.
        split: ``train``, ``validation`` or ``test``.
        questions: of this split.
        files: clip id → file below the folder of the clips.
        beside: the folder of the question file, in which ``build-qa`` leaves ``config.json`` and
            ``classes.json``.
        license: for the card; by default that of the annotations the questions come from, as far as known.
    """
    rows = (question.as_row() | {"file": files[question.video]} for question in questions)
    write_json_lines(folder / "data" / f"{split}.jsonl", rows)
    parts = {part: file for part in SPLITS if (file := folder / "data" / f"{part}.jsonl").exists()}
    source = source_of(questions, beside)
    head: dict[str, Any] = {
        "language": ["en"],
        "task_categories": ["multiple-choice", "visual-question-answering"],
        "tags": ["video", "fine-grained action recognition"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": part, "path": f"data/{part}.jsonl"} for part in parts],
            }
        ],
    }
    classes = read_classes(beside / "classes.json") if (beside / "classes.json").is_file() else None
    body = _BODY.format(
        name=name,
        about=_SYNTHETIC if source == "minigym" else _FILMED,
        audits=audits({part: read_questions(file) for part, file in parts.items()}, classes),
    )
    lines = [
        f"license: {one_line(license or (DATASETS[source].license if source in DATASETS else UNKNOWN))}",
        f"pretty_name: {one_line(name)}",
        yaml.safe_dump(head, sort_keys=False),
    ]
    write_text(folder / "README.md", "---\n" + "\n".join(lines) + f"---\n{body}")


def one_line(text: str) -> str:
    """A text as one line of YAML that is read as that text, whatever stands in it."""
    line = yaml.safe_dump([text], default_style='"', allow_unicode=True, width=2**30)
    return line.removeprefix("- ").rstrip("\n")


def source_of(questions: Sequence[Question], folder: Path) -> str:
    """The data set that questions are about, as they or ``build-qa`` say."""
    known = Provenance.beside(folder)
    if known.synthetic:
        return "minigym"
    named = {question.dataset for question in questions} - {""}
    return named.pop() if len(named) == 1 else known.dataset or UNKNOWN


def audits(splits: Mapping[str, Sequence[Question]], classes: Sequence[ActionClass] | None) -> str:
    """What every split gives away, its training split (if any) taken for the labelled clips."""
    training, parts = splits.get("train"), []
    for split, questions in splits.items():
        others = training if split != "train" else None
        labels = max(max(question.option_labels, default=-1) for question in questions)
        report = audit(
            questions,
            counts_of_questions(others) if others else None,
            classes if classes and labels < len(classes) else None,
            others,
            QUICK,
        )
        parts.append(f"Measured on the `{split}` split:\n\n```\n{report}\n```\n")
    return "\n".join(parts)


_FILMED = (
    "Multiple-choice questions about short clips of actions. Videos are not included: `video` is a clip id."
)
_SYNTHETIC = (
    "Multiple-choice questions about synthetic (rendered) clips of gymnastics, not about real videos. Clips "
    "are not included: `video` is a clip id, and `sefar-mllm make-minigym` renders them."
)

_BODY = """\

# {name}

{about}

| field | meaning |
|---|---|
| `id` | of the question |
| `video` | clip id; for FineGym `<source video>_E_<event>_A_<element>` |
| `file` | the clip's file below the folder of the clips |
| `question` | the text without options |
| `options` | texts of the options |
| `answer` | index of the right option |
| `label`, `event`, `set` | the clip's class, apparatus and set of classes |
| `option_labels` | the options' classes |
| `source` | the video that the clip was cut from |
| `dataset` | name of the data set |
| `frame_length` | frames in the clip; 0 where unknown |

## What can be answered without a video

{audits}"""
