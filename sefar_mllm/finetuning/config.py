"""Options of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sefar_mllm.model.config import Quantization
from sefar_mllm.model.language_model import EMBEDDED, Precision
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.prompts import PromptConfig


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune a language model (LoRA) and a projector on a question file, from stored features.

    Args:
        questions: question file to learn from.
        output: folder of the result: the checkpoint, metrics.jsonl, options.json, and steps to resume from.
        features: feature store of the questions' clips; null trains the language model without video.
        validation: question file to follow during training, from the same feature store; null for none.
        validation_size: questions of it that are asked at each look, drawn by the seed; null for all.
        allow_repeats: also take questions that hold an option twice, as some official ones do.
        language_model: SmolLM2-135M-Instruct (embedded), a folder, or a name on the Hub.
        quantization: nf4 holds the frozen weights in 4 bit (QLoRA; needs the extra 'quant').
        precision: of frozen weights and matrix products; auto is bf16 where the hardware multiplies in it.
        projector: linear, mlp, pool, resampler or qformer, with options of its own as in
            ``resampler?depth=4&head_width=64`` (mlp and pool: depth, the linear layers).
        video_tokens: tokens the projector gives for a video; null gives as many as there are features; pool,
            resampler and qformer can give another number.
        prompt: how questions are put.
        lora: the adapter.
        epochs: passes over the questions; ignored when max_steps is given.
        max_steps: optimizer steps.
        batch_size: samples of one optimizer step on one process, before accumulation.
        accumulation: batches of one optimizer step.
        learning_rate: of the adapter.
        projector_learning_rate: of the projector.
        warmup: share of the steps over which the learning rates rise; then they fall as a cosine.
        align_steps: steps of aligning the fresh projector with the words of the answers, before the language
            model is run; seconds that save many steps. 0 for none.
        projector_steps: first steps in which only the projector learns.
        weight_decay: of matrices; biases and norms have none.
        shuffle_options: ask each question with its options in a new order every epoch.
        video_dropout: share of the samples asked without video; teaches the model how likely an answer is
            before any video is seen, which the score text_pmi compares with.
        named_steps: the answer's words stand in the video's place, in all samples of the first step and in
            ever fewer until this one: so a small language model learns to look an option up in the list,
            which the letter format needs. 0 for none.
        evaluate_every: optimizer steps between two looks at validation.
        patience: stop when validation has not improved this many times, and keep the best; null never stops.
        save_every: optimizer steps between two checkpoints to resume from; null for none.
        resume: go on from the last such checkpoint in the output folder, where there is one.
        seed: of new weights, order, views and options.
        trainer: further settings of transformers.TrainingArguments, by name.
    """

    questions: Path
    output: Path
    features: Path | None = None
    validation: Path | None = None
    validation_size: int | None = None
    allow_repeats: bool = False
    language_model: str = EMBEDDED
    quantization: Quantization = "none"
    precision: Precision = "auto"
    projector: str = "mlp"
    video_tokens: int | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    lora: LoraOptions = field(default_factory=LoraOptions)
    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 2e-4
    projector_learning_rate: float = 1e-3
    warmup: float = 0.05
    align_steps: int = 300
    projector_steps: int = 0
    weight_decay: float = 0.0
    shuffle_options: bool = True
    video_dropout: float = 0.1
    named_steps: int = 0
    evaluate_every: int = 200
    patience: int | None = None
    save_every: int | None = None
    resume: bool = False
    seed: int = 0
    trainer: dict[str, Any] = field(default_factory=dict)
