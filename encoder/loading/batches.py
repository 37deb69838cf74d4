"""Batches from worker processes, any of which a damaged video may end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from encoder.errors import EncoderError
from encoder.loading.scan import scan_video
from encoder.processes.alone import alone, ends_process

_LONGEST_PATH = 4096


class Watch:
    """Keeps in mind which video each worker process is decoding, in memory that outlives the process.

    Args:
        reader: ``pyav`` or ``decord``, by which they are decoded.
    """

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._deadly: set[str] = set()
        self._paths: torch.Tensor | None = None

    def begin(self, workers: int) -> None:
        """Makes room for the paths that ``workers`` processes are at."""
        self._paths = torch.zeros(workers, _LONGEST_PATH, dtype=torch.uint8).share_memory_()

    @contextmanager
    def over(self, path: Path) -> Iterator[None]:
        """While a video is decoded. Raises EncoderError for one that has ended a process before."""
        if str(path) in self._deadly:
            raise EncoderError(ends_process(path))
        worker = get_worker_info()
        if worker is None or self._paths is None:
            yield
            return
        name = os.fsencode(path)[:_LONGEST_PATH]
        row = self._paths[worker.id]
        row[: len(name)] = torch.frombuffer(bytearray(name), dtype=torch.uint8)
        try:
            yield
        finally:
            row.zero_()

    def find_deadly(self) -> bool:
        """After a worker process ended: decodes what was being decoded again, each in a process of its own.

        Returns:
            Whether one of these videos ended its process.
        """
        rows = [] if self._paths is None else self._paths.tolist()
        names = {os.fsdecode(bytes(row).rstrip(b"\0")) for row in rows} - {"", *self._deadly}
        deadly = {name for name in names if alone(scan_video, Path(name), self._reader) is None}
        self._deadly |= deadly
        return bool(deadly)


class Batches:
    """The items of a data set at given positions, batch by batch, from worker processes.

    Where a video ends a process, ``watch`` finds it out, which is then like any other that cannot be read,
    and the work goes on with the batch that is missing.

    Args:
        dataset: The items.
        positions: Those of each batch.
        workers: Worker processes; 0 reads in this one.
        watch: What the data set reads under.
        options: Further options of DataLoader.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        positions: list[list[int]],
        workers: int,
        watch: Watch,
        **options: Any,
    ) -> None:
        self._dataset, self._positions, self._workers = dataset, positions, workers
        self._watch, self._options = watch, options

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Any]:
        done = 0
        while done < len(self._positions):
            try:
                for batch in self._load(done):
                    yield batch
                    done += 1
            except (RuntimeError, ConnectionError, EOFError) as error:
                # A process may also end between announcing a batch and handing it over.
                announced = not isinstance(error, RuntimeError)
                if not (announced or str(error).startswith("DataLoader worker")):
                    raise
                if not self._watch.find_deadly():
                    raise EncoderError(
                        f"a process that decodes videos was ended ({error}), and not by a video; perhaps the "
                        "memory was too little: take fewer workers"
                    ) from None

    def _load(self, first: int) -> Iterator[Any]:
        if self._workers:
            self._watch.begin(self._workers)
        loader: DataLoader[Any] = DataLoader(
            self._dataset,
            batch_sampler=self._positions[first:],
            num_workers=self._workers,
            **self._options,
        )
        # DataLoader's handler raises its error wherever this process happens to be, for example in the middle
        # of a training step; without it the error comes where the batch is waited for.
        handler = signal.getsignal(signal.SIGCHLD)
        batches = iter(loader)
        if signal.getsignal(signal.SIGCHLD) is not handler:
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return batches
