"""The clip lists of a training run, and where their frames come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from encoder.errors import EncoderError
from encoder.loading.data import (
    Batch,
    ClipStream,
    derive_seed,
    evaluation_batches,
    open_source,
    training_batches,
)
from encoder.training.config import TrainConfig
from encoder.video.clips import ClassInfo, Clip, check_labels, read_classes, read_clips
from encoder.video.elements import TemporalElements


class TrainingLists:
    """Labelled, unlabelled and validation clips of one run, as one of ``world`` processes sees them.

    Args:
        config: The options of the run.
        uses_unlabelled: Whether the recipe looks at unlabelled clips.
        rank: This process.
        world: Number of processes.

    Raises:
        EncoderError: A list is missing or wrong, or the options do not fit the number of processes.
    """

    def __init__(self, config: TrainConfig, uses_unlabelled: bool, rank: int, world: int) -> None:
        self.config, self.rank, self.world = config, rank, world
        self.elements = TemporalElements.parse(config.model.elements)
        self.n_parts = config.accumulate * world
        if config.labelled_batch % self.n_parts:
            raise EncoderError(
                f"labelled_batch: {config.labelled_batch} clips cannot be shared by {world} processes in "
                f"{config.accumulate} parts each"
            )
        data = config.data
        if uses_unlabelled and data.unlabelled is None:
            raise EncoderError(
                f"data.unlabelled: the recipe {config.recipe.name!r} needs a list of unlabelled clips"
            )
        self.labelled = read_clips(data.labelled, data.video_root)
        self.unlabelled = read_clips(data.unlabelled, data.video_root) if data.unlabelled else []
        self.val = read_clips(data.val, data.video_root) if data.val else []
        self.classes: list[ClassInfo] = read_classes(data.classes or data.labelled.parent / "classes.json")
        check_labels(self.labelled, self.classes, data.labelled)
        if data.val:
            check_labels(self.val, self.classes, data.val)
        self.used = self.labelled + (self.unlabelled if uses_unlabelled else []) + self.val
        self.total = config.updates or config.epochs * self._updates_in_a_pass()

    def open(self) -> None:
        """Opens the frames of the clips, decoding them into the cache first where one is named."""
        self.source = open_source(self.config.data, self.used)
        if self.source.cache is not None and len(self.source.cache.broken) > self.config.max_broken:
            raise EncoderError(next(iter(self.source.cache.broken.values())))

    def _updates_in_a_pass(self) -> int:
        if self.config.epoch_over == "labelled":  # the released code's loader leaves out an incomplete batch
            return max(1, len(self.labelled) // self.config.labelled_batch)
        if self.unlabelled:
            in_update = self.config.labelled_batch * self.config.unlabelled_ratio
            return math.ceil(len(self.unlabelled) / in_update)
        return math.ceil(len(self.labelled) / self.config.labelled_batch)

    def epoch(self, update: int) -> int:
        """The epoch that update ``update`` belongs to."""
        return update * self.config.epochs // self.total

    def labelled_batches(self, first: int) -> Iterator[Batch]:
        """This process's labelled batches from update ``first`` to the end."""
        return self._batches(self.labelled, "labelled", 1, first)

    def unlabelled_batches(self, first: int, draws: int = 1) -> Iterator[Batch]:
        """This process's unlabelled batches from update ``first`` to the end, of so many draws of a clip."""
        return self._batches(self.unlabelled, "unlabelled", self.config.unlabelled_ratio, first, draws)

    def _batches(
        self, clips: list[Clip], name: str, ratio: int, first: int, draws: int = 1
    ) -> Iterator[Batch]:
        config, parts = self.config, self.config.accumulate
        elements = replace(self.elements, draws=draws)
        stream = ClipStream(clips, self.source, elements, derive_seed(config.seed, name))
        mine = range(self.rank * parts, (self.rank + 1) * parts)
        size = config.labelled_batch // self.n_parts * ratio
        return training_batches(
            stream, size, range(first, self.total), mine, self.n_parts, config.data.workers
        )

    def validation_batches(self) -> Iterable[Batch]:
        """This process's part of the validation clips, middle frames."""
        batch = self.config.evaluation_batch
        return evaluation_batches(
            self.val, self.source, self.elements, batch, self.rank, self.world, self.config.data.workers
        )
