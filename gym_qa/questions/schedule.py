"""Option sets in which no class is likelier than another to be the right answer.

A guesser who cannot see the video still knows which classes are common. Against that, classes are bound into
*option sets* of four and each class is asked in a set equally often: then whatever a guesser knows about
classes, names or their frequencies, it is right in exactly a quarter of the questions of every set. (All of
this holds for sets of two in the same way.)

How many questions that leaves is a packing problem: from classes with ``n_c`` clips, make as many sets of
four different classes as possible. At most ``B`` sets exist, where ``B`` is the largest number with
``sum(min(n_c, B)) >= 4 B``, and McNaughton's wrap-around rule ("Scheduling with deadlines and loss
functions", 1959) reaches it: lay the classes, each cut to ``B``, end to end on a strip of length ``4 B`` and
cut the strip into four rows; every column holds four different classes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise

OPTIONS = 4

#: An option set (labels in rising order) and how often each of its classes can be asked in it.
Weighted = tuple[tuple[int, ...], int]


def largest_schedule(counts: Sequence[int], size: int = OPTIONS) -> int:
    """``B``: how many sets of ``size`` different members can be made, ``counts[c]`` at most with ``c``."""
    low, high = 0, sum(counts) // size
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) >= size * middle:
            low = middle
        else:
            high = middle - 1
    return low


def schedule(
    labels: Sequence[int], counts: Mapping[int, int], meanings: Sequence[Hashable], size: int = OPTIONS
) -> list[Weighted]:
    """Bind classes into weighted option sets.

    Args:
        labels: the classes, in the order in which they are laid on the strip.
        counts: clips per label; a class without a clip counts as one.
        meanings: what each label's name means; classes that mean the same share a place, so that they never
            stand in one set.
        size: options in a set; four of the module's text.

    Returns:
        Option sets with positive weight; empty where fewer than ``size`` different meanings are given. The
        weights add up to the ``B`` of the module's text.
    """
    sharers: dict[Hashable, list[int]] = {}
    for label in labels:
        sharers.setdefault(meanings[label], []).append(label)
    clips = {key: sum(max(1, counts.get(label, 0)) for label in group) for key, group in sharers.items()}
    total = largest_schedule(list(clips.values()), size)
    if len(sharers) < size or total == 0:
        return []
    lengths: list[tuple[int, int]] = []  # (label, length on the strip)
    surplus = sum(min(count, total) for count in clips.values()) - size * total
    commonest = max(clips, key=lambda key: clips[key])
    for key, group in sharers.items():
        room = min(clips[key], total) - (surplus if key == commonest else 0)
        shares = _split(room, [max(1, counts.get(label, 0)) for label in group])
        lengths += [(label, share) for label, share in zip(group, shares, strict=True) if share]
    return _columns(lengths, total, size)


def _split(whole: int, weights: Sequence[int]) -> list[int]:
    """Cut a whole number in proportion to weights."""
    marks = [whole * part // sum(weights) for part in accumulate(weights)]
    return [mark - before for mark, before in zip(marks, [0, *marks], strict=False)]


def _columns(lengths: Sequence[tuple[int, int]], total: int, size: int) -> list[Weighted]:
    """Cut the strip into rows of ``total`` and read the columns; columns alike are added up."""
    ends = list(accumulate(length for _, length in lengths))
    cuts = sorted({0, total, *(end % total for end in ends)})
    columns: dict[tuple[int, ...], int] = {}
    for left, right in pairwise(cuts):
        places = (bisect_right(ends, row * total + left) for row in range(size))
        block = tuple(sorted(lengths[place][0] for place in places))
        columns[block] = columns.get(block, 0) + right - left
    return list(columns.items())
