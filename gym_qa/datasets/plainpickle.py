"""Reading pickles without running anything in them.

Only plain values come out: numbers, texts, lists, tuples, dicts, and NumPy arrays of numbers. The few NumPy
names such files use are met by stand-ins that do no more than keep bytes; every other name is an error. A
pickle may name one value many times, and values made of such values grow with every level, so what a file
spells when all is written out is bounded too.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gym_qa.errors import GymQAError, in_a_line
from gym_qa.files import check_characters

#: Values that a file may spell, each counted as often as it is named.
MOST_VALUES = 2_000_000

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"}


class _Dtype:
    """Stand-in for ``numpy.dtype``: remembers a number format."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in _NUMBERS:
            raise ValueError(f"arrays of {name!r} are not read")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand-in for ``numpy.ndarray``: ``values`` is the array, once its state is known."""

    values: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        flat = np.frombuffer(raw, dtype.dtype)
        # An empty array may claim any length in its other directions.
        self.values = flat.reshape(shape, order="F" if fortran else "C") if flat.size else flat


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.dtype, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r} is not read")
    return text.encode("latin-1")


_STAND_INS: dict[str, Callable[..., Any] | type] = {"numpy.ndarray": _Array, "numpy.dtype": _Dtype}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _STAND_INS |= {f"{_module}._reconstruct": _reconstruct, f"{_module}.scalar": _scalar}
_STAND_INS["_codecs.encode"] = _encode
_TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)


def _bounded(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """The unpickler's step that makes a tuple, bounded at once: its hash takes as long as what it spells."""

    def step(unpickler: Any) -> None:
        load(unpickler)
        value = unpickler.stack[-1]
        size = 1 + sum(unpickler.tuples.get(id(item), (1,))[0] for item in value)
        _check_size(size)
        unpickler.tuples[id(value)] = (size, value)

    return step


def _check_size(size: int) -> None:
    if size > MOST_VALUES:
        raise ValueError(f"written out it spells more than {MOST_VALUES} values")


# The pure Python unpickler: the C one reserves memory for as many values as a mangled file claims to hold.
class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    dispatch: ClassVar = {
        opcode: _bounded(load) if bytes([opcode]) in _TUPLES else load
        for opcode, load in pickle._Unpickler.dispatch.items()  # type: ignore[attr-defined]
        if bytes([opcode]) != pickle.BYTEARRAY8  # no plain value, and memory for its claimed length
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tuples: dict[int, tuple[int, tuple]] = {}  # by id: what it spells, and itself to keep its id

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which plain data does not need")
        return _STAND_INS[f"{module}.{name}"]

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError("it names a registered extension, which plain data does not need")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to another store")


def read_plain_pickle(path: Path) -> Any:
    """The plain value in a pickle. Raises `GymQAError` for anything else, and runs none of it."""
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise GymQAError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise GymQAError(f"{path}: cannot be read ({error})") from None
    try:
        value = _PlainUnpickler(io.BytesIO(raw)).load()
        _check_size(_spelled(value, {}))
        return _unwrap(value)
    except Exception as error:  # a mangled pickle can raise anything
        raise GymQAError(
            f"{path}: not a pickle of plain values ({in_a_line(error)}); download it again"
        ) from None


def _spelled(value: Any, known: dict[int, int]) -> int:
    """How many values there are when every one is written out where it is named."""
    if not isinstance(value, (dict, list, tuple, set, frozenset)):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_spelled(item, known) for item in inner)
    if known[id(value)] < 0:
        raise ValueError("a value in it holds itself")
    return known[id(value)]


def _unwrap(value: Any) -> Any:
    """Replace stand-ins by the arrays they hold, in all containers."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {_unwrap(key): _unwrap(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_unwrap(item) for item in value)
    if not isinstance(value, (str, bytes, int, float, type(None))):
        raise ValueError(f"a {type(value).__name__} is no plain value")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("a number of more than 64 bits is no plain value")
    if isinstance(value, str):
        check_characters(value)
    return value
