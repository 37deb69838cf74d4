"""The verb ``score``: answers made elsewhere, with the same statistics and model-free controls as our own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sefar_mllm.evaluation.metrics import AnswerSet, difference
from sefar_mllm.evaluation.prediction_file import read_answer_file
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.report import print_scores, write_scores

log = logging.getLogger("sefar_mllm")


@dataclass(frozen=True)
class ScoreConfig:
    """Score answers to a question file, whatever made them.

    Attributes:
        predictions: CSV, TSV, .xlsx, JSON lines or a JSON list of rows with ``id`` and ``prediction`` (or
            ``choice``), every question exactly once; also our own predictions.jsonl and, as they are, the
            files of VLMEvalKit, lmms-eval, LLaMA-Factory, ms-swift and LLaVA. Rows without ids are taken in
            the questions' order if there is one for each, which is said. Replies are read strictly; what
            cannot be read is wrong.
        questions: the question file that was answered.
        seeds: answers of the same model from other training seeds; accuracy is then their mean, with the
            spread.
        against: answers of another model to the same questions: the difference is tested.
        output: folder for results.json, metrics.json, report.html and report.md; none prints the table alone.
        labelled: the labelled clips (list or question file) for the control "commonest class"; by default
            train.csv beside the questions.
        video_root: folder of the clips, to show frames of wrong answers in the report.
        name: what tables call the model; by default the predictions file.
        seed: of the resampling.
    """

    predictions: Path
    questions: Path
    seeds: list[Path] = field(default_factory=list)
    against: Path | None = None
    output: Path | None = None
    labelled: Path | None = None
    video_root: Path | None = None
    name: str | None = None
    seed: int = 0


def score(config: ScoreConfig) -> AnswerSet:
    """Run the verb. Returns the answers that were scored.

    Raises:
        SefarMLLMError: for a file that does not answer every question exactly once.
        GymQAError: for a file that cannot be read.
    """
    question_set = QuestionSet.open(config.questions, config.labelled)
    files = [config.predictions, *config.seeds]
    name = config.name or shown_name(config.predictions)
    answer_sets = [read_answer_set(name, files, question_set)]
    comparisons = []
    if config.against is not None:
        other = shown_name(config.against)
        other = f"{other} (against)" if other == name else other
        answer_sets.append(read_answer_set(other, [config.against], question_set))
        test = difference(answer_sets[0], answer_sets[1], question_set, config.seed)
        comparisons = [test] if test else []
    if config.output is None:
        rows = [answers.row(question_set) for answers in answer_sets] + question_set.model_free_rows()
    else:
        rows = write_scores(
            config.output,
            f"Answers to {question_set.name}",
            question_set,
            answer_sets,
            comparisons,
            video_root=config.video_root,
            settings={key: str(value) for key, value in asdict(config).items()},
            seed=config.seed,
        )
    print_scores(rows, comparisons)
    if config.output is not None:
        print(f"open {config.output / 'report.html'}")
    return answer_sets[0]


def read_answer_set(name: str, files: Sequence[Path], question_set: QuestionSet) -> AnswerSet:
    """The answers of a model, one file a seed."""
    read = [read_answer_file(file, question_set.questions) for file in files]
    for file, content in zip(files, read, strict=True):
        if content.by_order:
            count = len(content.answers)
            log.info("%s: without ids; its %d answers are taken in the questions' order", file, count)
    note = "taken in the questions' order" if any(content.by_order for content in read) else ""
    return AnswerSet(name, tuple(content.answers for content in read), note=note)


def shown_name(file: Path) -> str:
    """A predictions file's name in tables: its folder's for our own, else its own."""
    return file.parent.name if file.name == "predictions.jsonl" and file.parent.name else file.stem
