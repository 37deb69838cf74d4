"""The verb ``evaluate``: a fine-tuned model and its controls on a question file, from stored features."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from encoder.features.store import FeatureStore, ordered_fingerprint
from encoder.processes.group import join
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.controls import CONTROLS, ControlInput
from sefar_mllm.evaluation.lmms_eval import write_lmms_layout
from sefar_mllm.evaluation.metrics import AnswerSet, Headline, difference
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.report import print_scores, write_scores
from sefar_mllm.files import write_lines
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.prediction import Answer, Prediction
from sefar_mllm.inference.respondent import Respondent
from sefar_mllm.inference.score_rules import SCORE_RULES, choose, deciding_rule
from sefar_mllm.model.checkpoint import check_encoder
from sefar_mllm.model.features import check_clips
from sefar_mllm.model.language_model import Precision, resolve_dtype
from sefar_mllm.model.mllm import SefarMLLM


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
        controls: further controls by name.
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
    score: str = "auto"
    generate: bool = False
    pmi: bool = True
    no_video: bool = False
    other_video: bool = False
    circular: bool = False
    shuffled: Path | None = None
    reversed: Path | None = None
    controls: list[str] = field(default_factory=list)
    allow_repeats: bool = False
    labelled: Path | None = None
    video_root: Path | None = None
    lmms_eval: bool = False
    name: str | None = None
    batch_size: int = 16
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0


def evaluate(config: EvaluateConfig) -> Headline:
    """Write predictions, metrics and report into the output folder. Returns the head of the metrics.

    Processes that were launched together share the questions; the first writes.

    Raises:
        SefarMLLMError: when checkpoint, questions and features do not fit one another.
        EncoderError: when the processes cannot share the work.
    """
    check(config)
    processes = join("evaluate", config.device)
    question_set = QuestionSet.open(config.questions, config.labelled)
    questions = question_set.questions
    check_options(questions, str(config.questions), config.allow_repeats)
    dtype = resolve_dtype(config.precision, processes.device)
    model = SefarMLLM.from_pretrained(config.checkpoint, dtype, processes.device)
    respondent = replace(build_respondent(config, model), processes=processes)
    stores = open_stores(config, model, questions)
    wanted = [name for name in controls_of(config) if CONTROLS[name].frames in ("", *stores)]
    for control in wanted:
        if check_questions := CONTROLS[control].check:
            check_questions(questions)
    encoder = model.settings.encoder
    name = config.name or (encoder.name if encoder else "language model alone")
    folder = config.output if processes.first else None
    begun = time.perf_counter()
    predictions = respondent.predict(questions, stores.get("filmed"))
    write_answers(folder, "predictions", questions, predictions)
    answers = AnswerSet(name, (predictions,), round(time.perf_counter() - begun, 1))
    given = ControlInput(respondent, questions, stores, predictions, config.seed)
    answer_sets = [answers, *(ask_control(control, name, given, folder) for control in wanted)]
    return processes.once(lambda: report(config, respondent, question_set, predictions, answer_sets))


def check(config: EvaluateConfig) -> None:
    """Refuse names that there are not, before anything is loaded."""
    if unknown := [name for name in config.controls if name not in CONTROLS]:
        raise SefarMLLMError(f"controls: no control {unknown[0]!r}; there are {', '.join(CONTROLS)}")
    if config.score not in ("auto", "generated", *SCORE_RULES):
        raise SefarMLLMError(
            f"score: there is no {config.score!r}; there are auto, generated, {', '.join(SCORE_RULES)}"
        )


def controls_of(config: EvaluateConfig) -> list[str]:
    """Names of the wanted controls: those named, and those that an option of their own asks for."""
    return [
        name for name in CONTROLS if name in config.controls or getattr(config, name.replace("-", "_"), None)
    ]


def ask_control(name: str, model: str, given: ControlInput, folder: Path | None) -> AnswerSet:
    """Ask the questions under a control, and write the answers into the folder ``controls``."""
    control, begun = CONTROLS[name], time.perf_counter()
    outcome = control.ask(given)
    for file, answers in {**outcome.steps, name: outcome.answers}.items():
        write_answers(folder, f"controls/{file}", given.questions, answers)
    return AnswerSet(
        control.name(model),
        (outcome.answers,),
        round(time.perf_counter() - begun, 1),
        control=True,
        note=outcome.note,
        sees_video=control.sees_video,
    )


def write_answers(
    folder: Path | None, name: str, questions: Sequence[Question], answers: Sequence[Answer]
) -> None:
    """Write ``name``.jsonl into the folder, where this process has one to write into."""
    if folder is not None:
        lines = [
            answer.as_json()
            if isinstance(answer, Prediction)
            else {"id": question.id, "choice": answer.choice}
            for question, answer in zip(questions, answers, strict=True)
        ]
        write_lines(folder / f"{name}.jsonl", lines)


def report(
    config: EvaluateConfig,
    respondent: Respondent,
    question_set: QuestionSet,
    predictions: Sequence[Prediction],
    answer_sets: Sequence[AnswerSet],
) -> Headline:
    """Write what follows from the answers, the model's own first. Returns the head of the metrics."""
    main, *controls = answer_sets
    tests = [difference(main, control, question_set, config.seed) for control in controls]
    comparisons = [test for test in tests if test]
    headline = summary(config, respondent, predictions, main, question_set)
    table = write_scores(
        config.output,
        f"{main.name} on {question_set.name}",
        question_set,
        answer_sets,
        comparisons,
        headline=headline,
        video_root=config.video_root,
        settings=headline.options,
        timings=[(answers.name, answers.seconds or 0.0) for answers in answer_sets],
        seed=config.seed,
    )
    if config.lmms_eval:
        write_lmms_layout(config.output / "lmms-eval", question_set, predictions, headline)
    if controls:
        print_scores(table, comparisons)
    print(
        f"{headline.accuracy:.1%} of {headline.n} questions right "
        f"(95 % interval {headline.ci_low:.1%} to {headline.ci_high:.1%}; {headline.score})",
        flush=True,
    )
    return headline


def build_respondent(config: EvaluateConfig, model: SefarMLLM) -> Respondent:
    """The model and how its answers are read. Raises SefarMLLMError for a score that it cannot give."""
    generated = config.score == "generated"
    with_video = config.features is not None and model.projector is not None
    score = deciding_rule(model.settings.prompt, with_video, "auto" if generated else config.score)
    if SCORE_RULES[score].needs_blind and not config.pmi:
        raise SefarMLLMError(f"score {score} needs pmi: true")
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


def summary(
    config: EvaluateConfig,
    respondent: Respondent,
    predictions: Sequence[Prediction],
    answers: AnswerSet,
    question_set: QuestionSet,
) -> Headline:
    """Accuracy by the deciding score with its interval, and by every score."""

    def share(choices: Sequence[int | None]) -> float:
        right = [choice == line.question.answer for choice, line in zip(choices, predictions, strict=True)]
        return sum(right) / len(right)

    settings, row = respondent.model.settings, answers.row(question_set)
    by_score = {
        rule: share([choose(line.scores[rule])[0] for line in predictions]) for rule in predictions[0].scores
    }
    unparsed = None
    if respondent.generate:
        by_score["generated"] = share([line.reply_choice for line in predictions])
        unparsed = sum(line.reply_choice is None for line in predictions) / len(predictions)
    return Headline(
        encoder=settings.encoder.name if settings.encoder else "none",
        accuracy=row.accuracy,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        n=row.n,
        seconds=row.seconds,
        score="generated" if respondent.reply_decides else respondent.score,
        accuracy_by_score=by_score,
        unparsed_rate=unparsed,
        language_model=settings.language_model,
        options=json.loads(json.dumps(asdict(config), default=str)),
    )
