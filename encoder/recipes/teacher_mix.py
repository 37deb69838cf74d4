"""Methods of a teacher's pseudo-labels and a mix of clips, which differ in how a pseudo-label is made and how
much it counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.base import SemiSupervised, SemiSupervisedOptions, Term
from encoder.recipes.losses import weighted_cross_entropy, weighted_squared_error
from encoder.recipes.mix import TubeMix
from encoder.recipes.teacher import PseudoLabels, Teacher


@dataclass(frozen=True)
class TeacherMixOptions(SemiSupervisedOptions):
    """Options of these methods.

    Attributes:
        ema_decay: Highest decay of the teacher's average; it follows the number of updates up to this
            (sefar_released: constant).
        mix_weight: Weight of the mix loss, before the ramp-up.
    """

    ema_decay: float = 0.9999
    mix_weight: float = 2.0


class TeacherMix(SemiSupervised):
    """``L = L_sup + ξ·(w_un·L_un + w_mix·L_mix)`` (method §6)."""

    Options = TeacherMixOptions
    options: TeacherMixOptions
    unlabelled_losses = ("un", "mix")
    has_teacher = True

    def __init__(self, student: SefarEncoder, views: Views, options: TeacherMixOptions, epochs: int) -> None:
        super().__init__(student, views, options, epochs)
        self.teacher: Teacher = Teacher(student, options.ema_decay)

    @abstractmethod
    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """The teacher's labels of weak views ``(B, N, C, S, S)``."""

    @abstractmethod
    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """How much each pseudo-label counts, ``(B,)``."""

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        pseudo = self.pseudo_labels(self.weak(clips))
        weight = self.weight(pseudo)
        strong = self.strong(clips)
        ramp = self.ramp(epoch)
        error = weighted_cross_entropy(self.predict(model, strong), pseudo.label, weight)
        figures = {"eta": weight.mean(), "confidence": pseudo.confidence.mean()}
        yield Term(ramp * self.options.unlabelled_weight * error, figures)
        yield Term(ramp * self.options.mix_weight * self.mix_loss(model, strong, pseudo, weight), {})

    def weak(self, clips: Batch) -> Tensor:
        """The weak view ``(B, N, C, S, S)``, which the teacher sees."""
        return self.views.weak(clips.frames, clips.sizes)

    def predict(self, model: nn.Module, view: Tensor) -> Tensor:
        """The student's logits ``(B, num_classes)`` of a strong view, under feature dropout."""
        return model(view, self.views.config.feature_dropout)

    def mix_loss(self, model: nn.Module, strong: Tensor, pseudo: PseudoLabels, weight: Tensor) -> Tensor:
        """``L_mix``: the student's probabilities for mixed clips against the teacher's, mixed alike."""
        shape = self.student.shape
        mix = TubeMix.draw(len(strong), shape.n_patches).to(strong.device)
        mixed = mix.frames(strong, strong[mix.partner], shape.patch_size)
        logits = self.predict(model, mixed)
        return weighted_squared_error(
            logits.float().softmax(-1), mix.targets(pseudo.probabilities), mix.targets(weight)
        )
