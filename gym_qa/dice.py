"""Draws that follow from names and a seed alone: the same on every machine and for every Python."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Draws from the SHA-256 of a key."""

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
        self.value = int.from_bytes(digest, "big")

    def below(self, bound: int) -> int:
        """A number from 0 to before ``bound``."""
        self.value, rest = divmod(self.value, bound)
        return rest

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in items]


def by_chance(seed: int, name: str) -> tuple[int, str]:
    """A key by which names are sorted into an order that is random, and the same for a part of them."""
    return Dice(seed, name).value, name
