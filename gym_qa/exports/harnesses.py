"""Questions as a task of lmms-eval and as a data set of VLMEvalKit: folders that can be moved."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path

from gym_qa.datasets.cliplist import path_cell, text_cell
from gym_qa.files import write_json_lines, write_text
from gym_qa.questions.prompt import LETTERS
from gym_qa.questions.questions import Question

#: What reads replies here, word for word there: path here → name there.
READERS = {"questions/prompt.py": "prompt.py", "questions/reply.py": "reply.py"}


def write_lmms_eval(folder: Path, name: str, questions: Sequence[Question], files: Mapping[str, str]) -> None:
    """A task's YAML, its functions and its questions; run with ``--include_path FOLDER``.

    Args:
        folder: where to.
        name: of the task; what is no letter or digit in it becomes ``_``.
        questions: what is asked.
        files: clip id → file below the folder of the clips.
    """
    task = re.sub(r"\W+", "_", name)
    rows = (question.as_row() | {"file": files[question.video]} for question in questions)
    write_json_lines(folder / "questions.jsonl", rows)
    _copy(folder, {**READERS, "exports/lmms_eval_utils.py": "utils.py"})
    write_text(folder / f"{task}.yaml", _LMMS_TASK.format(task=json.dumps(task)))


#: lmms-eval 0.7.3 looks for the file of the questions beside the YAML; replies reach the reader as they are.
_LMMS_TASK = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: questions.jsonl
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: !function utils.doc_to_target
generation_kwargs:
  max_new_tokens: 64
  temperature: 0
  do_sample: false
reasoning_tags: "none"
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


def write_vlmevalkit(tsv: Path, questions: Sequence[Question], files: Mapping[str, str]) -> None:
    """A TSV, and beside it the data set class without which VLMEvalKit would not show the videos.

    The options are one cell of JSON: pandas reads a cell ``None`` or ``NA`` as missing, and VLMEvalKit takes
    a TSV with columns A and B and no image for a test of text.

    Args:
        tsv: where to; the data set is called like it.
        questions: what is asked.
        files: clip id → file below the folder of the clips.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(["index", "id", "video", "question", "options", "answer", "category", "l2-category"])
    for index, asked in enumerate(questions):
        options, answer = json.dumps(asked.options, ensure_ascii=False), LETTERS[asked.answer]
        name, question, event = map(text_cell, (asked.id, asked.question, asked.event))
        video = path_cell(files[asked.video])
        writer.writerow([index, name, video, question, options, answer, event, asked.set])
    own = {f"exports/{name}": name for name in ("vlmeval_dataset.py", "spreadsheet.py")}
    _copy(tsv.parent, READERS | own)
    write_text(tsv, buffer.getvalue())


def _copy(folder: Path, names: Mapping[str, str]) -> None:
    """Files of this room, word for word; path here → name there."""
    for here, there in names.items():
        write_text(folder / there, resources("gym_qa").joinpath(here).read_text("utf-8"))
