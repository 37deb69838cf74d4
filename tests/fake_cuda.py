"""A CUDA device that is not there: shapes, kernels and copies of what would run on it, nothing computed.

Tensors on ``cuda`` are PyTorch's fake tensors; those on the CPU stay real. What touches the device is
counted: operators, copies, and places where the host would wait for the device.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch._dynamo.polyfills.loader  # before anything is replaced: it registers functions by what they are
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


@dataclass(frozen=True)
class Attention:
    """One call of scaled_dot_product_attention on the device: shapes, and whether a fused kernel takes it."""

    query: tuple[int, ...]
    masked: bool
    fused: bool


@dataclass
class Record:
    """What happened on the device.

    Attributes:
        operators: How often each operator ran.
        copies: Copies that wait for nobody, ``"to device"`` or ``"to host"``.
        waits: Where the host waits: blocking copies and values that Python asks for.
        attention: Every call of attention.
    """

    operators: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    attention: list[Attention] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets all of it."""
        for part in (self.operators, self.copies, self.waits, self.attention):
            part.clear()


class _Device(TorchDispatchMode):
    """Passes what concerns the device on to :class:`FakeTensorMode`, runs the rest, and counts."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        self.pinned: dict[int, Any] = {}  # storages by address; held, so that no address comes back

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in ("is_pinned", "_pin_memory"):
            return self._pin(name, args[0])
        on_device = any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        target = kwargs.get("device")
        to_device = target is not None and torch.device(target).type == "cuda"
        if not on_device and not to_device:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func.namespace == "aten":
            self.record.operators[name] += 1
        if name == "_local_scalar_dense":
            self.record.waits["a value"] += 1
            return args[0].dtype.is_floating_point and 0.0
        if name == "_to_copy" and not isinstance(args[0], FakeTensor):
            self._count("to device", args[0], kwargs.get("non_blocking"))
            return torch.empty(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=target)
        if name == "_to_copy" and target is not None and not to_device:
            self._count("to host", None, kwargs.get("non_blocking"))
            with unset_fake_temporarily():
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "copy_" and isinstance(args[0], FakeTensor) != isinstance(args[1], FakeTensor):
            to_host = isinstance(args[1], FakeTensor)
            pageable = args[0] if to_host else args[1]
            not_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking")
            self._count("to host" if to_host else "to device", pageable, not_blocking)
            return args[0]
        if name.startswith("_fused_"):  # the optimizers' kernels change tensors in place
            return None
        return func(*args, **kwargs)

    def _pin(self, name: str, tensor: Tensor) -> Any:
        if name == "is_pinned":
            return tensor.untyped_storage().data_ptr() in self.pinned
        with unset_fake_temporarily():
            pinned = tensor.clone()
        self.pinned[pinned.untyped_storage().data_ptr()] = pinned.untyped_storage()
        return pinned

    def _count(self, direction: str, host: Tensor | None, not_blocking: bool | None) -> None:
        pinned = host is None or host.untyped_storage().data_ptr() in self.pinned
        if not_blocking and pinned:
            self.record.copies[direction] += 1
        else:
            self.record.waits[f"a copy {direction}"] += 1


class _Kernels(TorchFunctionMode):
    """Chooses the kernel of attention as PyTorch does on CUDA; a fake device has but the slow one."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or not isinstance(args[0], FakeTensor):
            return func(*args, **kwargs)
        q, k, v = args[:3]
        mask = kwargs.get("attn_mask")
        fused = q.dim() == 4 and max(q.shape[:2]) <= 65535  # grid dimensions of the kernels
        self.record.attention.append(Attention(tuple(q.shape), mask is not None, fused))
        if not fused:
            return func(*args, **kwargs)
        if mask is not None:
            mask = torch.zeros((), device="cuda", dtype=q.dtype).expand(*q.shape[:3], k.shape[2])
        return aten._scaled_dot_product_efficient_attention(q, k, v, mask, True)[0]


def _yes(*_: object, **__: object) -> bool:
    return True


def _no(*_: object, **__: object) -> bool:
    return False


def _swap(parameter: Tensor, moved: Tensor) -> None:
    """A parameter that is moved to the device stays the object that optimizers and averages hold."""
    parameter.__class__, moved.__class__ = moved.__class__, parameter.__class__
    parameter.__dict__, moved.__dict__ = moved.__dict__, parameter.__dict__
    torch._C._swap_tensor_impl(parameter, moved)


@contextlib.contextmanager
def fake_cuda() -> Iterator[Record]:
    """Within it there is that device, alone. Gradients cannot be computed on it."""
    record = Record()

    class Event:
        """Waiting for one is waiting for the device."""

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            record.waits["an event"] += 1

    with (
        mock.patch("torch.__future__.get_swap_module_params_on_conversion", _yes),
        mock.patch("torch.utils.swap_tensors", _swap),
        # torch.cuda.is_available stays as it is: FakeTensorMode would start the device that is not there.
        mock.patch("accelerate.state.PartialState.default_device", torch.device("cuda")),
        mock.patch("torch.cuda.is_bf16_supported", _yes),
        mock.patch("torch.accelerator.is_available", _yes),
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", _no),
        mock.patch("torch.cuda.Event", Event),
        FakeTensorMode(allow_non_fake_inputs=True),
        _Device(record),
        _Kernels(record),
    ):
        yield record
