"""Figures of a training run since its last line of the log."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from encoder.recipes.base import Term


class Window:
    """Sums over some updates; tensors stay on their device until they are asked for."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0
        self.clips, self.parts = 0, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, term: Term) -> None:
        """Counts a weighted loss of one part of an update, and its figures."""
        for key, value in {f"loss_{name}": term.loss, **term.figures}.items():
            value = value.detach().float()
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def count(self, clips: int) -> None:
        """Counts one part of an update, and the clips it used."""
        self.clips += clips
        self.parts += 1

    def summary(self) -> dict[str, float]:
        """Means of the losses and figures, their sum, clips a second, and the part of the time that was spent
        waiting for data."""
        sums = torch.stack(list(self.sums.values())).tolist()  # waits for the device, once
        seconds = time.perf_counter() - self.started
        means = {name: value / self.parts for name, value in zip(self.sums, sums, strict=True)}
        return {
            "loss": sum(value for name, value in means.items() if name.startswith("loss_")),
            **means,
            "clips_per_second": self.clips / seconds,
            "data_wait": self.waited / seconds,
        }
