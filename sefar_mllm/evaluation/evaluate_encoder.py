"""The verb ``evaluate-encoder``: how often a trained video encoder is right, one view or many."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from encoder.errors import EncoderError
from encoder.files import write_json
from encoder.loading.data import ReadConfig, evaluation_batches, open_source
from encoder.model.sefar import SefarEncoder
from encoder.processes.group import join
from encoder.processes.waiting import leaving_together
from encoder.training.evaluate import ClipPredictions, predict
from encoder.video.clips import ClassInfo, check_labels, read_classes, read_clips
from encoder.visual.sefar import load_sefar
from gym_qa.datasets.cliplist import path_cell
from sefar_mllm.files import write_whole, written_whole
from sefar_mllm.report.confusion_picture import save_confusion
from sefar_mllm.report.tables import percent
from sefar_mllm.statistics import GroupAccuracy, accuracy_by, confusion_counts, wilson_interval


@dataclass(frozen=True)
class EvaluateEncoderConfig(ReadConfig):
    """Evaluate a trained video encoder on labelled clips.

    Nothing is random: every view takes fixed frames, every crop has its place, nothing is mirrored. The
    probabilities of a clip's views and crops are averaged.

    Attributes:
        encoder: Folder of a training run, whose student and teacher are both evaluated, or of one network.
        clips: Clip list with labels.
        output: Folder for ``results.json``, ``predictions.csv``, ``probabilities.safetensors`` and a picture
            of the confusion matrix of each network.
        classes: ``classes.json``, a list, index = label; by default the one beside the clip list.
        views: Temporal views: sets of frames spread over each clip.
        crops: Crops of each view: 1 in the centre, or 3 along the long side.
        batch: Clips in a batch.
        mixed_precision: no, bf16 or fp16.
    """

    encoder: Path
    clips: Path
    output: Path
    classes: Path | None = None
    views: int = 1
    crops: Literal[1, 3] = 1
    batch: int = 16
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"


def open_networks(folder: Path) -> dict[str, SefarEncoder]:
    """The networks in a folder: ``student`` and ``teacher`` of a run, or the folder's one under its name.

    Raises:
        EncoderError: There is no network in the folder.
    """
    inside = [name for name in ("student", "teacher") if (folder / name / "config.json").is_file()]
    if inside:
        return {name: load_sefar(folder / name) for name in inside}
    return {folder.resolve().name: load_sefar(folder)}


@dataclass(frozen=True)
class Share:
    """An accuracy with its 95 % interval; fractions."""

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{percent(self.accuracy)} ({percent(self.low)}–{percent(self.high)})"


@dataclass(frozen=True)
class ClassAccuracy(GroupAccuracy):
    """Accuracy of the clips of a class; its key is the label."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How often a network is right.

    Intervals are Wilson's; that of ``mean_class`` puts the classes' Wilson intervals together (square and
    add, Newcombe 1998).

    Attributes:
        top1: the likeliest class is the right one.
        top5: the right class is among the five likeliest.
        mean_class: mean of the classes' accuracies.
        classes: of each class that occurs.
        events: of each event that occurs; empty where no class says its own.
        sets: the same for sets.
    """

    top1: Share
    top5: Share
    mean_class: Share
    classes: list[ClassAccuracy]
    events: list[GroupAccuracy]
    sets: list[GroupAccuracy]


@dataclass(frozen=True, kw_only=True)
class EncoderResults:
    """The contents of ``results.json``.

    Attributes:
        networks: measures of each network.
        n: clips.
        settings: the options as JSON values.
        versions: of the libraries.
    """

    networks: dict[str, Measures]
    n: int
    settings: dict[str, object]
    versions: dict[str, str]

    def __str__(self) -> str:
        """The headline accuracies in per cent, one line a network."""
        lines = []
        for name, measured in self.networks.items():
            parts = f"top-1 {measured.top1}, top-5 {measured.top5}, mean of classes {measured.mean_class}"
            lines.append(f"{name}: {parts} % of {self.n} clips (95 % interval)")
            if measured.events:
                groups = (f"{group.key} {percent(group.accuracy)}" for group in measured.events)
                lines.append(f"  by event: {', '.join(groups)}")
        return "\n".join(lines)


def evaluate_encoder(config: EvaluateEncoderConfig) -> EncoderResults:
    """Run the verb. Returns what ``results.json`` holds.

    Raises:
        EncoderError: An encoder, a clip list or a video is at fault, or they do not fit together.
    """
    for name in ("views", "batch"):
        if getattr(config, name) < 1:
            raise EncoderError(f"{name}: expected at least 1, got {getattr(config, name)}")
    networks = open_networks(config.encoder)
    classes_file = config.classes or config.clips.parent / "classes.json"
    classes = read_classes(classes_file)
    clips = read_clips(config.clips, config.video_root)
    check_labels(clips, classes, config.clips)
    for network in networks.values():
        _check_classes(network, classes, config.encoder, classes_file)
    # Accelerate's settings belong to the process; these must not meet those of a training in it.
    AcceleratorState._reset_state()
    join("evaluate-encoder")
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    try:
        with leaving_together():
            source = open_source(config, clips)
        batches = evaluation_batches(
            clips,
            source,
            next(iter(networks.values())).elements,
            config.batch,
            accelerator.process_index,
            accelerator.num_processes,
            config.workers,
            config.views,
        )
        for network in networks.values():
            network.to(accelerator.device)
        with tqdm(batches, desc="evaluating", disable=not accelerator.is_local_main_process) as shown:
            predicted = predict(networks, shown, accelerator, config.crops)
    finally:
        AcceleratorState._reset_state()
    scores, labels = predicted.probabilities, predicted.labels
    results = EncoderResults(
        networks={name: measures(score, labels, classes) for name, score in scores.items()},
        n=len(labels),
        settings=json.loads(json.dumps(asdict(config), default=str)),
        versions={"sefar-mllm": version("sefar-mllm"), "torch": torch.__version__},
    )
    if accelerator.is_main_process:
        _write(config.output, results, predicted, classes)
        print(results)
    return results


def _check_classes(network: SefarEncoder, classes: list[ClassInfo], folder: Path, file: Path) -> None:
    names = [entry.name for entry in classes]
    if network.num_classes != len(names) or (network.classes is not None and network.classes != names):
        raise EncoderError(
            f"{file}: {len(names)} classes that are not the {network.num_classes} that {folder} was trained "
            "on; name the classes.json of its training, and a clip list with its labels"
        )


def measures(scores: Tensor, labels: Tensor, classes: list[ClassInfo]) -> Measures:
    """Accuracies with 95 % intervals.

    Args:
        scores: Probabilities ``(n, C)``.
        labels: ``(n,)``.
        classes: The ``C`` classes.
    """
    top = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
    right, among_five = top[:, 0].tolist(), top.any(1).tolist()
    shown = [classes[label] for label in labels.tolist()]
    per_class = accuracy_by(right, labels.tolist())
    n = len(per_class)
    mean = sum(c.accuracy for c in per_class) / n
    return Measures(
        top1=_share(right),
        top5=_share(among_five),
        mean_class=Share(
            mean,
            mean - math.sqrt(sum((c.accuracy - c.low) ** 2 for c in per_class)) / n,
            mean + math.sqrt(sum((c.high - c.accuracy) ** 2 for c in per_class)) / n,
        ),
        classes=[ClassAccuracy(**asdict(c), name=classes[int(c.key)].name) for c in per_class],
        events=_groups(right, [c.event for c in shown]),
        sets=_groups(right, [c.set for c in shown]),
    )


def _share(right: list[bool]) -> Share:
    return Share(sum(right) / len(right), *wilson_interval(sum(right), len(right)))


def _groups(right: list[bool], keys: Sequence[str | int | None]) -> list[GroupAccuracy]:
    """Where only some classes say their key, the others stand together; where none does, nothing."""
    texts = [str(key or "none") for key in keys]
    return accuracy_by(right, texts) if set(texts) != {"none"} else []


def _write(
    folder: Path,
    results: EncoderResults,
    predicted: ClipPredictions,
    classes: list[ClassInfo],
) -> None:
    """Everything the evaluation leaves behind; ``results.json`` last, as the sign of a whole folder."""
    scores, labels, names = predicted.probabilities, predicted.labels, predicted.clips
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "probabilities.safetensors") as temporary:
        save_file({**scores, "labels": labels}, temporary)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(
        ["clip", "label", *(f"{name}_{what}" for name in scores for what in ("label", "probability"))]
    )
    best = {name: score.max(1) for name, score in scores.items()}
    for i, clip in enumerate(names):
        cells = [cell for b in best.values() for cell in (int(b.indices[i]), f"{float(b.values[i]):.4f}")]
        writer.writerow([path_cell(clip), int(labels[i]), *cells])
    write_whole(folder / "predictions.csv", table.getvalue())
    for name, score in scores.items():
        title = f"{name}: {percent(results.networks[name].top1.accuracy)} % of {len(names)} clips"
        counts = confusion_counts(score.argmax(1).numpy(), labels.numpy(), len(classes))
        save_confusion(folder / f"confusion-{name}.png", {title: counts}, classes)
    write_json(folder / "results.json", asdict(results))
