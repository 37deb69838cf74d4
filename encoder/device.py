"""Which device to use, getting tensors there, and in what precision it multiplies."""

from __future__ import annotations

from typing import Literal

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``; on a GPU the host goes on without waiting for what runs there.

    Only copies from page-locked memory do not wait. PyTorch keeps such memory for the next tensor.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def own_device(device: str | None = None) -> torch.device:
    """The device of a process that works alone: by default, or for ``auto``, the GPU where there is one."""
    use_gpu = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    return torch.device(("cuda" if use_gpu else "cpu") if device in (None, "auto") else str(device))


def automatic_precision() -> Literal["bf16", "no"]:
    """bf16 where a GPU is used that multiplies in it, else no mixed precision."""
    on_gpu = own_device().type == "cuda"
    return "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def multiply_in_tf32(device: torch.device) -> None:
    """Lets a GPU multiply float32 as TF32, several times faster at 10 bits of mantissa; a CPU goes on."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
