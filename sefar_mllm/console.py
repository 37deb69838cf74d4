"""What the rooms log, as plain lines on the terminal; a program that imports them decides for itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from encoder.processes.launcher import rank

#: One logger a room; what is no more than told is INFO.
LOGGERS = ("encoder", "projector", "gym_qa", "sefar_mllm")

#: What libraries remark on a machine without anything following from it for a user: logger → beginning.
REMARKS = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",  # 4 bit runs without it
    "DeepSpeed": "Setting accelerator to CPU",  # said when the library is only imported
}


class Lines(logging.Handler):
    """Bare lines: INFO to standard output among the results, warnings to standard error; above bars that run.

    A reader who went away (``| head``) is an error of the command, not of the logging.
    """

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        tqdm.write(self.format(record), file=stream)
        stream.flush()


class WithoutRemark(logging.Filter):
    """Lets pass what does not begin with a remark."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.name)


@contextmanager
def shown() -> Iterator[None]:
    """In the block the rooms' loggers speak; on processes of a launch other than the first, warnings only."""
    lines = Lines()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(lines)
        logger.setLevel(logging.INFO if rank() == 0 else logging.WARNING)
        logger.propagate = False  # a handler that a library gave the root logger would say it twice
    filters = {logging.getLogger(name): WithoutRemark(remark) for name, remark in REMARKS.items()}
    for logger, remark in filters.items():
        logger.addFilter(remark)
    try:
        yield
    finally:
        for logger, remark in filters.items():
            logger.removeFilter(remark)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(lines)
            logger.setLevel(level)
            logger.propagate = propagate
