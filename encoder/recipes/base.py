"""What a recipe is: the teacher and the losses of one training method. The training loop knows no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.losses import ramp_up
from encoder.recipes.perturb import find_perturbation, reorder
from encoder.recipes.teacher import Teacher


@dataclass(frozen=True)
class RecipeOptions:
    """Options of a recipe: a class beside it, whose docstring is what ``--help`` shows."""


class Term(NamedTuple):
    """One of the weighted losses that are summed, and figures worth logging."""

    loss: Tensor
    figures: dict[str, Tensor]


class Recipe:
    """One training method; by itself, cross-entropy on the labelled clips alone. A new one is a subclass in a
    module of its own and an entry in ``encoder.recipes.config.RECIPES``.

    Its losses come one after the other: whoever computes the gradient of each before asking for the next
    holds the activations of one forward pass at a time. The gradients add up to those of the sum.

    Args:
        student: The network that is trained, unwrapped.
        views: Makes weak, labelled and strong views of decoded frames.
        options: The method's own options, an instance of ``Options``.
        epochs: Epochs of the whole training, for the ramp-up.

    Attributes:
        Options: The class of the method's own options.
        unlabelled_losses: Names of the losses on unlabelled clips, in the order of :meth:`unlabelled_terms`.
        draws: Independent sets of frames that an unlabelled clip comes with, one behind the other.
        has_teacher: Whether there is an EMA network.
        teacher: The EMA network, or None where the method has none.
    """

    Options: ClassVar[type[RecipeOptions]] = RecipeOptions
    unlabelled_losses: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[int] = 1
    has_teacher: ClassVar[bool] = False

    options: RecipeOptions

    def __init__(self, student: SefarEncoder, views: Views, options: RecipeOptions, epochs: int) -> None:
        self.student, self.views, self.options, self.epochs = student, views, options, epochs
        self.perturbation = find_perturbation(views.config.perturbation)
        self.teacher: Teacher | None = None

    def wants_unlabelled(self, epoch: int) -> bool:
        """Whether ``terms`` is to be given unlabelled clips in this epoch."""
        return False

    def start_epoch(self, epoch: int) -> None:
        """Called before every epoch."""

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


@dataclass(frozen=True)
class SemiSupervisedOptions(RecipeOptions):
    """Options of every recipe that looks at unlabelled clips.

    Attributes:
        warmup_epochs: Epochs on labels alone before the unlabelled clips come in and the teacher starts.
        unlabelled_weight: Weight of the pseudo-label or consistency loss, before the ramp-up.
    """

    warmup_epochs: int = 5
    unlabelled_weight: float = 2.0


class SemiSupervised(Recipe):
    """A method that looks at unlabelled clips after a warm-up on labels alone, with or without a teacher."""

    Options = SemiSupervisedOptions
    options: SemiSupervisedOptions

    def wants_unlabelled(self, epoch: int) -> bool:
        return epoch >= self.options.warmup_epochs

    def ramp(self, epoch: int) -> float:
        """``ξ``, the weight of the unlabelled losses."""
        return ramp_up(epoch, self.options.warmup_epochs, self.epochs)

    def start_epoch(self, epoch: int) -> None:
        """The teacher starts as a copy of the student after the warm-up."""
        if self.teacher is not None and epoch == self.options.warmup_epochs:
            self.teacher.restart()

    def after_update(self, epoch: int) -> None:
        """The teacher follows, once it has started."""
        if self.teacher is not None and epoch >= self.options.warmup_epochs:
            self.teacher.follow()

    def strong(self, clips: Batch) -> Tensor:
        """The strong view ``(B, N, C, S, S)``: cropped, mirrored where allowed, frames perturbed in time."""
        view = self.views.flipped(clips.frames, clips.sizes)
        return reorder(view, self.perturbation(len(view), self.student.elements))
