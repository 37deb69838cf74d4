"""Waiting for other processes for as long as it takes, which a collective must not do: it times out."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from encoder.errors import EncoderError
from encoder.processes.group import PATIENCE

log = logging.getLogger("encoder")

_LOOK_EVERY = 0.5  # seconds


@contextmanager
def one_at_a_time(folder: Path, instead: str) -> Iterator[None]:
    """Holds a folder; other processes that want it, of this run or of others, wait until it is free.

    The lock goes with the process that holds it, however that ends.

    Args:
        folder: The folder, which is created.
        instead: What to do by hand where the file system has no locks.

    Raises:
        EncoderError: The file system has no locks, and this is one of several processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    log.warning(f"waiting for another process that is busy in {folder}")
                waiting = True
                time.sleep(_LOOK_EVERY)
            except OSError as error:
                if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                    raise EncoderError(
                        f"{folder}: its file system has no locks ({error}), without which several processes "
                        f"would get in each other's way; {instead}"
                    ) from None
                break
        try:
            yield
        finally:
            # Not left to closing the file: processes started meanwhile have it open too.
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def leaving_together() -> Iterator[None]:
    """All processes of a run leave the block together, though it may take one of them days.

    Those that come first wait in a group of their own, not in that of the training, whose limit of some
    minutes is there to end a run in which a process is lost.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        yield
        return
    group: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
    yield
    dist.barrier(group=group)
    dist.destroy_process_group(group)
