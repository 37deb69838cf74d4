"""`transformers.Trainer` for a `SefarMLLM`: two learning rates, our checkpoints, validation accuracy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import save_fsdp_optimizer
from accelerate.utils.deepspeed import DeepSpeedSchedulerWrapper
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import SCHEDULER_NAME

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from projector.build import load_projector
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.dataset import collate
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.score_rules import SCORE_RULES, choose, deciding_rule
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS
from sefar_mllm.model.features import Features
from sefar_mllm.model.manifest import Manifest
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.sharding import outer_weights, put_trained, trained_state


def rate(step: int, start: int, total: int, warmup: float) -> float:
    """Factor of a learning rate: 0 before ``start``, a linear rise, then half a cosine to 0 at ``total``.

    Args:
        step: optimizer steps done.
        start: where the rise begins.
        total: steps of the run.
        warmup: share of the steps from ``start`` to ``total`` that rise.
    """
    if step < start:
        return 0.0
    done, length = step - start, total - start
    rise = math.ceil(warmup * length)
    if done < rise:
        return (done + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (done - rise) / max(length - rise, 1)))


class MLLMTrainer(Trainer):
    """Trains a `SefarMLLM` on a `FinetuneDataset`, which fixes the order of samples itself.

    Args:
        model: the model.
        args: the library's settings; ``args.learning_rate`` is the adapter's.
        projector_learning_rate: the projector's.
        projector_steps: steps before the adapter learns.
        warmup: see `rate`.
        validation: questions to follow, with the store of their clips; empty for none.
        store: their features.
        further arguments: as the library's.
    """

    def __init__(
        self,
        model: SefarMLLM,
        args: TrainingArguments,
        projector_learning_rate: float,
        projector_steps: int,
        warmup: float,
        validation: Sequence[Question] = (),
        store: Features | None = None,
        **arguments: Any,
    ) -> None:
        self.projector_learning_rate = projector_learning_rate
        self.projector_steps = projector_steps
        self.warmup = warmup
        self.validation = validation
        self.store = store
        self.mllm = model
        super().__init__(
            model=model,
            args=args,
            data_collator=partial(collate, standardize=model.standardize),
            eval_dataset=list(validation) or None,
            **arguments,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW (or ``args.optim``) over four groups: projector or adapter, with weight decay or without."""
        if self.optimizer is None:
            owner: Any = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(owner))
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in owner.named_parameters():
                if parameter.requires_grad:
                    key = ("projector." in name, name in decayed)
                    groups.setdefault(key, []).append(parameter)
            if not groups:
                raise SefarMLLMError("nothing to train: no projector and lora.rank 0; set lora.rank")
            optimizer, arguments = self.get_optimizer_cls_and_kwargs(self.args, owner)
            self.optimizer = optimizer(
                [
                    {
                        "params": parameters,
                        "lr": self.projector_learning_rate if projector else self.args.learning_rate,
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                        "projector": projector,
                    }
                    for (projector, decay), parameters in groups.items()
                ],
                **arguments,
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Warm-up and cosine per group; the adapter's begin after the projector's own phase."""
        if self.lr_scheduler is None:
            optimizer = self.optimizer if optimizer is None else optimizer

            def factor(start: int) -> Callable[[int], float]:
                return lambda step: rate(step, start, num_training_steps, self.warmup)

            factors = [factor(0 if g["projector"] else self.projector_steps) for g in optimizer.param_groups]
            self.lr_scheduler = LambdaLR(optimizer, factors)
        return self.lr_scheduler

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Accuracy on the validation questions, which all processes share, by the model's own score."""
        model = self.accelerator.unwrap_model(self.model)
        processes = Processes(self.args.process_index, self.args.world_size)
        if not model.shares_passes and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            processes = (
                ALONE  # a spread model is used by all at once, and questions would take unlike many passes
            )
        rule = deciding_rule(model.settings.prompt, model.projector is not None)
        with torch.no_grad(), outer_weights(self.model), self.compute_loss_context_manager():
            pmi = SCORE_RULES[rule].needs_blind
            scores = score_questions(
                model, self.validation, self.store, pmi=pmi, progress=False, processes=processes
            )
        right = [choose(by[rule])[0] == q.answer for by, q in zip(scores, self.validation, strict=True)]
        metrics = {f"{metric_key_prefix}_accuracy": sum(right) / len(right)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write adapter and projector; the frozen weights are where they were, and are not gathered."""
        self._save(output_dir, trained_state(self.model))  # type: ignore[arg-type]

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(output_dir or self.args.output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # The library leaves the frozen weights out for a `PeftModel` alone.
        if self.is_fsdp_enabled:
            plugin = self.accelerator.state.fsdp_plugin
            save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, output_dir)
        elif self.is_deepspeed_enabled:
            self.model_wrapped.save_checkpoint(output_dir, exclude_frozen_parameters=True)  # type: ignore[operator]
        else:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        schedule: Any = self.lr_scheduler
        if self.args.should_save and not isinstance(schedule, DeepSpeedSchedulerWrapper):
            torch.save(schedule.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(self.model, Path(resume_from_checkpoint))  # type: ignore[arg-type]

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            load_trained(self.model, Path(self.state.best_model_checkpoint))  # type: ignore[arg-type]


def load_trained(model: SefarMLLM, folder: Path) -> None:
    """Put a checkpoint's adapter and projector into ``model``, which must be built alike.

    Raises:
        SefarMLLMError: when the checkpoint is broken or was made with other settings.
    """
    settings = Manifest.read(folder).settings
    if settings != model.settings:
        raise SefarMLLMError(
            f"{folder}: made with other settings ({settings}) than this run's ({model.settings})"
        )
    state: dict[str, Tensor] = {}
    if isinstance(model.language_model, PeftModel):
        adapter = load_file(folder / ADAPTER_WEIGHTS)
        state |= {f"language_model.{in_adapter(name)}": weight for name, weight in adapter.items()}
    if model.projector is not None:
        _, projector, _ = load_projector(folder)
        state |= {f"projector.{name}": weight for name, weight in projector.state_dict().items()}
    put_trained(model, state, str(folder))


def in_adapter(name: str) -> str:
    """A weight's name in the model, of its name in a PEFT adapter's file, which leaves out the adapter's."""
    stem, _, last = name.rpartition(".")
    return f"{stem}.default.{last}" if last == "weight" else f"{name}.default"


class MetricsFile(TrainerCallback):
    """Appends every logged row to ``metrics.jsonl``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **arguments: Any
    ) -> None:
        """Write one row: the step and what was logged."""
        if state.is_world_process_zero:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, **arguments["logs"]}) + "\n")
