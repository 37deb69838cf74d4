"""The verb ``score``: answers made elsewhere, with the same statistics and model-free controls as our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sefar_mllm.evaluation.answer_report import print_scores, write_scores
from sefar_mllm.evaluation.answers import read_answer_file
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.scored import Scored, difference


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


def score(config: ScoreConfig) -> Scored:
    """Run the verb. Returns what was scored.

    Raises:
        SefarMLLMError: for a file that does not answer every question exactly once.
        GymQAError: for a file that cannot be read.
    """
    asked = QuestionSet.open(config.questions, config.labelled)
    files = [config.predictions, *config.seeds]
    name = config.name or shown_name(config.predictions)
    scored = [read_scored(name, files, asked)]
    comparisons = []
    if config.against is not None:
        other = shown_name(config.against)
        other = f"{other} (against)" if other == name else other
        scored.append(read_scored(other, [config.against], asked))
        tested = difference(scored[0], scored[1], asked, config.seed)
        comparisons = [tested] if tested else []
    if config.output is None:
        rows = [one.row(asked) for one in scored] + asked.model_free_rows()
    else:
        rows = write_scores(
            config.output,
            f"Answers to {asked.name}",
            asked,
            scored,
            comparisons,
            video_root=config.video_root,
            settings={key: str(value) for key, value in asdict(config).items()},
            seed=config.seed,
        )
    print_scores(rows, comparisons)
    if config.output is not None:
        print(f"open {config.output / 'report.html'}")
    return scored[0]


def read_scored(name: str, files: Sequence[Path], asked: QuestionSet) -> Scored:
    """The answers of a model, one file a seed."""
    read = [read_answer_file(file, asked.questions) for file in files]
    for file, found in zip(files, read, strict=True):
        if found.by_order:
            print(f"{file}: without ids; its {len(found.answers)} answers are taken in the questions' order")
    note = "taken in the questions' order" if any(found.by_order for found in read) else ""
    return Scored(name, tuple(found.answers for found in read), note=note)


def shown_name(file: Path) -> str:
    """A predictions file's name in tables: its folder's for our own, else its own."""
    return file.parent.name if file.name == "predictions.jsonl" and file.parent.name else file.stem
