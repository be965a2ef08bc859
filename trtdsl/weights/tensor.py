"""A tensor of a checkpoint that is not read yet.

In: a dtype, a shape and strides over a storage, as a file states them.  Out: a numpy array that
views the storage, which for a mapped file means that no byte is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from trtdsl.weights.file import Buffer, Malformed, quote

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "bool": np.bool_,
        "uint8": np.uint8,
        "uint16": np.uint16,
        "uint32": np.uint32,
        "uint64": np.uint64,
        "int8": np.int8,
        "int16": np.int16,
        "int32": np.int32,
        "int64": np.int64,
        "float16": np.float16,
        "float32": np.float32,
        "float64": np.float64,
        "complex64": np.complex64,
        "complex128": np.complex128,
        "bfloat16": ml_dtypes.bfloat16,
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
        "float8_e5m2": ml_dtypes.float8_e5m2,
        "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    }.items()
}
"""torch's name of every dtype that can be read, and its numpy dtype (``ml_dtypes`` where numpy has none)."""

MAX_RANK = 32  # of a numpy 1 array
_MAX_BYTES = 2**62  # numpy refuses an array whose bytes do not count in an int64
# A broadcast tensor (`expand`) is larger than its storage. The bound keeps a few bytes of a hostile
# file from standing for an array that no memory could hold once it is copied.
MAX_EXPANSION = 1024
ALWAYS_ALLOWED = 2**26


class Storage(Protocol):
    """Bytes somewhere in a file."""

    @property
    def nbytes(self) -> int: ...

    def buffer(self) -> Buffer: ...


@dataclass(frozen=True, eq=False, slots=True)
class LazyTensor:
    """``strides`` and ``offset`` count elements of ``storage``; ``dtype`` is torch's name.

    ``refusal`` says why the tensor cannot become an array ("is sparse"), where it cannot.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    offset: int = 0
    storage: Storage | None = None
    refusal: str = ""

    def numpy(self) -> np.ndarray[Any, Any]:
        """A read-only array over the storage; a copy only where the file left the data unaligned."""
        dtype = NUMPY_DTYPES[self.dtype]
        if self.storage is None or 0 in self.shape:
            array = np.empty(self.shape, dtype)
        else:
            size = dtype.itemsize
            strides = tuple(stride * size for stride in self.strides)
            start = self.offset * size
            array = np.ndarray(self.shape, dtype, self.storage.buffer(), start, strides)
            array = array if array.flags.aligned else array.copy()
        array.flags.writeable = False
        return array


def strided(dtype: str, shape: object, strides: object, offset: object, storage: Storage) -> LazyTensor:
    """A tensor that is known to lie inside its storage; ``Malformed`` where it would not."""
    sizes, steps = _integers(shape), _integers(strides)
    if len(sizes) != len(steps) or type(offset) is not int or offset < 0:
        raise Malformed("a tensor's shape, strides and offset do not go together")
    known = NUMPY_DTYPES.get(dtype)
    if known is None:
        return _of_unknown_dtype(dtype, sizes)
    if prod(max(1, size) for size in sizes) * known.itemsize > _MAX_BYTES:
        raise Malformed(f"a tensor of shape {list(sizes)} cannot exist")
    if 0 in sizes:
        return LazyTensor(dtype, sizes)
    steps = tuple(1 if size == 1 else step for size, step in zip(sizes, steps, strict=True))
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if (last + 1) * known.itemsize > storage.nbytes:
        raise Malformed(
            f"a {dtype} tensor of shape {list(sizes)} reaches past the end of its {storage.nbytes} bytes"
        )
    if prod(sizes) * known.itemsize > max(ALWAYS_ALLOWED, MAX_EXPANSION * storage.nbytes):
        raise Malformed(f"{storage.nbytes} bytes are expanded to shape {list(sizes)}")
    return LazyTensor(dtype, sizes, steps, offset, storage)


def contiguous(dtype: str, shape: object, storage: Storage) -> LazyTensor:
    """A row-major tensor that is the whole of its storage; ``Malformed`` where it has another size."""
    sizes = _integers(shape)
    known = NUMPY_DTYPES.get(dtype)
    if known is None:
        return _of_unknown_dtype(dtype, sizes)
    strides: list[int] = []
    step = 1
    for size in reversed(sizes):
        strides.append(step)
        step *= size or 1
    if step * known.itemsize > _MAX_BYTES:
        raise Malformed(f"a tensor of shape {list(sizes)} cannot exist")
    nbytes = 0 if 0 in sizes else step * known.itemsize
    if nbytes != storage.nbytes:
        raise Malformed(f"a {dtype} tensor of shape {list(sizes)} has {storage.nbytes} bytes")
    return LazyTensor(dtype, sizes, tuple(reversed(strides)), 0, storage)


def _of_unknown_dtype(dtype: str, sizes: tuple[int, ...]) -> LazyTensor:
    return unreadable(dtype, sizes, f"is of dtype {quote(dtype)}, which weights cannot have")


def unreadable(dtype: str, shape: object, why: str) -> LazyTensor:
    """A tensor that can be listed but not read."""
    return LazyTensor(dtype, _integers(shape), refusal=why)


def _integers(values: object) -> tuple[int, ...]:
    """A shape or strides: a short sequence of integers from 0 to 2**62."""
    if not isinstance(values, tuple | list) or len(values) > MAX_RANK:
        raise Malformed(f"a tensor's shape or strides are not a sequence of at most {MAX_RANK} integers")
    for value in values:
        if type(value) is not int or not 0 <= value <= _MAX_BYTES:
            raise Malformed("a tensor's shape or strides have an entry that is not a size")
    return tuple(values)
