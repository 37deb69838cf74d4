"""Accelerate, set up for the training of an encoder."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from encoder.errors import EncoderError
from encoder.training.config import TrainConfig


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes of this run, their devices and precision, and the tracker.

    Raises:
        EncoderError: fp16 is to be used without a GPU.
    """
    # No buffer of an encoder ever changes.
    across = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            log_with=None if config.tracker == "none" else config.tracker,
            project_dir=config.output,
            kwargs_handlers=[across],
        )
        without_half = accelerator.device.type == "cpu" and config.mixed_precision == "fp16"
    except ValueError:  # Accelerate refuses fp16 where it was told to use the CPU
        without_half = True
    if without_half:  # where it chose the CPU by itself, it would train in fp32 and not say so
        raise EncoderError("mixed_precision: fp16 needs a GPU; on this machine use bf16 or no")
    return accelerator
