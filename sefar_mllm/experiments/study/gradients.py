"""What each loss of a method gives to the gradient of the backbone, which all of them train together."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from encoder.loading.data import Batch, derive_seed
from encoder.recipes.base import SemiSupervisedOptions
from encoder.training.config import TrainConfig
from encoder.training.train import Training
from encoder.visual.sefar import load_sefar
from sefar_mllm.experiments.study.plan import Measured

UPDATES = 8
# Small gradients do not vanish in fp16, and a power of two changes no digit in other precisions.
SCALE = 2.0**10

# Of every loss by name: "norm", "share" and "cosine", each with a number for every update.
Parts = dict[str, dict[str, list[float]]]


def gradient_shares(folder: Path, config: TrainConfig) -> Measured:
    """How much of the backbone's gradient is the mix loss's, at the first unlabelled clips and at the end.

    Measured on the clips of the first updates that have unlabelled ones, with the networks of that moment,
    for which the warm-up is done again, and with the trained ones; weights and ramp-up are those of the time.

    Returns:
        Figures: means over the updates, shares in per cent. Details: the :data:`Parts` of both times.
    """
    recipe = config.recipe.options
    assert isinstance(recipe, SemiSupervisedOptions), config.recipe.name
    begun, ended = recipe.warmup_epochs, config.epochs - 1
    AcceleratorState._reset_state()  # this run's settings must not meet those of another in the process
    try:
        with tempfile.TemporaryDirectory() as scratch:
            training = _warmed_up(replace(config, output=Path(scratch) / "run", resume=False), begun)
        found = {"first": _over_updates(training, begun)}
        assert training.recipe.teacher is not None
        for name, network in (("student", training.student), ("teacher", training.recipe.teacher.network)):
            network.load_state_dict(load_sefar(folder / name).state_dict())
        found["last"] = _over_updates(training, ended)
    finally:
        AcceleratorState._reset_state()
    figures = {
        "mix loss's share of the gradient (%), first": 100 * fmean(found["first"]["mix"]["share"]),
        "last": 100 * fmean(found["last"]["mix"]["share"]),
        "its cosine to the whole, last": fmean(found["last"]["mix"]["cosine"]),
    }
    return Measured(figures, found)


def _warmed_up(config: TrainConfig, epoch: int) -> Training:
    """A training right before its first update with unlabelled clips, in ``epoch``."""
    data = replace(config.data, val=None)
    training = Training(replace(config, data=data, checkpoint_every=0, keep_best=False, tracker="none"))
    training.total = _first_update(training)
    training.run()
    training.recipe.start_epoch(epoch)
    return training


def _first_update(training: Training) -> int:
    """The first update with unlabelled clips."""
    epochs = map(training.lists.epoch, range(training.lists.total))
    return next(update for update, epoch in enumerate(epochs) if training.recipe.wants_unlabelled(epoch))


def _over_updates(training: Training, epoch: int) -> Parts:
    """The parts of the gradient on the clips of the first updates with unlabelled ones, weighted as in
    ``epoch``."""
    config, lists, first = training.config, training.lists, _first_update(training)
    labelled = lists.labelled_batches(first)
    unlabelled = lists.unlabelled_batches(first, training.recipe.draws)
    found: Parts = {}
    for update in range(first, min(first + UPDATES, lists.total)):
        total: dict[str, Tensor] = {}
        for part in range(config.accumulate):
            clips = next(labelled), next(unlabelled)
            torch.manual_seed(derive_seed(config.seed, "update", update, part))  # as in training
            gradients = loss_gradients(training, *clips, epoch)
            total = {name: total.get(name, 0) + gradient for name, gradient in gradients.items()}
        for name, figures in compared(total).items():
            for key, value in figures.items():
                found.setdefault(name, {}).setdefault(key, []).append(value)
    return found


def loss_gradients(training: Training, labelled: Batch, unlabelled: Batch, epoch: int) -> dict[str, Tensor]:
    """The gradient of each weighted loss in one part of an update: ``(P,)``, all weights of the backbone."""
    device, weights = training.accelerator.device, list(training.student.backbone.parameters())
    terms = training.recipe.terms(training.model, labelled.to(device), unlabelled.to(device), epoch)
    found = {}
    for name in training.recipe.loss_names(unlabelled):
        with training.accelerator.autocast():
            loss = next(terms).loss * (SCALE / training.config.accumulate)
        each = torch.autograd.grad(loss, weights, materialize_grads=True)
        found[name] = torch.cat([gradient.float().flatten() for gradient in each]) / SCALE
    return found


def compared(gradients: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Sets the gradients ``(P,)`` of several losses against each other.

    Returns:
        For each its ``norm``, its ``share`` of the sum of all norms, and its ``cosine`` to the sum of the
        gradients, which is what the optimizer gets; 0 for a loss without gradient.
    """
    # In float32 the sums over millions of weights are good to four digits: a cosine may exceed 1.
    whole = torch.stack(list(gradients.values())).sum(0).double()
    norms = {name: float(gradient.double().norm()) for name, gradient in gradients.items()}
    dots = {name: float(gradient.double() @ whole) for name, gradient in gradients.items()}
    return {
        name: {
            "norm": norm,
            "share": norm / sum(norms.values()) if norm else 0.0,
            "cosine": dots[name] / (norm * float(whole.norm())) if norm else 0.0,
        }
        for name, norm in norms.items()
    }
