"""Clips that turn out unreadable: left out of the training, told and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from encoder.errors import EncoderError
from encoder.loading.data import Batch
from encoder.training.run_folder import RunFolder

log = logging.getLogger("encoder")


class BrokenClips:
    """The unreadable clips that this process has met.

    Args:
        folder: Where they are logged.
        limit: How many there may be; one more ends the run.

    Attributes:
        messages: What was wrong with each.
    """

    def __init__(self, folder: RunFolder, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.messages: set[str] = set()

    def count(self, batch: Batch, update: int) -> None:
        """Tells and counts those of a batch. Raises EncoderError when they are too many."""
        for message in batch.broken:
            if message not in self.messages:
                self.messages.add(message)
                self.folder.log({"update": update, "broken": message})
                log.warning(f"left out ({len(self.messages)} so far): {message}")
            if len(self.messages) > self.limit:
                raise EncoderError(message)

    def readable(self, batches: Iterable[Batch], update: int) -> Iterator[Batch]:
        """Batches without them; of training, and of an evaluation after ``update``."""
        for batch in batches:
            self.count(batch, update)
            if batch.clips:
                yield replace(batch, broken=[])
