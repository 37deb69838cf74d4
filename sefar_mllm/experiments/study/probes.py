"""What a study measures of a trained run besides its accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from scipy import stats
from torch import Tensor

from encoder.device import automatic_precision, own_device
from encoder.errors import EncoderError
from encoder.loading.data import derive_seed, evaluation_batches, open_source
from encoder.model.sefar import SefarEncoder
from encoder.recipes.base import SemiSupervisedOptions
from encoder.recipes.perturb import Perturbation, all_reverse, mod_perturb, reorder
from encoder.recipes.sefar import SefarOptions
from encoder.recipes.teacher import Teacher, pseudo_labels
from encoder.training.config import TrainConfig
from encoder.video.clips import read_clips
from encoder.visual.sefar import load_sefar
from gym_qa.datasets.table import read_classes
from sefar_mllm.experiments.study.data import mirror_classes
from sefar_mllm.experiments.study.plan import Measured
from sefar_mllm.statistics import confusion_counts

TIMES = 5
ORDERS: dict[str, Perturbation] = {
    "tested with fine elements reversed": mod_perturb,
    "tested with all frames reversed": all_reverse,
}


def prediction_times(folder: Path, config: TrainConfig) -> Measured:
    """Milliseconds of the teacher's predictions and of an update in the semi-supervised part of the training.

    The teacher is timed on a batch of the training's shape; updates by the training's log, without the time
    they waited for clips.
    """
    network = _network(folder)
    device = next(network.parameters()).device
    clips = config.labelled_batch * config.unlabelled_ratio // config.accumulate
    side = network.shape.image_size
    frames = torch.randn(clips, network.elements.n_frames, 3, side, side, device=device)
    teacher = Teacher(network, decay=0.0)
    recipe = config.recipe.options
    warmup = recipe.warmup_epochs if isinstance(recipe, SemiSupervisedOptions) else 0
    spent = []
    for _ in range(TIMES + 1):
        begun = time.perf_counter()
        with _autocast(config, device):
            teacher.label(frames, _predictions(config))
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(1000 * (time.perf_counter() - begun))
    figures = {"teacher ms": median(spent[1:])}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    in_update = config.labelled_batch * (1 + config.unlabelled_ratio)
    updates = [
        1000 * in_update * (1 - line["data_wait"]) / line["clips_per_second"]
        for line in lines
        if line.get("epoch", 0) > warmup and "clips_per_second" in line
    ]
    if updates:
        figures["update ms"] = median(updates)
    return Measured(figures)


def accuracy_by_confidence(folder: Path, config: TrainConfig) -> Measured:
    """Confidence, deviation and success of the teacher's ``K`` predictions for every validation clip."""
    torch.manual_seed(derive_seed(config.seed, "confidence"))
    confidence, deviation, right = [], [], []
    network = _network(folder)
    head = network.head
    for frames, labels in _validation(network, config):
        feature = _feature(network, frames, config)
        found = pseudo_labels(head.predictions(feature, head.dropout_masks(_predictions(config), feature)))
        confidence.append(found.confidence)
        deviation.append(found.deviation)
        right.append(found.label == labels)
    p, s, hit = (torch.cat(parts).float().cpu() for parts in (confidence, deviation, right))
    figures = {
        "mean confidence": 100 * float(p.mean()),
        "mean deviation": 100 * float(s.mean()),
        "rank correlation of success with confidence": _rank_correlation(p, hit),
        "with deviation": _rank_correlation(s, hit),
    }
    details = {name: [round(v, 5) for v in values.tolist()] for name, values in (("p", p), ("s", s))}
    return Measured(figures, {**details, "right": [int(v) for v in hit.tolist()]})


def _rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's; 0 where one of the two never changes."""
    if a.unique().numel() < 2 or b.unique().numel() < 2:
        return 0.0
    return float(stats.spearmanr(a.numpy(), b.numpy()).statistic)


def accuracy_in_other_orders(folder: Path, config: TrainConfig) -> Measured:
    """Top-1 accuracy in per cent with the validation clips' frames in other orders.

    A network that loses nothing by an order does not look at what that order destroys, and the same
    perturbation in training can teach it little.
    """
    hits: dict[str, list[Tensor]] = {name: [] for name in ORDERS}
    network = _network(folder)
    for frames, labels in _validation(network, config):
        for name, order in ORDERS.items():
            view = reorder(frames, order(len(frames), network.elements))
            hits[name].append(_predicted(network, view, config) == labels)
    return Measured({name: 100 * float(torch.cat(parts).double().mean()) for name, parts in hits.items()})


def direction_confusion(folder: Path, config: TrainConfig) -> Measured:
    """The confusion matrix, and how many clips are taken for the same element in the other direction."""
    network = _network(folder)
    parts = [(_predicted(network, frames, config), labels) for frames, labels in _validation(network, config)]
    predicted, labels = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    assert config.data.classes is not None
    classes = read_classes(config.data.classes)
    mirrored = torch.tensor(mirror_classes(classes))
    share = 100 * float((predicted == mirrored[labels]).double().mean())
    return Measured(
        {"taken for the mirror class": share},
        {"counts": confusion_counts(predicted.numpy(), labels.numpy(), len(classes)).tolist()},
    )


def _predictions(config: TrainConfig) -> int:
    """``K`` of a run; SeFAR's where its recipe has none."""
    recipe = config.recipe.options
    return recipe.predictions if isinstance(recipe, SefarOptions) else SefarOptions().predictions


def _network(folder: Path) -> SefarEncoder:
    """The teacher, or the student where the method has no teacher."""
    inside = folder / "teacher" if (folder / "teacher").is_dir() else folder / "student"
    return load_sefar(inside).eval().requires_grad_(False).to(own_device())


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    precision = automatic_precision() if config.mixed_precision == "auto" else config.mixed_precision
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype, enabled=precision != "no")


def _feature(network: SefarEncoder, frames: Tensor, config: TrainConfig) -> Tensor:
    """Clip features ``(B, width)``, in the precision of the training."""
    with _autocast(config, frames.device):
        return network.clip_feature(frames).float()


def _predicted(network: SefarEncoder, frames: Tensor, config: TrainConfig) -> Tensor:
    """The class of each clip, ``(B,)``."""
    return network.head.classifier(_feature(network, frames, config)).argmax(1)


@torch.no_grad()
def _validation(network: SefarEncoder, config: TrainConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """The middle frames of every validation clip, ``(B, N, C, S, S)``, as it takes them, and their labels."""
    data = config.data
    device = next(network.parameters()).device
    lists = [path for path in (data.labelled, data.unlabelled, data.val) if path is not None]
    clips = {path: read_clips(path, data.video_root) for path in lists}
    # The clips of the training, so that its cache of decoded clips serves here as well.
    used = [clip for path in lists for clip in clips[path]]
    source = open_source(data, used)
    assert data.val is not None
    batch = config.evaluation_batch
    for part in evaluation_batches(clips[data.val], source, network.elements, batch, 0, 1, data.workers):
        if part.broken:
            raise EncoderError(part.broken[0])
        part = part.to(device)
        yield network.transform(part.frames, part.sizes), part.labels
