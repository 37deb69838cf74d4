"""Label splits: which training clips keep their label in semi-supervised training, and what that covers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gym_qa.datasets.table import Clip, ClipTable
from gym_qa.dice import by_chance
from gym_qa.errors import GymQAError


def _shuffled(clips: Iterable[Clip], seed: int) -> list[Clip]:
    """In an order that follows from the seed and each clip's own id alone, for every version of Python."""
    return sorted(clips, key=lambda clip: by_chance(seed, clip.clip_id))


def _official(table: ClipTable, fraction: float, seed: int) -> set[str]:
    """Plain random, as the published splits are: rare classes may get no label at all."""
    return {clip.clip_id for clip in _shuffled(table.clips, seed)[: round(len(table) * fraction)]}


def _stratified(table: ClipTable, fraction: float, seed: int) -> set[str]:
    """The same share of every class, at least one clip of each, rounded so that the total is right."""
    by_label: dict[int, list[Clip]] = defaultdict(list)
    for clip in _shuffled(table.clips, seed):
        by_label[clip.label].append(clip)
    take = {label: max(1, int(len(clips) * fraction)) for label, clips in by_label.items()}
    rest = {label: len(clips) * fraction - take[label] for label, clips in by_label.items()}
    missing = round(len(table) * fraction) - sum(take.values())
    for label in sorted(rest, key=lambda label: (-rest[label], label))[: max(0, missing)]:
        take[label] += 1
    return {clip.clip_id for label, clips in by_label.items() for clip in clips[: take[label]]}


def _grouped(table: ClipTable, fraction: float, seed: int) -> set[str]:
    """Whole source videos, drawn until the share is reached as nearly as it can be."""
    videos: dict[str, list[Clip]] = defaultdict(list)
    for clip in table.clips:
        videos[clip.source_video].append(clip)
    wanted = len(table) * fraction
    chosen: set[str] = set()
    for video in sorted(videos, key=lambda video: by_chance(seed, video)):
        size = len(chosen) + len(videos[video])
        if abs(size - wanted) < abs(len(chosen) - wanted):
            chosen |= {clip.clip_id for clip in videos[video]}
    return chosen


POLICIES: dict[str, Callable[[ClipTable, float, int], set[str]]] = {
    "official": _official,
    "stratified": _stratified,
    "grouped": _grouped,
}


def label_split(
    table: ClipTable, fraction: float, seed: int = 0, policy: str = "stratified"
) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into labelled and unlabelled ones.

    Args:
        table: the training clips.
        fraction: share that keeps its label, 0 < fraction <= 1.
        seed: another seed, another split.
        policy: ``official`` (plain random), ``stratified`` (at least one clip of every class) or ``grouped``
            (no source video on both sides).

    Returns:
        The labelled and the unlabelled clips, each in the table's order.

    Raises:
        GymQAError: for an unknown policy, a fraction out of range, or a fraction that leaves nothing
            labelled.
    """
    if policy not in POLICIES:
        raise GymQAError(f"split policy {policy!r}: expected one of {', '.join(POLICIES)}")
    if not 0 < fraction <= 1:
        raise GymQAError(
            f"label fraction {fraction}: expected a share above 0 and at most 1, e.g. 0.05 for 5 %"
        )
    chosen = POLICIES[policy](table, fraction, seed)
    if not chosen:
        raise GymQAError(
            f"an empty label split: {fraction:g} of {len(table)} clips is none; raise the fraction"
        )
    labelled = [clip for clip in table.clips if clip.clip_id in chosen]
    unlabelled = [clip for clip in table.clips if clip.clip_id not in chosen]
    return labelled, unlabelled


@dataclass(frozen=True)
class Coverage:
    """What a label split covers.

    Attributes:
        labelled: labelled clips.
        unlabelled: unlabelled clips.
        classes: classes of the data set.
        without_label: labels with no labelled clip.
        single: labels with exactly one labelled clip.
        smallest: clips of the rarest class that has any.
        largest: clips of the commonest class.
        shared_unlabelled: source videos on both sides of the split.
        shared_validation: source videos of labelled clips that validation clips come from too.
    """

    labelled: int
    unlabelled: int
    classes: int
    without_label: tuple[int, ...]
    single: tuple[int, ...]
    smallest: int
    largest: int
    shared_unlabelled: int
    shared_validation: int

    def __str__(self) -> str:
        lines = [
            f"labelled {self.labelled}, unlabelled {self.unlabelled} clips",
            f"classes with a label {self.classes - len(self.without_label)} of {self.classes}, "
            f"{self.smallest} to {self.largest} clips each",
        ]
        if self.without_label:
            lines.append(f"classes without any label: {', '.join(map(str, self.without_label))}")
        if self.single:
            lines.append(f"classes with a single labelled clip: {', '.join(map(str, self.single))}")
        lines.append(
            f"source videos shared with the unlabelled clips {self.shared_unlabelled}, "
            f"with validation {self.shared_validation}"
        )
        return "\n".join(lines)


def coverage(
    labelled: Sequence[Clip], unlabelled: Sequence[Clip], validation: Sequence[Clip], classes: int
) -> Coverage:
    """Measure a label split of at least one labelled clip."""
    counts = Counter(clip.label for clip in labelled)
    videos = {clip.source_video for clip in labelled}
    return Coverage(
        labelled=len(labelled),
        unlabelled=len(unlabelled),
        classes=classes,
        without_label=tuple(label for label in range(classes) if label not in counts),
        single=tuple(sorted(label for label, count in counts.items() if count == 1)),
        smallest=min(counts.values()),
        largest=max(counts.values()),
        shared_unlabelled=len(videos & {clip.source_video for clip in unlabelled}),
        shared_validation=len(videos & {clip.source_video for clip in validation}),
    )
