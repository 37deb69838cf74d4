"""What `transformers.Trainer` is told: the run's settings in the library's words, and one GPU a process."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

from encoder.processes.group import tell_of_idle_gpus
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.model.activation_checkpointing import named_as_installed
from sefar_mllm.model.language_model import resolve_dtype


def training_arguments(config: FinetuneConfig) -> tuple[TrainingArguments, torch.dtype]:
    """The library's settings, to which ``config.trainer`` may add, and the dtype of the matrix products."""
    without = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    use_cpu = config.trainer.get("use_cpu", without)
    device = None if use_cpu else torch.accelerator.current_accelerator()
    # Needed before the library's settings are made: with them it reaches autocast, grad scaler and DeepSpeed.
    dtype = resolve_dtype(config.precision, device or "cpu")
    if use_cpu and dtype == torch.float16:
        raise SefarMLLMError("precision fp16 needs a GPU to train on; set precision to bf16 or fp32")
    saves = config.save_every is not None or config.patience is not None
    values: dict[str, Any] = {
        "output_dir": str(config.output / "steps"),
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "logging_steps": 10,
        "eval_strategy": "steps" if config.validation else "no",
        "eval_steps": config.evaluate_every,
        "save_strategy": "steps" if saves else "no",
        "save_steps": config.evaluate_every if config.patience is not None else config.save_every or 1,
        "save_total_limit": 2,
        "load_best_model_at_end": config.patience is not None,
        "metric_for_best_model": "accuracy",
        "greater_is_better": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        "seed": config.seed,
        "use_cpu": use_cpu,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
    }
    try:
        arguments = TrainingArguments(**values | named_as_installed(config.trainer))
    except (TypeError, ValueError) as error:
        raise SefarMLLMError(f"trainer: refused by transformers.TrainingArguments: {error}") from error
    if arguments.n_gpu > 1:
        # The library would take all GPUs in sight by nn.DataParallel, which cuts features and ids apart at
        # different samples and multiplies the batch.
        tell_of_idle_gpus("finetune", arguments.n_gpu)
        arguments._n_gpu = 1
    return arguments, dtype
