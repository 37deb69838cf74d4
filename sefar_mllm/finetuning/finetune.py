"""Fine-tuning a language model on questions about videos, by `transformers.Trainer` from stored features."""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.integrations import is_deepspeed_zero3_enabled

from encoder.features.store import FeatureStore
from encoder.files import write_json
from encoder.processes.group import leave_process_group_at_exit
from encoder.visual.base import located
from gym_qa.questions.questions import Question, read_questions
from projector.base import ProjectorSpec
from projector.build import load_projector
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.beginning import drawn, start_projector
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.dataset import FinetuneDataset
from sefar_mllm.finetuning.trainer import MetricsFile, MLLMTrainer
from sefar_mllm.finetuning.training_arguments import training_arguments
from sefar_mllm.inference.multiple_choice import encode_question
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.scoring_check import ScoringCheck
from sefar_mllm.model.config import EncoderIdentity, MLLMConfig
from sefar_mllm.model.features import check_clips
from sefar_mllm.model.frame import Frame
from sefar_mllm.model.language_model import language_model_config
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.suitable import embedding_width

log = logging.getLogger("sefar_mllm")


def finetune(config: FinetuneConfig) -> Path:
    """Run the fine-tuning that ``config`` describes. Returns the checkpoint's folder.

    Raises:
        SefarMLLMError: for settings, questions or features that do not fit one another.
    """
    check(config)
    questions = read_questions(config.questions)
    check_options(questions, str(config.questions), config.allow_repeats)
    validation = read_questions(config.validation) if config.validation else []
    check_options(validation, str(config.validation), config.allow_repeats)
    everything, validation = len(validation), drawn(validation, config.validation_size, config.seed)
    store = FeatureStore.open(config.features) if config.features else None
    if store is not None:
        check_clips([*questions, *validation], store, str(config.features))
    start = last_checkpoint(config)
    trainer = build_trainer(config, questions, validation, store, start)
    if start is None and store is not None:
        start_projector(trainer.mllm, questions, store, config.align_steps, config.seed)
    elif start is not None and store is not None:
        trainer.mllm.standardize.take(load_projector(start)[2])
    if trainer.is_world_process_zero():
        if len(validation) < everything:
            log.info(
                "following %d of %d validation questions, drawn by seed %d",
                len(validation),
                everything,
                config.seed,
            )
        prepare_output(config, start, trainer.mllm)
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    trainer.save_model(str(config.output))
    return config.output


def check(config: FinetuneConfig) -> None:
    """Refuse settings that contradict one another."""
    for name in ("batch_size", "accumulation", "evaluate_every", "learning_rate", "projector_learning_rate"):
        if getattr(config, name) <= 0:
            raise SefarMLLMError(f"{name} is {getattr(config, name)}, expected more than 0")
    if config.patience is not None and config.validation is None:
        raise SefarMLLMError("patience needs questions to follow: set validation, or patience: null")
    if config.validation_size is not None and (config.validation is None or config.validation_size < 1):
        raise SefarMLLMError(
            f"validation_size is {config.validation_size}, expected at least 1 and a validation file"
        )
    if config.resume and config.save_every is None:
        raise SefarMLLMError("resume needs checkpoints to resume from: set save_every")
    if config.lora.rank == 0 and config.features is None:
        raise SefarMLLMError("nothing to train: lora.rank is 0 and there are no features; set one of them")


def build_trainer(
    config: FinetuneConfig,
    questions: list[Question],
    validation: list[Question],
    store: FeatureStore | None,
    start: Path | None = None,
) -> MLLMTrainer:
    """Model, samples and loop of one run, or of what is left of the one with the checkpoint ``start``."""
    leave_process_group_at_exit()
    arguments, dtype = training_arguments(config)
    if config.quantization == "nf4" and is_deepspeed_zero3_enabled():
        raise SefarMLLMError(
            "quantization nf4: ZeRO-3 cannot spread 4-bit weights; launch with "
            "configs/accelerate/fsdp-4bit.yaml, or set quantization: none"
        )
    set_seed(config.seed)
    model = build_model(config, store, dtype, arguments.device, start)
    size = arguments.train_batch_size * config.accumulation * arguments.world_size
    arguments.max_steps = config.max_steps or max(1, round(config.epochs * len(questions) / size))
    dataset = FinetuneDataset(
        questions,
        store,
        model.prompter,
        arguments.max_steps * size,
        size,
        config.seed,
        config.shuffle_options,
        config.video_dropout,
        config.named_steps,
    )
    followed = (encode_question(model, question, store is not None) for question in validation)
    lengths = [*dataset.lengths, *(question.length for question in followed)]
    callbacks: list[TrainerCallback] = [
        MetricsFile(config.output / "metrics.jsonl"),
        ScoringCheck(model, int(max(lengths))),
    ]
    if config.patience is not None:
        callbacks.append(EarlyStoppingCallback(config.patience))
    return MLLMTrainer(
        model,
        arguments,
        config.projector_learning_rate,
        config.projector_steps,
        config.warmup,
        validation,
        store,
        train_dataset=dataset,
        callbacks=callbacks,
    )


def build_model(
    config: FinetuneConfig,
    store: FeatureStore | None,
    dtype: torch.dtype,
    device: torch.device,
    start: Path | None,
) -> SefarMLLM:
    """The model of a run: the projector takes its sizes from the store and the language model.

    Raises:
        SefarMLLMError: when an interrupted run was of another language model under the same name.
    """
    projector = encoder = None
    if store is not None:
        hidden = embedding_width(language_model_config(config.language_model))
        projector = ProjectorSpec(
            config.projector, store.dim, hidden, store.num_tokens, config.video_tokens or store.num_tokens
        )
        facts = store.facts
        location = facts.location or located(facts.encoder)
        encoder = EncoderIdentity(facts.encoder, facts.fingerprint, facts.dim, facts.num_tokens, location)
    settings = MLLMConfig(config.language_model, config.quantization, config.prompt, projector, encoder)
    before = None if start is None else RunRecord.read(config.output)
    frame = None if before is None else before.frame  # as on the day the run began
    model = SefarMLLM.build(settings, config.lora, dtype, device, frame)
    if before is not None and before.base != model.base:
        raise SefarMLLMError(
            f"{config.output}: the interrupted run was of another language model than "
            f"{config.language_model!r} is now; put that one back, or set resume: false"
        )
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.info("%.2f M trained weights; frozen weights and products in %s", trained / 1e6, dtype)
    return model


def last_checkpoint(config: FinetuneConfig) -> Path | None:
    """The newest whole checkpoint of an interrupted run in the output folder, where resuming is asked for.

    Raises:
        SefarMLLMError: when that run had other settings.
    """
    if not config.resume:
        return None
    # The library writes trainer_state.json after all else: a folder without it is half a checkpoint.
    whole = [file.parent for file in (config.output / "steps").glob("checkpoint-*/trainer_state.json")]
    if not whole:
        return None
    before = RunRecord.read(config.output).options
    now = as_json(config)
    changed = sorted(name for name in now if name != "resume" and before.get(name) != now[name])
    if changed:
        raise SefarMLLMError(
            f"{config.output}: the interrupted run had other settings ({', '.join(changed)}); give the same, "
            "another output folder, or resume: false"
        )
    return max(whole, key=lambda folder: int(folder.name.split("-")[1]))


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What options.json keeps of a run, for one that goes on from it.

    Attributes:
        options: the settings as JSON values.
        versions: of Python and the libraries.
        frame: what stands around the words of its prompts.
        base: fingerprint of the language model's own weights.
    """

    options: dict[str, object]
    versions: dict[str, str]
    frame: Frame
    base: str

    @classmethod
    def read(cls, output: Path) -> RunRecord:
        """What `prepare_output` wrote."""
        values = json.loads((output / "options.json").read_text(encoding="utf-8"))
        return cls(**{**values, "frame": Frame(**values["frame"])})


def as_json(config: FinetuneConfig) -> dict[str, object]:
    """The settings as JSON values."""
    return dict(json.loads(json.dumps(asdict(config), default=str)))


def prepare_output(config: FinetuneConfig, start: Path | None, model: SefarMLLM) -> None:
    """Write options.json, and cut metrics.jsonl back to the step the run goes on from."""
    config.output.mkdir(parents=True, exist_ok=True)
    done = 0 if start is None else int(start.name.split("-")[1])
    metrics = config.output / "metrics.jsonl"
    kept = metrics.is_file() and done
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if kept else []
    metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= done), encoding="utf-8")
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")}
    record = RunRecord(
        options=as_json(config),
        versions={"python": platform.python_version(), **versions},
        frame=model.prompter.frame,
        base=model.base,
    )
    write_json(config.output / "options.json", asdict(record))
