"""SeFAR as its paper describes it (arXiv 2501.01245): moderate temporal perturbation, adaptive regulation and
tube-token mix."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from encoder.loading.augment import Views
from encoder.loading.data import Batch
from encoder.model.sefar import SefarEncoder
from encoder.recipes.base import Recipe, RecipeConfig, Term
from encoder.recipes.losses import adaptive_regulation, weighted_cross_entropy, weighted_squared_error
from encoder.recipes.mix import TubeMix
from encoder.recipes.teacher import PseudoLabels, Teacher


class Sefar(Recipe):
    """``L = L_sup + ξ·(2·L_un + 2·L_mix)`` (method §6)."""

    unlabelled_losses = ("un", "mix")

    def __init__(self, student: SefarEncoder, views: Views, config: RecipeConfig, epochs: int) -> None:
        super().__init__(student, views, config, epochs)
        self.teacher: Teacher = Teacher(student, config.ema_decay)

    def unlabelled_terms(self, model: nn.Module, clips: Batch, epoch: int) -> Iterator[Term]:
        pseudo = self.pseudo_labels(self.weak(clips))
        weight = self.weight(pseudo)
        strong = self.strong(clips)
        ramp = self.ramp(epoch)
        error = weighted_cross_entropy(self.predict(model, strong), pseudo.label, weight)
        figures = {"eta": weight.mean(), "confidence": pseudo.confidence.mean()}
        yield Term(ramp * self.config.unlabelled_weight * error, figures)
        yield Term(ramp * self.config.mix_weight * self.mix_loss(model, strong, pseudo, weight), {})

    def weak(self, clips: Batch) -> Tensor:
        """The weak view ``(B, N, C, S, S)``, which the teacher sees."""
        return self.views.weak(clips.frames, clips.sizes)

    def predict(self, model: nn.Module, view: Tensor) -> Tensor:
        """The student's logits ``(B, num_classes)`` of a strong view, under feature dropout."""
        return model(view, self.views.config.feature_dropout)

    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        """The teacher's labels of weak views ``(B, N, C, S, S)``."""
        return self.teacher.label(weak, self.config.predictions)

    def weight(self, pseudo: PseudoLabels) -> Tensor:
        """How much each pseudo-label counts, ``(B,)``: adaptive regulation."""
        return adaptive_regulation(pseudo.confidence, pseudo.deviation)

    def mix_loss(self, model: nn.Module, strong: Tensor, pseudo: PseudoLabels, weight: Tensor) -> Tensor:
        """``L_mix``: the student's probabilities for mixed clips against the teacher's, mixed alike."""
        shape = self.student.shape
        mix = TubeMix.draw(len(strong), shape.n_patches).to(strong.device)
        mixed = mix.frames(strong, strong[mix.partner], shape.patch_size)
        logits = self.predict(model, mixed)
        return weighted_squared_error(
            logits.float().softmax(-1), mix.targets(pseudo.probabilities), mix.targets(weight)
        )


RECIPE = Sefar
