"""Evaluation: deterministic views, the student and the teacher side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from encoder.errors import EncoderError
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder


def top_k_accuracy(scores: Tensor, labels: Tensor, k: int) -> float:
    """Share of clips whose label is among the ``k`` highest scores ``(n, C)``, in per cent."""
    top = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return 100 * (top == labels[:, None]).any(1).double().mean().item()


def mean_class_accuracy(scores: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy of each class that occurs, averaged over the classes, in per cent."""
    right = (scores.argmax(1) == labels).double()
    n = torch.bincount(labels, minlength=scores.shape[1])
    per_class = torch.bincount(labels, weights=right, minlength=scores.shape[1])
    return 100 * (per_class[n > 0] / n[n > 0]).mean().item()


def accuracies(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1, top-5 and mean per-class accuracy in per cent."""
    return {
        "top1": top_k_accuracy(scores, labels, 1),
        "top5": top_k_accuracy(scores, labels, 5),
        "mean_class": mean_class_accuracy(scores, labels),
    }


@torch.no_grad()
def predict(
    networks: Mapping[str, SefarEncoder],
    batches: Iterable[Batch],
    accelerator: Accelerator,
    n_crops: int = 1,
) -> tuple[dict[str, Tensor], Tensor, list[str]]:
    """Probabilities of every network for every clip, averaged over temporal views and crops.

    Args:
        networks: Networks by name; they see the same decoded frames.
        batches: This process's part of the clips; their frames may be those of several temporal views.
        accelerator: Gathers the parts of all processes.
        n_crops: Crops of each clip: 1 or 3.

    Returns:
        Probabilities ``(n, C)`` by name, labels ``(n,)`` and clip ids, the same in every process.

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
    found = {name: torch.cat([of_process[name] for _, _, of_process in every])[order] for name in mine}
    return found, truth[order], [names[i] for i in order]
