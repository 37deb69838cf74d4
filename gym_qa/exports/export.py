"""The verb ``export-qa``: a question file in the forms that other tools read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gym_qa.datasets.clip_files import clip_files
from gym_qa.errors import GymQAError
from gym_qa.exports.conversations import conversations, write_llama_factory, write_llava, write_ms_swift
from gym_qa.exports.dataset_folder import write_dataset
from gym_qa.exports.harnesses import write_lmms_eval, write_vlmevalkit
from gym_qa.files import plain_name
from gym_qa.questions.loading import load_questions
from gym_qa.questions.official import read_official, to_official, write_official
from gym_qa.questions.prompt import LETTERS
from gym_qa.questions.provenance import Provenance
from gym_qa.questions.questions import Question

log = logging.getLogger("gym_qa")


@dataclass(frozen=True)
class ExportQAConfig:
    """Write questions in the form that another tool reads.

    Videos are named as they lie on disk: as the clip lists beside the questions say, or as they are found in
    ``videos``.

    Attributes:
        questions: a question file (.jsonl) or an official Gym-QA file (.json).
        format: ``official`` (Gym-QA's own JSON), ``datasets`` (a folder for ``datasets.load_dataset``, with
            its card), ``llava``, ``llama-factory`` or ``ms-swift`` (conversations), ``lmms-eval`` (a task
            folder) or ``vlmevalkit`` (a folder with a TSV and the data set's class).
        output: the file (official, llava, ms-swift) or folder (the others) to write.
        name: of the data set or task.
        split: of the ``datasets`` folder that the questions are.
        answer: what a conversation answers with: ``letter``, ``text`` or ``both``.
        videos: folder of the clips: each clip's file is looked for there, and in conversations its path is
            put before the file's.
        license: of the ``datasets`` card; by default CC BY-NC 4.0 for FineGym's annotations, Apache-2.0 for
            MiniGym, else unknown.
    """

    questions: Path
    format: Literal["official", "datasets", "llava", "llama-factory", "ms-swift", "lmms-eval", "vlmevalkit"]
    output: Path
    name: str = "gym-qa"
    split: Literal["train", "validation", "test"] = "validation"
    answer: Literal["letter", "text", "both"] = "letter"
    videos: Path | None = None
    license: str = ""


def export_qa(config: ExportQAConfig) -> None:
    """Run the verb."""
    plain_name(config.name, "--name")
    questions = load_questions(config.questions)
    for question in questions:
        if len(question.options) > len(LETTERS):
            raise GymQAError(f"{config.questions}, question {question.id}: more than {len(LETTERS)} options")
    files: Mapping[str, str] = {}
    if config.format != "official":
        clips = dict.fromkeys(question.video for question in questions)
        files = clip_files(clips, config.questions.parent, config.videos)
    FORMATS[config.format](questions, files, config)
    log.info(f"{len(questions)} questions written to {config.output} ({config.format})")


def _official(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    """Gym-QA's own JSON; an official file comes out as it was read."""
    if config.questions.suffix == ".json":
        write_official(config.output, read_official(config.questions))
        return
    known = Provenance.beside(config.questions.parent)
    write_official(config.output, to_official(questions, known.dataset or config.name))


def _datasets(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    beside = config.questions.parent
    write_dataset(config.output, config.name, config.split, questions, files, beside, config.license)


def _llava(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    write_llava(config.output, conversations(questions, files, config.answer, config.videos))


def _llama_factory(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    turns = conversations(questions, files, config.answer, config.videos)
    write_llama_factory(config.output, config.name, turns)


def _ms_swift(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    write_ms_swift(config.output, conversations(questions, files, config.answer, config.videos))


def _lmms_eval(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    write_lmms_eval(config.output, config.name, questions, files)


def _vlmevalkit(questions: Sequence[Question], files: Mapping[str, str], config: ExportQAConfig) -> None:
    tsv = config.output if config.output.suffix == ".tsv" else config.output / f"{config.name}.tsv"
    write_vlmevalkit(tsv, questions, files)


FORMATS: dict[str, Callable[[Sequence[Question], Mapping[str, str], ExportQAConfig], None]] = {
    "official": _official,
    "datasets": _datasets,
    "llava": _llava,
    "llama-factory": _llama_factory,
    "ms-swift": _ms_swift,
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
}
