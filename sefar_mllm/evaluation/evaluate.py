"""The verb ``evaluate``: a fine-tuned model and its controls on a question file, from stored features."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from encoder.processes.group import join
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.config import EvaluateConfig
from sefar_mllm.evaluation.controls import CONTROLS, ControlInput
from sefar_mllm.evaluation.lmms_eval import write_lmms_layout
from sefar_mllm.evaluation.metrics import AnswerSet, Headline, difference
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.report import print_scores, write_scores
from sefar_mllm.evaluation.subject import Subject, open_subject
from sefar_mllm.files import write_lines
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.prediction import Answer, Prediction
from sefar_mllm.inference.score_rules import SCORE_RULES, choose


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
    subject = open_subject(config, questions, processes)
    respondent, stores = subject.respondent, subject.stores
    wanted = [name for name in controls_of(config) if CONTROLS[name].frames in ("", *stores)]
    for control in wanted:
        if check_questions := CONTROLS[control].check:
            check_questions(questions)
    folder = config.output if processes.first else None
    begun = time.perf_counter()
    predictions = respondent.predict(questions, stores.get("filmed"))
    write_answers(folder, "predictions", questions, predictions)
    answers = AnswerSet(subject.name, (predictions,), round(time.perf_counter() - begun, 1))
    given = ControlInput(respondent, questions, stores, predictions, config.seed)
    answer_sets = [answers, *(ask_control(control, subject.name, given, folder) for control in wanted)]
    return processes.once(lambda: report(config, subject, question_set, predictions, answer_sets))


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
    subject: Subject,
    question_set: QuestionSet,
    predictions: Sequence[Prediction],
    answer_sets: Sequence[AnswerSet],
) -> Headline:
    """Write what follows from the answers, the model's own first. Returns the head of the metrics."""
    main, *controls = answer_sets
    tests = [difference(main, control, question_set, config.seed) for control in controls]
    comparisons = [test for test in tests if test]
    headline = summary(config, subject, predictions, main, question_set)
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
    subject.finish()
    print(
        f"{headline.accuracy:.1%} of {headline.n} questions right "
        f"(95 % interval {headline.ci_low:.1%} to {headline.ci_high:.1%}; {headline.score})",
        flush=True,
    )
    return headline


def summary(
    config: EvaluateConfig,
    subject: Subject,
    predictions: Sequence[Prediction],
    answers: AnswerSet,
    question_set: QuestionSet,
) -> Headline:
    """Accuracy by the deciding score with its interval, and by every score."""

    def share(choices: Sequence[int | None]) -> float:
        right = [choice == line.question.answer for choice, line in zip(choices, predictions, strict=True)]
        return sum(right) / len(right)

    row = answers.row(question_set)
    by_score = {
        rule: share([choose(line.scores[rule])[0] for line in predictions]) for rule in predictions[0].scores
    }
    unparsed = None
    if all(line.reply is not None for line in predictions):
        by_score["generated"] = share([line.reply_choice for line in predictions])
        unparsed = sum(line.reply_choice is None for line in predictions) / len(predictions)
    return Headline(
        encoder=subject.encoder,
        accuracy=row.accuracy,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        n=row.n,
        seconds=row.seconds,
        score=subject.score,
        accuracy_by_score=by_score,
        unparsed_rate=unparsed,
        language_model=subject.language_model,
        options=json.loads(json.dumps(asdict(config), default=str)),
    )
