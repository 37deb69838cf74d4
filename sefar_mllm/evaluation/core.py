"""The verb ``core-qa``: a few questions of a file, chosen so that models rank on them as on the whole."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from gym_qa.benchmark.core import FEWEST, Agreement, agreement, choose_core
from gym_qa.questions.questions import read_questions, write_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.prediction_file import read_answers

log = logging.getLogger("sefar_mllm")


@dataclass(frozen=True, kw_only=True)
class CoreQAConfig:
    """Choose a core of a question file by the answers of several models.

    Attributes:
        questions: the question file that was answered.
        predictions: each model's answers, in any form that ``score`` reads; a folder stands for the files in
            it.
        output: the question file to write.
        size: questions in the core.
        seed: of what is tried.
    """

    questions: Path
    predictions: list[Path]
    output: Path
    size: int = 500
    seed: int = 0


def core_qa(config: CoreQAConfig) -> Agreement:
    """Run the verb: choose, write, and say how well cores chosen in this way rank other models.

    Raises:
        SefarMLLMError: for too few models, or a file that does not answer every question exactly once.
        GymQAError: for a file that cannot be read, or a size that is no part of the file's.
    """
    questions = read_questions(config.questions)
    folders = [[path] if not path.is_dir() else sorted(path.iterdir()) for path in config.predictions]
    files = [file for inside in folders for file in inside]
    if len(files) < FEWEST:
        raise SefarMLLMError(f"predictions of {len(files)} models: expected at least {FEWEST}, better twelve")
    right = [
        [
            float(answer.choice == question.answer)
            for answer, question in zip(read_answers(file, questions), questions, strict=True)
        ]
        for file in files
    ]
    report = agreement(questions, right, config.size, config.seed)
    core = choose_core(questions, right, config.size, config.seed)
    write_questions(config.output, [questions[place] for place in core])
    log.info(f"{len(core)} of {len(questions)} questions written to {config.output}")
    print(report)
    return report
