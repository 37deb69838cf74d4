"""Small tensors on their way to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``; on a GPU the host goes on without waiting for what runs there.

    Only copies from page-locked memory do not wait. PyTorch keeps such memory for the next tensor.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
