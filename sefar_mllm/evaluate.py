"""Evaluating a fine-tuned model on a question file, by likelihood or generation, from stored features."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from encoder.store import FeatureStore
from gym_qa.questions import Question, read_questions
from sefar_mllm.checkpoint import check_encoder
from sefar_mllm.dataset import check_clips
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.generation import generate_replies, read_answer
from sefar_mllm.language_model import Precision, resolve_dtype
from sefar_mllm.model import SefarMLLM
from sefar_mllm.multiple_choice import Score, choose, headline, other_clips, score_questions
from sefar_mllm.statistics import wilson_interval


@dataclass(frozen=True)
class EvaluateConfig:
    """Answer the questions of a file with a fine-tuned model, by likelihood and if wanted by generation.

    Args:
        checkpoint: folder that fine-tuning wrote.
        questions: question file.
        output: folder for predictions.jsonl (a line per question) and metrics.json.
        features: feature store of the questions' clips; not needed by a model trained without video.
        video: own shows each question's clip; the controls are none (no video in the prompt) and other
            (another clip's features).
        score: what decides: letter, text_sum, text_mean, text_pmi, generated; auto takes the answer format's
            own: letter for letter, text_sum for text and both, text_pmi where the prompt does not list the
            options. All likelihoods are written down; this one is the headline.
        generate: also let the model write its answer, read strictly; what cannot be read is wrong and shows
            as unparsed_rate. Implied by score generated.
        pmi: also compute text_pmi, which runs the prompts once more without video.
        batch_size: questions run at a time; changes the speed, not the scores.
        precision: of weights and matrix products; auto is bf16 where the hardware multiplies in it.
        device: auto, or a torch device.
        seed: of the clips shown by video=other.
    """

    checkpoint: Path
    questions: Path
    output: Path
    features: Path | None = None
    video: Literal["own", "none", "other"] = "own"
    score: Score | Literal["auto", "generated"] = "auto"
    generate: bool = False
    pmi: bool = True
    batch_size: int = 16
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Write predictions.jsonl and metrics.json into the output folder. Returns the metrics.

    Raises:
        SefarMLLMError: when checkpoint, questions and features do not fit one another.
    """
    questions = read_questions(config.questions)
    store = FeatureStore.open(config.features) if config.features and config.video != "none" else None
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(automatic if config.device == "auto" else config.device)
    model = SefarMLLM.from_pretrained(config.checkpoint, resolve_dtype(config.precision, device), device)
    likelihood: Score | Literal["auto"] = "auto" if config.score == "generated" else config.score
    score = headline(model, likelihood, config.video != "none")
    if score == "text_pmi" and not config.pmi:
        raise SefarMLLMError("score text_pmi needs pmi: true")
    if store is not None:
        check_encoder(model.settings, store.fingerprint, str(config.features))
        check_clips(questions, store, str(config.features))
    elif model.projector is not None and config.video != "none":
        raise SefarMLLMError(
            f"{config.checkpoint}: was trained with video; name its features, or set video: none "
            "for the control"
        )
    clips = other_clips(questions, config.seed) if config.video == "other" else None
    started = time.perf_counter()
    with autocast(model, device):
        scores = score_questions(model, questions, store, clips, config.pmi, config.batch_size)
        replies: Sequence[str | None] = [None] * len(questions)
        if config.generate or config.score == "generated":
            replies = generate_replies(model, questions, store, clips, config.batch_size)
    decides = "generated" if config.score == "generated" else score
    rows = [
        prediction(question, row, score, reply, decides == "generated")
        for question, row, reply in zip(questions, scores, replies, strict=True)
    ]
    metrics = summary(config, model, decides, rows, time.perf_counter() - started)
    config.output.mkdir(parents=True, exist_ok=True)
    write(config.output / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(config.output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    print(
        f"{metrics['accuracy']:.1%} of {metrics['n']} questions right "
        f"(95 % interval {metrics['ci_low']:.1%} to {metrics['ci_high']:.1%}; {decides})",
        flush=True,
    )
    return metrics


def autocast(model: SefarMLLM, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Products in the frozen weights' dtype: the trained weights are float32."""
    dtype = model.causal.dtype
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def prediction(
    question: Question, scores: dict[str, list[float]], score: Score, reply: str | None, reply_decides: bool
) -> dict[str, Any]:
    """A line of predictions.jsonl."""
    choice, probabilities = choose(scores[score])
    written = {} if reply is None else {"reply": reply, "reply_choice": read_answer(reply, question.options)}
    return {
        "id": question.id,
        "video": question.video,
        "answer": question.answer,
        "choice": written.get("reply_choice") if reply_decides else choice,
        "probabilities": probabilities,
        "scores": scores,
        "event": question.event,
        "set": question.set,
        "label": question.label,
        **written,
    }


def summary(
    config: EvaluateConfig, model: SefarMLLM, score: str, rows: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The row of results: accuracy by the headline score with its Wilson interval, and by every score."""
    right = sum(row["choice"] == row["answer"] for row in rows)
    low, high = wilson_interval(right, len(rows))
    by_score = {
        name: sum(choose(row["scores"][name])[0] == row["answer"] for row in rows) / len(rows)
        for name in rows[0]["scores"]
    }
    replies = {}
    if "reply" in rows[0]:
        by_score["generated"] = sum(row["reply_choice"] == row["answer"] for row in rows) / len(rows)
        replies = {"unparsed_rate": sum(row["reply_choice"] is None for row in rows) / len(rows)}
    return {
        "encoder": model.settings.encoder.name if model.settings.encoder else "none",
        "questions": str(config.questions),
        "accuracy": right / len(rows),
        "ci_low": low,
        "ci_high": high,
        "n": len(rows),
        "seconds": seconds,
        "score": score,
        "accuracy_by_score": by_score,
        **replies,
        "video": config.video if model.projector is not None else "none",
        "language_model": model.settings.language_model,
        "options": json.loads(json.dumps(asdict(config), default=str)),
    }


def write(file: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    partial = file.with_name(f"{file.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)
