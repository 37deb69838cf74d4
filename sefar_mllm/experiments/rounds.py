"""Fine-tunings that need nothing of one another, shared among processes: each is done whole by one of them.

So every result is that of one process, to the last bit; gradients averaged over several would be rounded
otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from encoder.processes.launcher import as_if_alone
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.experiments.stages import Stages
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune


@dataclass(frozen=True)
class Task:
    """A model to be fine-tuned and asked.

    Attributes:
        name: the encoder's.
        seed: the training seed.
        fine: how it is fine-tuned.
        asking: how it is asked.
    """

    name: str
    seed: int
    fine: FinetuneConfig
    asking: EvaluateConfig

    @property
    def teaching(self) -> str:
        """The stage of fine-tuning."""
        return f"fine-tune, {self.name}, seed {self.seed}"

    @property
    def answering(self) -> str:
        """The stage of asking."""
        return f"answer, {self.name}, seed {self.seed}"


def in_rounds(tasks: Sequence[Task], stages: Stages) -> None:
    """Do what is left of the tasks, as many at a time as there are processes; all must call it.

    Each process starts another for its task, which sees one GPU and no launcher. After every round the
    finished stages are kept.
    """
    processes = stages.processes
    left = [task for task in tasks if task.answering not in stages.seconds]
    torch.cuda.empty_cache()  # what the encoders took of this process's GPU
    for start in range(0, len(left), processes.world):
        part = left[start : start + processes.world]
        done: list[dict[str, float]] = []
        for task in processes.mine(part):
            with (
                as_if_alone(processes.device.index),
                ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
            ):
                done.append(pool.submit(do, task, task.teaching in stages.seconds).result())
        for seconds in processes.gather(done):
            for stage, taken in seconds.items():
                stages.finished(stage, taken)


def do(task: Task, taught: bool) -> dict[str, float]:
    """Fine-tune, unless that is done, and ask. Returns the seconds that each stage took."""
    seconds, begun = {}, time.perf_counter()
    if not taught:
        finetune(task.fine)
        seconds[task.teaching] = time.perf_counter() - begun
    begun = time.perf_counter()
    evaluate(task.asking)
    return {**seconds, task.answering: time.perf_counter() - begun}
