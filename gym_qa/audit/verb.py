"""The verb ``audit-qa``: anyone's question file, measured without a video."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gym_qa.audit.audit import Audit, audit
from gym_qa.audit.labelled import load_labelled
from gym_qa.audit.page import page
from gym_qa.datasets.finegym import read_categories
from gym_qa.datasets.table import ActionClass, read_classes
from gym_qa.files import write_text
from gym_qa.questions.loading import read_question_file
from gym_qa.questions.matching import check_classes
from gym_qa.questions.published import Columns

log = logging.getLogger("gym_qa")


@dataclass(frozen=True)
class AuditQAConfig:
    """Measure what a question file gives away without a video.

    Attributes:
        questions: a question file (.jsonl) or an official Gym-QA file (.json); a file or folder of
            MotionBench, FAVOR-Bench, TimeBlind, TOMATO, TVBench, VideoNet, SPORTU or VLMEvalKit as they are
            published; or any table (.json, .jsonl, .csv, .tsv, .parquet), a folder of tables, or one that
            ``datasets`` saved.
        labelled: the labelled clips, as a clip list (with a header or without) or as their question file;
            needed for the commonest class.
        categories: FineGym's categories file, or a ``classes.json``; by default the ``classes.json`` beside
            the questions, if there is one. Needed for the event oracle, and to read a clip list's labels.
        fields: what the columns of a table are called: ``question=Q,options=A+B+C+D,answer=key``, also
            ``id``, ``video``, ``group`` (kind of question) and ``pair``. Without ``options`` they are looked
            for in the question's text.
        page: write the audit as a page of Markdown to this file too.
        json: print JSON instead of a table.
    """

    questions: Path
    labelled: Path | None = None
    categories: Path | None = None
    fields: str | None = None
    page: Path | None = None
    json: bool = False


def audit_qa(config: AuditQAConfig) -> Audit:
    """Run the audit and print it."""
    file = read_question_file(config.questions, Columns.parse(config.fields) if config.fields else None)
    classes = _load_classes(config)
    if classes:
        check_classes(file.questions, classes, config.questions)
    labelled, training = None, None
    if config.labelled:
        labelled, training = load_labelled(config.labelled, classes, file.questions)
    report = audit(file.questions, labelled, classes, training)
    if config.page:
        write_text(config.page, page(report, config.questions.name, file.form, file.left_out))
        log.info(f"page written to {config.page}")
    print(json.dumps(report.as_json(), indent=1) if config.json else report)
    return report


def _load_classes(config: AuditQAConfig) -> Sequence[ActionClass] | None:
    if config.categories is None:
        beside = (config.questions if config.questions.is_dir() else config.questions.parent) / "classes.json"
        return read_classes(beside) if beside.exists() else None
    if config.categories.suffix == ".json":
        return read_classes(config.categories)
    return [action for _, action in read_categories(config.categories)]
