"""What an update costs by count: operations and bytes of every operator, and the time a GPU needs for them.

No GPU is needed: PyTorch's fake tensors have shapes and no numbers. An operator takes at least its operations
at the GPU's peak, and at least its bytes (what it reads and writes) at the memory's bandwidth; the sum of the
longer ones is the least time of an update whose operators run one after the other, as without compiling.
Crops, reading and the optimizer are left out: some hundredths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
_ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: 2,  # QKᵀ and PV
    aten._scaled_dot_product_flash_attention_for_cpu_backward: 5,  # QKᵀ again, and the gradients of all four
}


@dataclass(frozen=True)
class GPU:
    """A GPU by its data sheet: operations and bytes a second."""

    name: str
    bfloat16: float
    float32: float
    bandwidth: float

    def operations(self, dtype: torch.dtype) -> float:
        """The peak for products of this type."""
        return self.bfloat16 if dtype == torch.bfloat16 else self.float32


# Dense, without TF32 for float32, as PyTorch multiplies when nothing else is said.
H100 = GPU("H100 SXM", bfloat16=989e12, float32=67e12, bandwidth=3.35e12)


@dataclass
class Cost:
    """Operations, bytes and the least seconds."""

    operations: float = 0.0
    moved: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.operations / 1e12:8.1f} TFLOP {self.moved / 1e12:7.2f} TB {self.seconds:8.2f} s at least"
        )


class Counted(TorchDispatchMode):
    """Adds up what operators cost on a GPU."""

    def __init__(self, gpu: GPU) -> None:
        super().__init__()
        self.gpu, self.cost = gpu, Cost()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        storages = {x.untyped_storage()._cdata for x in given}
        view = all(x.untyped_storage()._cdata in storages for x in made) and not func._schema.is_mutable
        if view or func.overloadpacket.__name__.startswith(("empty", "new_empty")):
            return out
        operations = float(self._operations(func, args, kwargs or {}, out))
        moved = float(sum(map(_size, given)) + sum(map(_size, made)))
        dtype = given[0].dtype if given else torch.float32
        self.cost.operations += operations
        self.cost.moved += moved
        longest = max(operations / self.gpu.operations(dtype), moved / self.gpu.bandwidth)
        self.cost.seconds += longest
        return out

    def _operations(self, func: Any, args: Any, kwargs: Any, out: Any) -> int:
        if products := _ATTENTION.get(func.overloadpacket):
            q, k = args[1:3] if products == 5 else args[:2]
            return products * 2 * q.numel() * k.shape[-2]
        count = flop_registry.get(func.overloadpacket)
        return count(*args, **kwargs, out_val=out) if count else 0


def _size(tensor: Tensor) -> int:
    """Bytes in memory: an expanded tensor's are those of what it expands."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def cost(work: Callable[[], object], gpu: GPU = H100) -> Cost:
    """What ``work`` costs on a GPU, where attention that can be is fused."""
    with (
        mock.patch("encoder.model.backbone._attend", _fused),
        FakeTensorMode(allow_non_fake_inputs=True),
        Counted(gpu) as counted,
    ):
        work()
    return counted.cost
