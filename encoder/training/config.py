"""Options of encoder training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from encoder.errors import EncoderError
from encoder.loading.augment import AugmentConfig
from encoder.loading.data import ReadConfig
from encoder.recipes.base import SemiSupervisedOptions
from encoder.recipes.config import RecipeConfig


@dataclass(frozen=True)
class DataConfig(ReadConfig):
    """Clip lists and how they are read.

    Attributes:
        labelled: Clip list with labels: CSV ``video,label[,start,end][,rate]``, or without a header
            ``<path> <label>`` or ``<path>,<label>``; a video is a file or a folder of numbered pictures.
        unlabelled: Clip list whose labels are not looked at; all recipes but supervised need it.
        val: Clip list to evaluate on.
        classes: ``classes.json``, a list, index = label; by default the one beside the labelled clip list.
    """

    labelled: Path
    unlabelled: Path | None = None
    val: Path | None = None
    classes: Path | None = None
    short_side: int = field(default=320, kw_only=True)


@dataclass(frozen=True)
class ModelConfig:
    """The network that is trained.

    Attributes:
        weights: Image ViT to start from: minigym, dinov2-s (patches of 14 px), a ``.safetensors`` file with a
            ``.json`` beside it, or a name that timm knows; none starts from random weights.
        preset: Shape without starting weights: tiny, S (the default) or B.
        image_size: Side of the input in pixels.
        patch_size: Side of a patch in pixels; by default that of the weights or the preset.
        dim: Width; by default that of the weights or the preset.
        depth: Blocks; by default those of the weights or the preset.
        heads: Attention heads; by default those of the weights or the preset.
        elements: Frames of each temporal element, the context element last.
        drop_path: Stochastic depth of the last block.
        dropout: Dropout before the classifier.
        gradient_checkpointing: Save memory by computing activations twice.
    """

    weights: str | None = None
    preset: Literal["tiny", "S", "B"] | None = None
    image_size: int = 224
    patch_size: int | None = None
    dim: int | None = None
    depth: int | None = None
    heads: int | None = None
    elements: str = "2-2-4"
    drop_path: float = 0.1
    dropout: float = 0.5
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None and self.preset is not None:
            raise EncoderError(
                f"model.preset: the weights {self.weights!r} have a shape of their own; name one of the two"
            )

    @property
    def preset_or_default(self) -> str | None:
        """The shape to start from; None where weights have one."""
        return "S" if self.weights is None and self.preset is None else self.preset


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning rate.

    Attributes:
        name: sgd (Nesterov) or adamw.
        learning_rate: Highest learning rate.
        backbone_scale: Learning rate of the backbone as a part of that of the head, the time embedding and
            temporal attention.
        momentum: Momentum of SGD, by default 0.9; AdamW has none.
        weight_decay: Weight decay; not for biases, norms and the class token.
        schedule: step (×0.1 after 25/30 of the training, ×0.01 after 28/30), cosine (to 0) or constant.
        warmup_updates: Updates over which the learning rate rises from 0.
        max_grad_norm: Largest norm of the gradient; none does not limit it.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.005
    backbone_scale: float = 1.0
    momentum: float | None = None
    weight_decay: float = 1e-3
    schedule: Literal["step", "cosine", "constant"] = "step"
    warmup_updates: int = 0
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name != "sgd" and self.momentum is not None:
            raise EncoderError(
                f"optim.momentum: {self.name} has no such option; leave it out, or choose optim.name sgd"
            )

    @property
    def momentum_or_default(self) -> float | None:
        """Momentum of SGD; None for an optimizer that has none."""
        return 0.9 if self.name == "sgd" and self.momentum is None else self.momentum


@dataclass(frozen=True)
class TrainConfig:
    """Train a video encoder from few labelled and many unlabelled clips.

    The defaults are the paper's. The run's folder gets ``metrics.jsonl``, ``config.json``, checkpoints, and
    at the end ``student/`` and ``teacher/`` in the form that ``SefarEncoder.from_pretrained`` reads.

    Attributes:
        output: Folder of the run.
        data: Clip lists and how they are read.
        model: The network.
        augment: Crops, flips, perturbation.
        recipe: The training method and its own options.
        optim: Optimizer and learning rate.
        epochs: Passes over the clips, of which ``recipe.warmup_epochs`` are on labels alone.
        epoch_over: Which clips a pass is over: ``unlabelled`` (the labelled where there are no others), or
            ``labelled``, as in the released code: for Gym99 at 5 % 20 updates rather than 131.
        updates: Number of updates, cut into ``epochs`` equal epochs, instead of passes over the data.
        labelled_batch: Labelled clips in an update, over all processes.
        unlabelled_ratio: Unlabelled clips for each labelled one.
        accumulate: Parts that each process computes an update in, one after the other; more parts take less
            memory.
        mixed_precision: no, bf16, fp16, or auto: bf16 on a GPU that multiplies in it, else no. What is left
            in float32 a GPU multiplies as TF32.
        seed: Seed of everything random.
        evaluate_every: Epochs between evaluations; 0 evaluates at the end only.
        evaluation_batch: Clips in a batch of the evaluation.
        checkpoint_every: Updates between checkpoints; 0 keeps none but the final networks.
        keep_checkpoints: Checkpoints kept, the newest.
        log_every: Updates between lines of ``metrics.jsonl``.
        keep_best: Keep, in ``best/``, the network with the highest top-1 accuracy on the validation clips.
        max_broken: Clips that may turn out unreadable; they are reported, left out and counted. One more ends
            the run.
        compile: Compile the backbones of student and teacher with ``torch.compile``.
        tracker: none, tensorboard or wandb, besides ``metrics.jsonl``.
        resume: Go on from the newest checkpoint in ``output`` when there is one.
    """

    output: Path
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    epochs: int = 30
    epoch_over: Literal["unlabelled", "labelled"] = "unlabelled"
    updates: int | None = None
    labelled_batch: int = 64
    unlabelled_ratio: int = 3
    accumulate: int = 1
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    seed: int = 0
    evaluate_every: int = 1
    evaluation_batch: int = 32
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 10
    keep_best: bool = False
    max_broken: int = 0
    compile: bool = False
    tracker: Literal["none", "tensorboard", "wandb"] = "none"
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "labelled_batch", "unlabelled_ratio", "accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise EncoderError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.updates is not None and self.updates < self.epochs:
            raise EncoderError(f"updates: expected at least one for each of {self.epochs} epochs")
        if self.keep_best and self.data.val is None:
            raise EncoderError("keep_best: there are no clips to judge by; name their list, data.val")
        recipe = self.recipe.options
        if isinstance(recipe, SemiSupervisedOptions) and not 0 <= recipe.warmup_epochs < self.epochs:
            raise EncoderError(
                f"recipe.warmup_epochs: expected fewer than the {self.epochs} epochs of the training, "
                f"got {recipe.warmup_epochs}"
            )


def as_json(config: TrainConfig) -> dict[str, Any]:
    """All options as JSON has them, with the defaults that depend on other options."""
    options = json.loads(json.dumps(asdict(config), default=str))
    options["model"]["preset"] = config.model.preset_or_default
    options["recipe"] = config.recipe.as_json()
    options["optim"]["momentum"] = config.optim.momentum_or_default
    return options
