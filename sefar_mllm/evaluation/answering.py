"""Asking a model the same questions again and again: as they are, and under every control."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder.features.store import FeatureStore
from sefar_mllm.evaluation.answers import Answer
from sefar_mllm.evaluation.controls import circular, shifted
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.scored import Scored
from sefar_mllm.files import write_lines
from sefar_mllm.inference.respond import Respondent

#: Controls by the file of their answers in the folder ``controls``; in the last three the clip's own video is
#: seen, with its frames or the options moved.
CONTROLS = {
    "no-video": "no video",
    "other-video": "another clip's video",
    "shuffled": "frames shuffled",
    "reversed": "frames reversed",
    "circular": "right in every order of options",
}
SEEING = ("shuffled", "reversed", "circular")
ONE_ORDER = "the prompt does not list the options: their order changes nothing"


class Answering:
    """Asks the questions again and again, writes down every answer, and keeps the scores in order.

    Of several processes that share the questions each keeps all answers, and the first writes them.
    """

    def __init__(self, respondent: Respondent, asked: QuestionSet, output: Path) -> None:
        self.respondent, self.asked, self.output = respondent, asked, output
        self.scored: list[Scored] = []

    def ask(
        self,
        name: str,
        file: str,
        store: FeatureStore | None,
        respondent: Respondent | None = None,
        clips: dict[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Ask every question and write ``file``.jsonl."""
        begun = time.perf_counter()
        rows = (respondent or self.respondent).rows(self.asked.questions, store, clips)
        self._write(f"{file}.jsonl", rows)
        self._keep(name, file, [as_answer(row) for row in rows], begun)
        return rows

    def control(
        self,
        file: str,
        store: FeatureStore | None,
        respondent: Respondent | None = None,
        clips: dict[str, str] | None = None,
    ) -> None:
        """Ask every question under one of the `CONTROLS`."""
        self.ask(f"{self.scored[0].name}: {CONTROLS[file]}", f"controls/{file}", store, respondent, clips)

    def ask_in_every_order(self, store: FeatureStore | None) -> None:
        """Ask every question in every rotation of its options."""
        begun, questions = time.perf_counter(), self.asked.questions
        runs, note = [list(self.scored[0].runs[0])], ""
        if self.respondent.order_matters:
            for by in range(1, max(len(question.options) for question in questions)):
                rows = self.respondent.rows([shifted(question, by) for question in questions], store)
                self._write(f"controls/shifted-{by}.jsonl", rows)
                runs.append([as_answer(row) for row in rows])
        else:
            note = ONE_ORDER
        found = circular(questions, runs)
        rows = [{"id": q.id, "choice": answer.choice} for q, answer in zip(questions, found, strict=True)]
        self._write("controls/circular.jsonl", rows)
        name = f"{self.scored[0].name}: {CONTROLS['circular']}"
        self._keep(name, "controls/circular", found, begun, note)

    def _write(self, file: str, rows: Sequence[dict[str, Any]]) -> None:
        if self.respondent.processes.first:
            write_lines(self.output / file, [with_null_scores(row) for row in rows])

    def _keep(self, name: str, file: str, answers: list[Answer], begun: float, note: str = "") -> None:
        folder, _, control = file.rpartition("/")
        seconds = round(time.perf_counter() - begun, 1)
        self.scored.append(Scored(name, (answers,), seconds, bool(folder), note, control in SEEING))


def as_answer(row: dict[str, Any]) -> Answer:
    """The answer in a line of predictions.jsonl."""
    return Answer(row["choice"], tuple(row["probabilities"]))


def with_null_scores(row: dict[str, Any]) -> dict[str, Any]:
    """A line in which scores that are no numbers are null."""
    scores = {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in row.get("scores", {}).items()
    }
    return {**row, "scores": scores} if scores else row
