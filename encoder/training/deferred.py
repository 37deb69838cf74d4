"""What an update says of itself, read one update later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from encoder.errors import EncoderError


@dataclass
class UpdateReport:
    """One update on its way: its number, the sums of its losses, and its clips in this process."""

    number: int
    losses: dict[str, Tensor] = field(default_factory=dict)
    clips: list[str] = field(default_factory=list)

    def add(self, name: str, loss: Tensor) -> None:
        """Counts a loss of one part of the update."""
        loss = loss.detach()
        self.losses[name] = self.losses[name] + loss if name in self.losses else loss


class DeferredCheck:
    """Whether losses are finite and whether any process is to stop, without waiting for the device.

    To ask a GPU for a value is to wait for all that it has been given to do, and then it waits for the
    host. Hence every update's answer is copied on the side, and read when the next one has been handed over:
    the only place where the host of a training waits. All processes get the same answers.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.stopping = False
        self._pending: tuple[UpdateReport, Tensor, Any] | None = None

    def stop(self) -> None:
        """Asks all processes to stop; for a signal handler."""
        self.stopping = True

    def post(self, report: UpdateReport) -> None:
        """Starts to fetch the answers about an update."""
        finite = torch.stack(list(report.losses.values())).isfinite()
        stop = torch.full((1,), self.stopping, dtype=torch.bool, device=finite.device)
        here = torch.cat([~finite, stop]).float()
        answers = torch.stack([here, self.accelerator.reduce(here, "sum")]).to("cpu", non_blocking=True)
        arrived = None
        if here.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        self._pending = report, answers, arrived

    def read(self) -> bool:
        """Whether a process is to stop, by the update posted last; False where none is waiting.

        Raises:
            EncoderError: A loss of that update is not finite.
        """
        if self._pending is None:
            return False
        (report, answers, arrived), self._pending = self._pending, None
        if arrived is not None:
            arrived.synchronize()
        here, everywhere = answers.tolist()
        bad = [name for name, sum_ in zip(report.losses, everywhere, strict=False) if sum_]
        if bad:
            raise EncoderError(_not_finite(report, bad, any(here[:-1])))
        return bool(everywhere[-1])


def _not_finite(report: UpdateReport, bad: list[str], here: bool) -> str:
    more = f" and {len(report.clips) - 8} more" if len(report.clips) > 8 else ""
    where = f"of the clips {', '.join(report.clips[:8])}{more}" if here else "in another process"
    return (
        f"update {report.number}: the loss {', '.join(bad)} is not finite ({where}); "
        "lower optim.learning_rate or set optim.max_grad_norm"
    )
