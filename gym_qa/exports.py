"""The verb ``export-qa``: a question file in the forms that other tools read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from gym_qa.audit import audit, load_questions
from gym_qa.cliplist import path_cell, text_cell
from gym_qa.errors import GymQAError
from gym_qa.files import plain_name, read_json, write_json_lines, write_text
from gym_qa.official import read_official, to_official, write_official
from gym_qa.questions import Question, write_questions

LETTERS = "ABCDEFGH"
ASK = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class ExportQAConfig:
    """Write questions in the form that another tool reads.

    Attributes:
        questions: a question file (.jsonl) or an official Gym-QA file (.json).
        format: ``official`` (Gym-QA's own JSON), ``datasets`` (a folder for ``datasets.load_dataset``, with
            its card), ``llava``, ``llama-factory`` or ``ms-swift`` (conversations), ``lmms-eval`` (a task
            folder) or ``vlmevalkit`` (a TSV).
        output: the file (official, llava, ms-swift, vlmevalkit) or folder (the others) to write.
        name: of the data set or task.
        split: of the ``datasets`` folder that the questions are.
        answer: what a conversation answers with: ``letter``, ``text`` or ``both``.
        videos: what is put before ``<clip id>.mp4`` in conversations.
        license: of the ``datasets`` card; FineGym's annotations are CC BY-NC 4.0.
    """

    questions: Path
    format: Literal["official", "datasets", "llava", "llama-factory", "ms-swift", "lmms-eval", "vlmevalkit"]
    output: Path
    name: str = "gym-qa"
    split: Literal["train", "validation", "test"] = "validation"
    answer: Literal["letter", "text", "both"] = "letter"
    videos: str = ""
    license: str = "cc-by-nc-4.0"


def export_qa(config: ExportQAConfig) -> None:
    """Run the verb."""
    plain_name(config.name, "--name")
    questions = load_questions(config.questions)
    for question in questions:
        if len(question.options) > len(LETTERS):
            raise GymQAError(f"{config.questions}, question {question.id}: more than {len(LETTERS)} options")
    FORMATS[config.format](questions, config)
    print(f"{len(questions)} questions written to {config.output} ({config.format})")


def prompt(question: Question, ask: str = ASK) -> str:
    """The question with lettered options and what is wanted."""
    options = (f"{letter}. {text}" for letter, text in zip(LETTERS, question.options, strict=False))
    return "\n".join([question.question, *options, ask])


def reply(question: Question, answer: str) -> str:
    """The right answer as letter, text or both."""
    letter, text = LETTERS[question.answer], question.options[question.answer]
    return {"letter": letter, "text": text, "both": f"{letter}. {text}"}[answer]


def _prompt(question: Question, config: ExportQAConfig) -> str:
    return prompt(question, ASK if config.answer == "letter" else "Answer with the option.")


def _video(question: Question, config: ExportQAConfig) -> str:
    return f"{config.videos.rstrip('/')}/{question.video}.mp4" if config.videos else f"{question.video}.mp4"


def _official(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """Gym-QA's own JSON; an official file comes out as it was read."""
    if config.questions.suffix == ".json":
        write_official(config.output, read_official(config.questions))
        return
    settings = _settings(config)
    write_official(config.output, to_official(questions, str(settings.get("dataset") or config.name)))


def _llava(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """LLaVA-NeXT's list: the visual token stands for the video named by ``video``."""
    rows = [
        {
            "id": question.id,
            "video": _video(question, config),
            "conversations": [
                {"from": "human", "value": "<image>\n" + _prompt(question, config)},
                {"from": "gpt", "value": reply(question, config.answer)},
            ],
        }
        for question in questions
    ]
    write_text(config.output, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _llama_factory(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """LLaMA-Factory: ShareGPT conversations with a ``videos`` column, and the ``dataset_info.json`` entry."""
    rows = [
        {
            "conversations": [
                {"from": "human", "value": "<video>" + _prompt(question, config)},
                {"from": "gpt", "value": reply(question, config.answer)},
            ],
            "videos": [_video(question, config)],
        }
        for question in questions
    ]
    entry = {
        "file_name": f"{config.name}.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "videos": "videos"},
    }
    write_text(config.output / f"{config.name}.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    write_text(config.output / "dataset_info.json", json.dumps({config.name: entry}, indent=1) + "\n")


def _ms_swift(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """ms-swift's standard form: ``messages`` and ``videos`` a line."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<video>" + _prompt(question, config)},
                {"role": "assistant", "content": reply(question, config.answer)},
            ],
            "videos": [_video(question, config)],
        }
        for question in questions
    ]
    write_json_lines(config.output, rows)


def _lmms_eval(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """lmms-eval: a task's YAML, its functions and its questions; run with ``--include_path FOLDER``."""
    data = config.output / "questions.jsonl"
    task = re.sub(r"\W+", "_", config.name)
    write_questions(data, questions)
    write_text(config.output / "utils.py", files("gym_qa").joinpath("lmms_eval_utils.py").read_text("utf-8"))
    write_text(
        config.output / f"{task}.yaml",
        _LMMS_TASK.format(task=_yaml(task), data=_yaml(str(data.resolve()))),
    )


_LMMS_TASK = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: !function utils.doc_to_target
generation_kwargs:
  max_new_tokens: 64
  temperature: 0
  do_sample: false
process_results: !function utils.process_results
metric_list:
  - metric: gym_qa_accuracy
    aggregation: mean
    higher_is_better: true
  - metric: unparsed_rate
    aggregation: mean
    higher_is_better: false
metadata:
  - version: 1.0
"""


def _vlmevalkit(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """VLMEvalKit: a TSV of index, video, question, the options by letter, answer, category."""
    width = max(len(question.options) for question in questions)
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(["index", "video", "question", *LETTERS[:width], "answer", "category", "l2-category"])
    for index, question in enumerate(questions):
        options = [*question.options, *[""] * (width - len(question.options))]
        answer = LETTERS[question.answer]
        texts = [text_cell(text) for text in (question.question, *options)]
        writer.writerow(
            [index, path_cell(question.video), *texts, answer, text_cell(question.event), question.set]
        )
    write_text(config.output, buffer.getvalue())


def _datasets(questions: Sequence[Question], config: ExportQAConfig) -> None:
    """A folder that ``datasets.load_dataset`` reads and ``huggingface_hub.upload_folder`` pushes."""
    rows: list[dict[str, Any]] = [asdict(question) for question in questions]
    write_json_lines(config.output / "data" / f"{config.split}.jsonl", rows)
    present = [split for split in ("train", "validation", "test") if _split_file(config, split).exists()]
    listed = "".join(f"  - split: {split}\n    path: data/{split}.jsonl\n" for split in present)
    card = _CARD.format(
        license=_yaml(config.license),
        pretty_name=_yaml(config.name),
        name=config.name,
        about=_SYNTHETIC if _settings(config).get("synthetic") else _FILMED,
        splits=listed,
        split=config.split,
        audit=audit(questions),
    )
    write_text(config.output / "README.md", card)


def _yaml(text: str) -> str:
    """A text as one line of YAML that is read as that text, whatever stands in it."""
    found = yaml.safe_dump([text], default_style='"', allow_unicode=True, width=2**30)
    return found.removeprefix("- ").rstrip("\n")


def _settings(config: ExportQAConfig) -> dict[str, Any]:
    """What ``build-qa`` says beside the questions; nothing where there is no such file."""
    beside = config.questions.parent / "config.json"
    settings = read_json(beside) if beside.exists() else {}
    return settings if isinstance(settings, dict) else {}


def _split_file(config: ExportQAConfig, split: str) -> Path:
    return config.output / "data" / f"{split}.jsonl"


_FILMED = (
    "Multiple-choice questions about short clips of actions. Videos are not included: `video` is a clip id."
)
_SYNTHETIC = (
    "Multiple-choice questions about synthetic (rendered) clips of gymnastics, not about real videos."
)

_CARD = """\
---
license: {license}
pretty_name: {pretty_name}
language:
- en
task_categories:
- multiple-choice
- visual-question-answering
tags:
- video
- fine-grained action recognition
configs:
- config_name: default
  data_files:
{splits}---

# {name}

{about}

| field | meaning |
|---|---|
| `id` | of the question |
| `video` | clip id; for FineGym `<source video>_E_<event>_A_<element>` |
| `question` | the text without options |
| `options` | texts of the options |
| `answer` | index of the right option |
| `label`, `event`, `set` | the clip's class, apparatus and set of classes |
| `option_labels` | the options' classes |
| `source` | the video that the clip was cut from |
| `dataset` | name of the data set |
| `frame_length` | frames in the clip; 0 where unknown |

## What can be answered without a video

Measured on the `{split}` split:

```
{audit}
```
"""

FORMATS: dict[str, Callable[[Sequence[Question], ExportQAConfig], None]] = {
    "official": _official,
    "datasets": _datasets,
    "llava": _llava,
    "llama-factory": _llama_factory,
    "ms-swift": _ms_swift,
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
}
