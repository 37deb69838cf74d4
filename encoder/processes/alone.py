"""Work in a process of its own, as decoding a damaged video may end the process that does it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def alone(work: Callable[..., T], *args: object) -> T | None:
    """What ``work(*args)`` returns in another process; None where it ends that process."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool:
            return None


def ends_process(path: Path) -> str:
    """What is said of such a video."""
    return f"{path}: decoding it ends the process; it is damaged, fetch it again"
