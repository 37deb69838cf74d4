"""Models that look at videos themselves as answerers of a list of questions: whole ones, and endpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from tqdm import tqdm

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from gym_qa.questions.reply import read_answer
from sefar_mllm.files import write_json
from sefar_mllm.inference.endpoint import Endpoint
from sefar_mllm.inference.footage import Footage, Shot
from sefar_mllm.inference.journal import Journal, Record
from sefar_mllm.inference.multimodal_answers import Answerer
from sefar_mllm.inference.prediction import Prediction
from sefar_mllm.inference.score_rules import Scores, choose


@dataclass(frozen=True)
class WholeRespondent:
    """A whole multimodal model of Transformers: what it writes, read strictly, is its choice.

    Attributes:
        answerer: the model.
        processes: those that share the questions.
    """

    answerer: Answerer
    processes: Processes = ALONE
    order_matters = True

    def without_video(self) -> WholeRespondent:
        """The same for prompts without video."""
        return self

    def predict(
        self,
        questions: Sequence[Question],
        store: Footage | None,
        clips: Mapping[str, str] | None = None,
    ) -> list[Prediction]:
        """The answer to every question, in their order, on every process; see `Respondent.predict`."""
        mine = self.processes.mine(questions)
        answers = [
            self._answer(question, shown(question, store, clips))
            for question in tqdm(mine, desc="questions", disable=not self.processes.first)
        ]
        return [
            predicted(question, *answer, clips)
            for question, answer in zip(questions, self.processes.gather(answers), strict=True)
        ]

    def _answer(self, question: Question, shot: Shot | None) -> tuple[str, Scores]:
        answerer = self.answerer
        with torch.no_grad():
            inputs = answerer.whole.inputs(question, shot)
            scores = answerer.scores(inputs, question) if answerer.whole.config.likelihood else {}
            return answerer.reply(inputs, question.options), scores


class EndpointRespondent:
    """A model behind a server; several questions are on their way at a time.

    Args:
        endpoint: the model.
        journal: the file that its answers are kept in.
    """

    order_matters = True
    processes = ALONE

    def __init__(self, endpoint: Endpoint, journal: Path) -> None:
        self.endpoint, self.journal = endpoint, Journal(journal)
        self.used: dict[str, Record] = {}

    def without_video(self) -> EndpointRespondent:
        """The same for prompts without video."""
        return self

    def predict(
        self,
        questions: Sequence[Question],
        store: Footage | None,
        clips: Mapping[str, str] | None = None,
    ) -> list[Prediction]:
        """The answer to every question, in their order; see `Respondent.predict`.

        Raises:
            SefarMLLMError: when a question could not be asked; the others that were on their way are kept.
        """

        def ask(question: Question) -> Record:
            shot = shown(question, store, clips)
            key = self.endpoint.key(question, shot)
            return self.journal.get(key, lambda: self.endpoint.ask(question, shot))

        self.endpoint.stopped.clear()
        records = in_threads(ask, questions, self.endpoint.config.concurrency, self.endpoint.stopped)
        self.used |= {record["key"]: record for record in records}
        known = any("letters" in record for record in records)
        return [
            predicted(question, record["reply"], letter_scores(record, question) if known else {}, clips)
            for question, record in zip(questions, records, strict=True)
        ]

    def usage(self) -> dict[str, Any]:
        """Requests and tokens of the answers that were used, and their cost where the prices are known."""
        config, used = self.endpoint.config, self.used.values()
        count = {name: sum(one[name] or 0 for one in used) for name in ("tokens_in", "tokens_out")}
        prices = config.price_in, config.price_out
        cost = None
        if None not in prices:
            cost = (count["tokens_in"] * prices[0] + count["tokens_out"] * prices[1]) / 1e6  # type: ignore[operator]
        return {
            "requests": len(used),
            "asked_now": self.journal.made,
            **count,
            "without_token_count": sum(one["tokens_in"] is None for one in used),
            "cut_off": sum(one["finish"] == "length" for one in used),
            "cost": cost,
        }

    def write_usage(self, path: Path) -> None:
        """Write `usage` and say it in a line."""
        usage = self.usage()
        write_json(path, usage)
        cost = "" if usage["cost"] is None else f", cost {usage['cost']:.2f}"
        print(
            f"{usage['requests']} requests, {usage['asked_now']} of them now; {usage['tokens_in']} tokens "
            f"asked, {usage['tokens_out']} replied{cost}",
            flush=True,
        )


def shown(question: Question, store: Footage | None, clips: Mapping[str, str] | None) -> Shot | None:
    """The frames that a question is asked about; none without video."""
    return None if store is None else store[clips[question.video] if clips else question.video]


def predicted(
    question: Question, reply: str, scores: Scores, clips: Mapping[str, str] | None = None
) -> Prediction:
    """The answer of a reply, with the probabilities of the letters beside it."""
    choice = read_answer(reply, question.options)
    likeliest, probabilities = choose(scores["letter"]) if scores else (None, [])
    return Prediction(
        choice=choice,
        probabilities=() if likeliest is None else tuple(probabilities),
        question=question,
        scores=scores,
        shown=clips[question.video] if clips else "",
        reply=reply,
        reply_choice=choice,
    )


def letter_scores(record: Record, question: Question) -> Scores:
    """Of the letters; minus infinity for one that the server did not name among the likeliest tokens."""
    named = record.get("letters") or [None] * len(question.options)
    return {"letter": [-math.inf if value is None else value for value in named]}


def in_threads(
    ask: Callable[[Question], Record], questions: Sequence[Question], threads: int, stopped: Event
) -> list[Record]:
    """What ``ask`` gives for each question.

    After a failure, which is raised, ``stopped`` is set and no further question is begun.
    """
    failures: list[BaseException] = []

    def one(question: Question) -> Record:
        if stopped.is_set():
            raise CancelledError
        try:
            return ask(question)
        except BaseException as error:
            failures.append(error)
            stopped.set()
            raise

    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(questions), desc="questions") as bar:
        futures = [pool.submit(one, question) for question in questions]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BaseException as error:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise (failures or [error])[0] from None
    return [future.result() for future in futures]
