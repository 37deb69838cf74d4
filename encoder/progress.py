"""Figures of a training run since its last line of the log."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor


class Window:
    """Sums over some updates; tensors stay on their device until they are asked for."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0
        self.clips, self.parts = 0, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: dict[str, Tensor], figures: dict[str, Tensor], clips: int) -> None:
        """Counts one part of an update: its weighted losses, other figures and the clips it used."""
        self.clips += clips
        self.parts += 1
        for name, value in {**{f"loss_{k}": v for k, v in losses.items()}, **figures}.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def summary(self) -> dict[str, Any]:
        """Means of the losses and figures, their sum, clips a second, and the part of the time that was spent
        waiting for data."""
        seconds = time.perf_counter() - self.started
        means = {name: float(value) / self.parts for name, value in self.sums.items()}
        return {
            "loss": sum(value for name, value in means.items() if name.startswith("loss_")),
            **means,
            "clips_per_second": self.clips / seconds,
            "data_wait": self.waited / seconds,
        }
