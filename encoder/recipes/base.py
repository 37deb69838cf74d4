"""What a recipe is: the teacher and the losses of one training method. The training loop knows no more."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

import encoder.recipes
from encoder.errors import EncoderError
from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.losses import ramp_up
from encoder.recipes.perturb import find_perturbation, reorder
from encoder.recipes.teacher import Teacher


@dataclass(frozen=True)
class RecipeConfig:
    """Which method trains the encoder, and its constants.

    Attributes:
        name: supervised, sefar, sefar_released, mean_teacher, fixmatch or svformer.
        warmup_epochs: Epochs on labels alone before the teacher starts.
        ema_decay: Highest decay of the teacher's average; it follows the number of updates up to this
            (sefar_released: constant).
        predictions: Predictions ``K`` of the teacher for every clip (sefar).
        unlabelled_weight: Weight of the pseudo-label or consistency loss, before the ramp-up.
        mix_weight: Weight of the mix loss, before the ramp-up.
        threshold: Least confidence of a pseudo-label that counts (fixmatch, svformer).
    """

    name: str = "sefar"
    warmup_epochs: int = 5
    ema_decay: float = 0.9999
    predictions: int = 10
    unlabelled_weight: float = 2.0
    mix_weight: float = 2.0
    threshold: float = 0.8


class Term(NamedTuple):
    """One of the weighted losses that are summed, and figures worth logging."""

    loss: Tensor
    figures: dict[str, Tensor]


class Recipe:
    """One training method. A new one is a module in this folder whose ``RECIPE`` is a subclass.

    Its losses come one after the other: whoever computes the gradient of each before asking for the next
    holds the activations of one forward pass at a time. The gradients add up to those of the sum.

    Args:
        student: The network that is trained, unwrapped.
        views: Makes weak, labelled and strong views of decoded frames.
        config: The method's constants.
        epochs: Epochs of the whole training, for the ramp-up.

    Attributes:
        unlabelled_losses: Names of the losses on unlabelled clips, in the order of :meth:`unlabelled_terms`.
        draws: Independent sets of frames that an unlabelled clip comes with, one behind the other.
        teacher: The EMA network, or None where the method has none.
    """

    unlabelled_losses: tuple[str, ...] = ()
    draws: int = 1

    def __init__(self, student: SefarEncoder, views: Views, config: RecipeConfig, epochs: int) -> None:
        self.student, self.views, self.config, self.epochs = student, views, config, epochs
        self.perturbation = find_perturbation(views.config.perturbation)
        self.teacher: Teacher | None = None

    def wants_unlabelled(self, epoch: int) -> bool:
        """Whether ``terms`` is to be given unlabelled clips in this epoch."""
        return bool(self.unlabelled_losses) and epoch >= self.config.warmup_epochs

    def ramp(self, epoch: int) -> float:
        """``ξ``, the weight of the unlabelled losses."""
        return ramp_up(epoch, self.config.warmup_epochs, self.epochs)

    def start_epoch(self, epoch: int) -> None:
        """Called before every epoch: the teacher starts as a copy of the student after the warm-up."""
        if self.teacher is not None and epoch == self.config.warmup_epochs:
            self.teacher.restart()

    def loss_names(self, unlabelled: Batch | None) -> tuple[str, ...]:
        """Names of the losses that ``terms`` gives, in its order."""
        return ("sup", *(() if unlabelled is None else self.unlabelled_losses))

    def terms(
        self, model: nn.Module, labelled: Batch, unlabelled: Batch | None, epoch: int
    ) -> Iterator[Term]:
        """The weighted losses to be summed, each computed when it is asked for.

        Args:
            model: The student as the loop runs it (it may be wrapped for several processes).
            labelled: Clips with labels.
            unlabelled: Clips whose labels are not looked at, or None during the warm-up.
            epoch: The current epoch, from 0.
        """
        logits = model(self.views.flipped(labelled.frames, labelled.sizes)).float()
        yield Term(F.cross_entropy(logits, labelled.labels), {})
        if unlabelled is not None:
            yield from self.unlabelled_terms(model, unlabelled, epoch)

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        """The losses on unlabelled clips, each computed when it is asked for; here, none."""
        return iter(())

    def losses(
        self, model: nn.Module, labelled: Batch, unlabelled: Batch | None, epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """All of ``terms`` at once: the losses by name, and the figures."""
        terms = list(self.terms(model, labelled, unlabelled, epoch))
        losses = [term.loss for term in terms]
        figures = {name: value for term in terms for name, value in term.figures.items()}
        return dict(zip(self.loss_names(unlabelled), losses, strict=True)), figures

    def after_part(self, epoch: int) -> None:
        """Called after every part of an update that is computed in several, but for the last."""

    def after_update(self, epoch: int) -> None:
        """Called after every update of the student."""
        if self.teacher is not None and epoch >= self.config.warmup_epochs:
            self.teacher.follow()

    def strong(self, clips: Batch) -> Tensor:
        """The strong view ``(B, N, C, S, S)``: cropped, mirrored where allowed, frames perturbed in time."""
        view = self.views.flipped(clips.frames, clips.sizes)
        return reorder(view, self.perturbation(len(view), self.student.elements))


def recipe_names() -> list[str]:
    """Names of the recipes there are: the modules of this folder but for ``base``."""
    return [m.name for m in pkgutil.iter_modules(encoder.recipes.__path__) if m.name != "base"]


def find_recipe(name: str) -> type[Recipe]:
    """The class of that name. Raises EncoderError naming those there are."""
    if name not in recipe_names():
        raise EncoderError(f"recipe {name!r}: expected one of {', '.join(recipe_names())}")
    return importlib.import_module(f"encoder.recipes.{name}").RECIPE
