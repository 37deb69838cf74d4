"""The verb ``demo``: from synthetic videos to a table that compares SeFAR with another encoder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from encoder.features.extract import ExtractConfig, extract
from encoder.loading.augment import AugmentConfig
from encoder.processes.group import ALONE, Processes
from encoder.recipes.base import RecipeConfig
from encoder.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from encoder.training.train import train
from gym_qa.benchmark.build import BuildQAConfig, build_qa
from gym_qa.datasets.cliplist import write_clip_list
from gym_qa.datasets.table import Clip
from gym_qa.minigym import MiniGymConfig, make_minigym
from gym_qa.questions.questions import read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.prompts import PromptConfig


@dataclass(frozen=True)
class Budget:
    """How much work a size is given; the same for every encoder that is compared.

    Attributes:
        labelled: share of the training clips that keep their label.
        updates: of the encoder's training.
        steps: of the fine-tuning.
        align_steps: of the projector alone, before it.
        views: stored feature views of a training clip.
    """

    labelled: float
    updates: int
    steps: int
    align_steps: int
    views: int


BUDGETS = {
    "tiny": Budget(labelled=0.3, updates=30, steps=10, align_steps=60, views=1),
    "mini": Budget(labelled=0.1, updates=300, steps=60, align_steps=300, views=2),
    "full": Budget(labelled=0.1, updates=20000, steps=2000, align_steps=1000, views=4),
}
SEFAR, FRAMES, BLIND = "SeFAR", "EfficientNet-Lite0", "no video"


@dataclass(frozen=True)
class DemoConfig:
    """Train SeFAR, join it to a language model and compare it, on synthetic videos.

    Stopped at any moment and started again, it goes on from the last finished stage.

    Attributes:
        size: tiny (under 3 minutes on two cores), mini (under 15) or full (for a GPU).
        output: folder of the run; by default runs/demo, for other sizes than mini with the size's name.
        data: folder of the rendered videos; by default data/minigym/SIZE.
        seed: everything follows from it.
    """

    size: Literal["tiny", "mini", "full"] = "mini"
    output: Path | None = None
    data: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Folders:
    """Where a demo keeps what."""

    run: Path
    data: Path

    @property
    def qa(self) -> Path:
        """Label split and questions."""
        return self.run / "qa"

    @property
    def encoder(self) -> Path:
        """The SeFAR training run."""
        return self.run / "encoder"

    def features(self, name: str) -> Path:
        """Feature store of an encoder."""
        return self.run / "features" / slug(name)

    def answers(self, name: str) -> Path:
        """Predictions of a fine-tuned model."""
        return self.run / "answers" / slug(name)

    def model(self, name: str) -> Path:
        """Checkpoint of a fine-tuned model."""
        return self.run / "mllm" / slug(name)


def slug(name: str) -> str:
    """A folder name for an encoder's name."""
    return name.lower().replace(" ", "-")


class Stages:
    """Runs each stage once: finished ones and their seconds are kept in ``stages.json``.

    Args:
        folder: of the run.
        options: what it was made with.
        processes: those that run the stages together; the first keeps the file.

    Raises:
        SefarMLLMError: when the folder holds a demo with other options.
    """

    def __init__(self, folder: Path, options: dict[str, object], processes: Processes = ALONE) -> None:
        self.file, self.processes = folder / "stages.json", processes
        self.options = json.loads(json.dumps(options, default=str))
        self.seconds: dict[str, float] = processes.once(self._read)

    def _read(self) -> dict[str, float]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            return {}
        found = json.loads(self.file.read_text(encoding="utf-8"))
        if found["options"] != self.options:
            raise SefarMLLMError(
                f"{self.file}: the run was made with {found['options']}, expected {self.options}; "
                "name another --output, or delete the folder to start anew"
            )
        return found["seconds"]

    def do(self, name: str, stage: Callable[[], object]) -> None:
        """Run a stage unless it is finished."""
        if name in self.seconds:
            self._say(f"• {name}: done before, in {self.seconds[name]:.0f} s")
            return
        self._say(f"• {name} …")
        begun = time.perf_counter()
        stage()
        self.finished(name, time.perf_counter() - begun)

    def finished(self, name: str, seconds: float) -> None:
        """Keep that a stage is finished."""
        self.seconds[name] = round(seconds, 1)
        if self.processes.first:
            temporary = self.file.with_suffix(".tmp")
            temporary.write_text(
                json.dumps({"options": self.options, "seconds": self.seconds}, indent=1), encoding="utf-8"
            )
            temporary.replace(self.file)
        self._say(f"  {name}: {self.seconds[name]:.0f} s")

    def _say(self, line: str) -> None:
        if self.processes.first:
            print(line, flush=True)


def encoder_config(folders: Folders, budget: Budget, seed: int) -> TrainConfig:
    """SeFAR's training on MiniGym; ``configs/encoder/minigym.yaml`` says the same for ``mini``."""
    return TrainConfig(
        output=folders.encoder,
        data=DataConfig(
            labelled=folders.qa / "train.csv",
            unlabelled=folders.qa / "unlabelled.csv",
            val=folders.qa / "val.csv",
            video_root=folders.data / "videos",
            short_side=96,
            cache=folders.data / "decoded",
            cache_quality=None,
        ),
        model=ModelConfig(weights="minigym", image_size=80, drop_path=0.0),
        augment=AugmentConfig(crop_min=0.75, crop_max=1.0, horizontal_flip=True),
        recipe=RecipeConfig(name="sefar", warmup_epochs=10, ema_decay=0.99),
        optim=OptimConfig(
            name="adamw",
            learning_rate=1e-3,
            backbone_scale=0.2,
            weight_decay=0.05,
            schedule="cosine",
            warmup_updates=20,
            max_grad_norm=1.0,
        ),
        epochs=30,
        updates=budget.updates,
        labelled_batch=16,
        unlabelled_ratio=1,
        mixed_precision="bf16",
        seed=seed,
        evaluate_every=15,
    )


def write_asked(folders: Folders) -> list[Path]:
    """Clip lists of the clips that are asked about: features of others are not needed."""
    lists = []
    for part in ("train", "val"):
        clips = [question.video for question in read_questions(folders.qa / f"{part}_questions.jsonl")]
        lists.append(folders.qa / f"{part}_asked.csv")
        write_clip_list(lists[-1], [Clip(clip, "", -1) for clip in clips])
    return lists


def extract_features(folders: Folders, name: str, spec: str, budget: Budget, seed: int) -> None:
    """Features of the asked clips: several views for training, the middle frames for validation."""
    config = ExtractConfig(
        encoder=spec,
        clips=write_asked(folders),
        output=folders.features(name),
        video_root=folders.data / "videos",
        views=budget.views,
        seed=seed,
        precision="bf16",
        workers=0,  # the encoder keeps both cores busy; decoding these small videos takes little beside it
    )
    extract(config)


def finetune_config(folders: Folders, name: str, budget: Budget, seed: int) -> FinetuneConfig:
    """The same for every encoder; only the features differ."""
    return FinetuneConfig(
        questions=folders.qa / "train_questions.jsonl",
        output=folders.model(name),
        features=None if name == BLIND else folders.features(name),
        prompt=PromptConfig(answer="text", list_options=False, system=""),
        max_steps=budget.steps,
        learning_rate=1e-3,
        projector_learning_rate=1e-5,  # aligned before, and then all but kept as it is
        align_steps=0 if name == BLIND else budget.align_steps,
        video_dropout=0.0 if name == BLIND else 0.1,
        seed=seed,
    )


def evaluate_config(folders: Folders, name: str, seed: int) -> EvaluateConfig:
    """Every validation question, by the likelihood of the options' texts."""
    return EvaluateConfig(
        checkpoint=folders.model(name),
        questions=folders.qa / "val_questions.jsonl",
        output=folders.answers(name),
        features=None if name == BLIND else folders.features(name),
        pmi=name != BLIND,
        seed=seed,
    )


def run_demo(config: DemoConfig) -> None:
    """Run every stage, then print the table and say where the report is."""
    from sefar_mllm.experiments.demo_report import report_demo

    name = "demo" if config.size == "mini" else f"demo-{config.size}"
    folders = Folders(config.output or Path("runs") / name, config.data or Path("data/minigym") / config.size)
    budget = BUDGETS[config.size]
    stages = Stages(folders.run, {**asdict(replace(config, output=None)), **asdict(budget)})
    stages.do(
        "render videos",
        lambda: make_minigym(MiniGymConfig(output=folders.data, size=config.size, seed=config.seed)),
    )
    stages.do(
        "build questions",
        lambda: build_qa(
            BuildQAConfig(output=folders.qa, data=folders.data, fraction=budget.labelled, seed=config.seed)
        ),
    )
    stages.do("train SeFAR", lambda: train(encoder_config(folders, budget, config.seed)))
    for encoder, spec in ((SEFAR, f"sefar:{folders.encoder / 'teacher'}"), (FRAMES, "efficientnet-lite0")):
        stages.do(
            f"extract features, {encoder}",
            partial(extract_features, folders, encoder, spec, budget, config.seed),
        )
    for model in (SEFAR, FRAMES, BLIND):
        fine = finetune_config(folders, model, budget, config.seed)
        stages.do(f"fine-tune, {model}", partial(finetune, fine))
        stages.do(f"answer, {model}", partial(evaluate, evaluate_config(folders, model, config.seed)))
    report_demo(folders, config.size, config.seed, stages.seconds)
