"""Evaluation: deterministic views, the student and the teacher side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from encoder.errors import EncoderError
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder


@dataclass(frozen=True)
class Accuracies:
    """How often a network is right, as fractions.

    Attributes:
        top1: Share of clips whose label has the highest score.
        top5: Share of clips whose label is among the five highest.
        mean_class: ``top1`` of each class that occurs, averaged over the classes.
    """

    top1: float
    top5: float
    mean_class: float

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> Accuracies:
        """From scores ``(n, C)`` and labels ``(n,)``."""
        from sklearn.metrics import recall_score

        hits = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
        each = recall_score(labels, scores.argmax(1), labels=labels.unique(), average="macro")
        return cls(hits[:, 0].double().mean().item(), hits.any(1).double().mean().item(), float(each))


def in_percent(evaluation: Mapping[str, Accuracies]) -> dict[str, float]:
    """Accuracies of networks as logs and files have them: ``student_top1`` and so on, in per cent."""
    return {
        f"{name}_{key}": 100 * value
        for name, accuracies in evaluation.items()
        for key, value in asdict(accuracies).items()
    }


@dataclass(frozen=True)
class ClipPredictions:
    """What networks say of clips.

    Attributes:
        probabilities: ``(n, C)`` by the network's name.
        labels: ``(n,)``.
        clips: Ids of the clips.
    """

    probabilities: dict[str, Tensor]
    labels: Tensor
    clips: list[str]


@torch.no_grad()
def predict(
    networks: Mapping[str, SefarEncoder],
    batches: Iterable[Batch],
    accelerator: Accelerator,
    n_crops: int = 1,
) -> ClipPredictions:
    """Probabilities of every network for every clip, averaged over temporal views and crops.

    Args:
        networks: Networks by name; they see the same decoded frames.
        batches: This process's part of the clips; their frames may be those of several temporal views.
        accelerator: Gathers the parts of all processes.
        n_crops: Crops of each clip: 1 or 3.

    Returns:
        The same in every process.

    Raises:
        EncoderError: A clip cannot be read.
    """
    training = {name: network.training for name, network in networks.items()}
    clips: list[str] = []
    labels: list[int] = []
    scores = {name: [torch.empty(0, network.num_classes)] for name, network in networks.items()}
    for network in networks.values():
        network.eval()
    for batch in batches:
        if batch.broken:
            raise EncoderError(batch.broken[0])
        clips += batch.clips
        labels += batch.labels.tolist()
        batch = batch.to(accelerator.device)
        for name, network in networks.items():
            x = network.transform(batch.frames, batch.sizes, n_crops)
            with accelerator.autocast():
                logits = network(x.unflatten(1, (-1, network.elements.n_frames)).flatten(0, 1))
            each = logits.float().softmax(-1).view(n_crops, len(batch.labels), -1, network.num_classes)
            scores[name].append(each.mean((0, 2)))  # stays on the device until the end
    for name, network in networks.items():
        network.train(training[name])
    # Whole tensors: a row that is pickled takes along what its storage holds besides it.
    device = accelerator.device
    mine = {name: torch.cat([part.to(device) for part in parts]).cpu() for name, parts in scores.items()}
    every = gather_object([(clips, labels, mine)])
    names = [clip for of_process, _, _ in every for clip in of_process]
    truth = torch.tensor([label for _, of_process, _ in every for label in of_process])
    order = sorted(range(len(names)), key=lambda i: names[i])
    whole = {name: torch.cat([of_process[name] for _, _, of_process in every])[order] for name in mine}
    return ClipPredictions(whole, truth[order], [names[i] for i in order])
