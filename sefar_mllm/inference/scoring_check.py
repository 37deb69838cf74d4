"""Before fine-tuning is paid for: can this language model score what it will be asked?"""

from __future__ import annotations

from typing import Any

from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from sefar_mllm.inference.likelihood import check_passes, check_positions
from sefar_mllm.inference.respondent import autocast
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.sharding import outer_weights


class ScoringCheck(TrainerCallback):
    """Runs `sefar_mllm.inference.likelihood.check_passes` before the first step.

    Weights that are spread over processes can be used beside ``forward`` only once that has run: then it is
    after the first step.

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
        check_positions(self.model, self.length)
        if not (isinstance(arguments["model"], FSDPModule) or is_deepspeed_zero3_enabled()):
            self.check(arguments["model"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **arguments: Any
    ) -> None:
        """The same for spread weights."""
        if self.model.checked_length < self.length:
            self.check(arguments["model"])

    def check(self, wrapped: Any) -> None:
        """Run the check as validation is run."""
        training = self.model.training
        self.model.eval()
        with outer_weights(wrapped), autocast(self.model):
            check_passes(self.model, self.length)
        self.model.train(training)
