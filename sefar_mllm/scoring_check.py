"""Before fine-tuning is paid for: can this language model score what it will be asked?"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sefar_mllm.model import SefarMLLM
from sefar_mllm.respond import autocast
from sefar_mllm.scoring import check_passes
from sefar_mllm.sharding import outer_weights


class ScoringCheck(TrainerCallback):
    """Runs `sefar_mllm.scoring.check_passes` when weights are where they will be trained, before any step.

    Args:
        model: the model, not wrapped for several processes.
        length: tokens of the longest prompt with its answer.
    """

    def __init__(self, model: SefarMLLM, length: int) -> None:
        self.model = model
        self.length = length

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **arguments: Any
    ) -> None:
        """Refuse a model that cannot be used, with the reason."""
        training = self.model.training
        self.model.eval()
        with outer_weights(arguments["model"]), autocast(self.model):
            check_passes(self.model, self.length)
        self.model.train(training)
