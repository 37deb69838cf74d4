"""The verb ``evaluate``: a fine-tuned model and its controls on a question file, from stored features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from encoder.features.store import FeatureStore, ordered_fingerprint
from encoder.processes.group import join
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.answer_report import print_scores, write_scores
from sefar_mllm.evaluation.answering import Answering
from sefar_mllm.evaluation.controls import other_clips
from sefar_mllm.evaluation.lmms_layout import write_lmms_layout
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.scored import difference
from sefar_mllm.inference.multiple_choice import Score, choose, headline
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.respond import Respondent
from sefar_mllm.model.checkpoint import check_encoder
from sefar_mllm.model.features import check_clips
from sefar_mllm.model.language_model import Precision, resolve_dtype
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.report import ResultRow


@dataclass(frozen=True)
class EvaluateConfig:
    """Answer the questions of a file with a fine-tuned model, by likelihood and if wanted by generation.

    Args:
        checkpoint: folder that fine-tuning wrote.
        questions: question file.
        output: folder for predictions.jsonl (a line per question), metrics.json, results.json, report.html
            and report.md; the controls' answers go into its folder controls.
        features: feature store of the questions' clips; not needed by a model trained without video.
        score: what decides: letter, text_sum, text_mean, text_pmi, generated; auto takes the answer format's
            own: letter for letter, text_sum for text and both, text_pmi where the prompt does not list the
            options. All likelihoods are written down; this one is the headline.
        generate: also let the model write its answer, read strictly; what cannot be read is wrong and shows
            as unparsed_rate. Implied by score generated.
        pmi: also compute text_pmi, which runs the prompts once more without video.
        no_video: control, the same model asked without video.
        other_video: control, the same model shown another clip's video, of none of the options' classes.
        circular: control, every question in every rotation of its options; right is who is right in all.
        shuffled: control, a feature store of the same clips extracted with --frame-order shuffled.
        reversed: control, a feature store of the same clips extracted with --frame-order reversed.
        allow_repeats: also take questions that hold an option twice, as some official ones do; the copy that
            is not the answer counts as wrong.
        labelled: the labelled clips (list or question file) for the control "commonest class"; by default
            train.csv beside the questions.
        video_root: folder of the clips, to show frames of wrong answers in the report.
        lmms_eval: also write the answers in lmms-eval's layout, into the folder lmms-eval.
        name: what tables call the model; by default its encoder.
        batch_size: replies written at a time. Every question is scored by itself, whatever this is.
        precision: of weights and matrix products; auto is bf16 where the hardware multiplies in it.
        device: auto, or a torch device.
        seed: of the clips shown by other_video, and of the resampling.
    """

    checkpoint: Path
    questions: Path
    output: Path
    features: Path | None = None
    score: Score | Literal["auto", "generated"] = "auto"
    generate: bool = False
    pmi: bool = True
    no_video: bool = False
    other_video: bool = False
    circular: bool = False
    shuffled: Path | None = None
    reversed: Path | None = None
    allow_repeats: bool = False
    labelled: Path | None = None
    video_root: Path | None = None
    lmms_eval: bool = False
    name: str | None = None
    batch_size: int = 16
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Write predictions, metrics and report into the output folder. Returns the metrics.

    Processes that were launched together share the questions; the first writes.

    Raises:
        SefarMLLMError: when checkpoint, questions and features do not fit one another.
        EncoderError: when the processes cannot share the work.
    """
    processes = join("evaluate", config.device)
    asked = QuestionSet.open(config.questions, config.labelled)
    check_options(asked.questions, str(config.questions), config.allow_repeats)
    dtype = resolve_dtype(config.precision, processes.device)
    model = SefarMLLM.from_pretrained(config.checkpoint, dtype, processes.device)
    respondent = replace(build_respondent(config, model), processes=processes)
    stores = open_stores(config, model, asked.questions)
    name = config.name or (model.settings.encoder.name if model.settings.encoder else "language model alone")
    clips = other_clips(asked.questions, config.seed) if config.other_video and stores else None
    answering = Answering(respondent, asked, config.output)
    rows = answering.ask(name, "predictions", stores.get("filmed"))
    if config.no_video and stores:
        answering.control("no-video", None, respondent.without_video())
    if clips is not None:
        answering.control("other-video", stores["filmed"], clips=clips)
    for order in ("shuffled", "reversed"):
        if order in stores:
            answering.control(order, stores[order])
    if config.circular:
        answering.ask_in_every_order(stores.get("filmed"))
    return processes.once(lambda: report(config, answering, rows))


def report(config: EvaluateConfig, answering: Answering, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what follows from the answers. Returns the metrics."""
    asked, (main, *controls) = answering.asked, answering.scored
    comparisons = [tested for one in controls if (tested := difference(main, one, asked, config.seed))]
    table = write_scores(
        config.output,
        f"{main.name} on {asked.name}",
        asked,
        answering.scored,
        comparisons,
        facts=summary(config, answering.respondent, rows, main.row(asked)),
        video_root=config.video_root,
        settings=options(config),
        timings=[(one.name, one.seconds or 0.0) for one in answering.scored],
        seed=config.seed,
    )
    metrics = json.loads((config.output / "metrics.json").read_text(encoding="utf-8"))
    if config.lmms_eval:
        write_lmms_layout(config.output / "lmms-eval", asked, rows, metrics)
    if controls:
        print_scores(table, comparisons)
    print(
        f"{metrics['accuracy']:.1%} of {metrics['n']} questions right "
        f"(95 % interval {metrics['ci_low']:.1%} to {metrics['ci_high']:.1%}; {metrics['score']})",
        flush=True,
    )
    return metrics


def build_respondent(config: EvaluateConfig, model: SefarMLLM) -> Respondent:
    """The model and how its answers are read. Raises SefarMLLMError for a score that it cannot give."""
    generated = config.score == "generated"
    likelihood: Score | Literal["auto"] = "auto" if config.score == "generated" else config.score
    score = headline(model, likelihood, config.features is not None)
    if score == "text_pmi" and not config.pmi:
        raise SefarMLLMError("score text_pmi needs pmi: true")
    return Respondent(model, score, generated or config.generate, generated, config.pmi, config.batch_size)


def open_stores(
    config: EvaluateConfig, model: SefarMLLM, questions: Sequence[Question]
) -> dict[str, FeatureStore]:
    """The feature stores by the order of their frames, each checked against the model.

    Raises:
        SefarMLLMError: for features of another encoder or order, or of other clips, or for none where the
            model needs them.
    """
    named = {"filmed": config.features, "shuffled": config.shuffled, "reversed": config.reversed}
    if model.projector is None:
        return {}
    if config.features is None:
        raise SefarMLLMError(f"{config.checkpoint}: was trained with video; name its --features")
    stores = {}
    for order, path in named.items():
        if path is None:
            continue
        stores[order] = FeatureStore.open(path)
        check_clips(questions, stores[order], str(path))
        encoder = model.settings.encoder
        if encoder is not None:
            wanted = replace(encoder, fingerprint=ordered_fingerprint(encoder.fingerprint, order))
            check_encoder(replace(model.settings, encoder=wanted), stores[order].fingerprint, str(path))
    return stores


def options(config: EvaluateConfig) -> dict[str, Any]:
    """The settings as JSON values."""
    return json.loads(json.dumps(asdict(config), default=str))


def summary(
    config: EvaluateConfig, respondent: Respondent, rows: list[dict[str, Any]], row: ResultRow
) -> dict[str, Any]:
    """The head of metrics.json: accuracy by the headline score with its interval, and by every score."""
    settings = respondent.model.settings
    by_score = {
        score: sum(choose(line["scores"][score])[0] == line["answer"] for line in rows) / len(rows)
        for score in rows[0]["scores"]
    }
    replies = {}
    if "reply" in rows[0]:
        by_score["generated"] = sum(line["reply_choice"] == line["answer"] for line in rows) / len(rows)
        replies = {"unparsed_rate": sum(line["reply_choice"] is None for line in rows) / len(rows)}
    return {
        "encoder": settings.encoder.name if settings.encoder else "none",
        "accuracy": row.accuracy,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "n": row.n,
        "seconds": row.seconds,
        "score": "generated" if respondent.reply_decides else respondent.score,
        "accuracy_by_score": by_score,
        **replies,
        "language_model": settings.language_model,
        "options": options(config),
    }
