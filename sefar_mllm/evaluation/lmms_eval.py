"""Answers in the files that lmms-eval writes, for tools that read its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from string import ascii_uppercase

from gym_qa.questions.prompt import prompt
from sefar_mllm.evaluation.metrics import Headline
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.files import write_json, write_whole
from sefar_mllm.inference.prediction import Prediction

TASK = "gym_qa"  # the task that `export-qa --format lmms-eval` writes, and its metrics' names


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A line of lmms-eval's samples file, under its names."""

    doc_id: int
    target: str
    filtered_resps: str
    doc_hash: str
    input: str
    gym_qa_accuracy: float
    unparsed_rate: float


def write_lmms_layout(
    folder: Path, question_set: QuestionSet, predictions: Sequence[Prediction], headline: Headline
) -> Path:
    """Write ``MODEL/DATE_results.json`` and ``MODEL/DATE_samples_gym_qa.jsonl`` as lmms-eval does.

    Args:
        folder: what lmms-eval calls its output path.
        question_set: the questions.
        predictions: one a question, in their order.
        headline: of ``evaluate``.

    Returns:
        The folder of the model inside ``folder``.
    """
    model = headline.encoder.replace("/", "__").replace(":", "__")
    date = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
    samples = [sample(number, prediction) for number, prediction in enumerate(predictions)]
    n, accuracy = len(samples), sum(line.gym_qa_accuracy for line in samples) / len(samples)
    unparsed = sum(line.unparsed_rate for line in samples) / n
    results = {
        "results": {
            TASK: {
                "alias": TASK,
                "gym_qa_accuracy,none": accuracy,
                "gym_qa_accuracy_stderr,none": deviation(accuracy, n),
                "unparsed_rate,none": unparsed,
                "unparsed_rate_stderr,none": deviation(unparsed, n),
            }
        },
        "group_subtasks": {TASK: []},
        "configs": {TASK: {"task": TASK, "dataset_path": question_set.name, "metadata": [{"version": 1.0}]}},
        "versions": {TASK: 1.0},
        "n-shot": {TASK: 0},
        "higher_is_better": {TASK: {"gym_qa_accuracy": True, "unparsed_rate": False}},
        "n-samples": {TASK: {"original": n, "effective": n}},
        "config": {"model": "sefar_mllm", "model_args": f"pretrained={model}", **headline.options},
        "date": date,
        "sefar_mllm_version": version("sefar-mllm"),
        "model_name": model,
        "model_name_sanitized": model,
        "task_hashes": {
            TASK: digest("".join(f"sample_{i}{line.doc_hash}" for i, line in enumerate(samples)))
        },
        "total_evaluation_time_seconds": str(headline.seconds),
    }
    write_json(folder / model / f"{date}_results.json", results)
    lines = (json.dumps(asdict(line), ensure_ascii=False, allow_nan=False) + "\n" for line in samples)
    write_whole(folder / model / f"{date}_samples_{TASK}.jsonl", "".join(lines))
    return folder / model


def sample(number: int, prediction: Prediction) -> Sample:
    """A line of the samples: the reply where one was written, else the letter of the likeliest option."""
    question, choice = prediction.question, prediction.choice
    letter = "" if choice is None else ascii_uppercase[choice]
    return Sample(
        doc_id=number,
        target=ascii_uppercase[question.answer],
        filtered_resps=letter if prediction.reply is None else prediction.reply,
        doc_hash=digest(json.dumps(question.as_row(), sort_keys=True, ensure_ascii=False)),
        input=prompt(question.question, question.options),
        gym_qa_accuracy=float(choice == question.answer),
        unparsed_rate=float(choice is None),
    )


def deviation(share: float, n: int) -> float | str:
    """Standard error of a share of n; lmms-eval writes ``N/A`` where there is none."""
    return (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else "N/A"


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
