"""Cross-entropy on the labelled clips alone: what every semi-supervised method has to beat."""

from __future__ import annotations

from encoder.recipes.base import Recipe


class Supervised(Recipe):
    """``L = L_sup``."""


RECIPE = Supervised
