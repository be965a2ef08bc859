"""Integers that are positions in a tensor: what they may be, and how TensorRT reads them as PyTorch does.

In: an index and the dimension in which it names positions.  Out: positions from 0 on.  PyTorch raises where
a position is out of range; TensorRT, on a GPU, gives 0 there. Of negative positions it promises nothing in
dynamic dimensions (NvInfer.h, IGatherLayer), so that those that PyTorch counts from the end are wrapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, TensorType, ValueRange, bounds
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Positions(msgspec.Struct, frozen=True):
    """The integers that an operand may hold: from ``low`` to below ``high``.

    With ``distinct`` no two along that dimension may be equal, as where they say where to write.
    """

    high: Dim
    low: Dim = 0
    distinct: int | None = None

    def require_range(self, values: ValueRange, name: str, about: str) -> None:
        """Refuse an input whose range has integers that are out of range here, whatever the sizes."""
        least, most = bounds(self.low)[0], bounds(self.high)[1] - 1
        stray = values.high if values.high > most else values.low
        if least <= stray <= most:
            return
        place = f"a dimension of {self.high}"
        help = f"`{self.high}` is at most {most + 1}"
        if isinstance(self.high, int):
            help = f"what fits is `in {ValueRange(least, most)}`" if most >= least else None
        raise Refused(
            f"`{name}` is in {values}, but position {stray} is out of range in {place}", about, help
        )

    def stray(self, array: Array) -> int | None:
        """A number that is out of range for every size, or None."""
        if not isinstance(self.high, int) or not isinstance(self.low, int):
            return None
        outside = array[(array < self.low) | (array >= self.high)]
        return int(outside[0]) if outside.size else None


def from_either_end(size: Dim) -> Positions:
    """Positions that may be counted from the end: -1 is the last."""
    return Positions(size, -size)


def require_index(index: TensorType, about: str) -> None:
    """Refuse an index that holds no int32 or int64."""
    if index.dtype not in (DType.INT32, DType.INT64):
        raise Refused(f"an index must be int32 or int64, not {index.dtype}", about)


def require_int64(index: TensorType, what: str, about: str) -> None:
    """Refuse an index that is not int64, where PyTorch takes no other."""
    if index.dtype is not DType.INT64:
        raise Refused(
            f"{what} needs an int64 index, not {index.dtype}", about, help="cast it: `to(index, int64)`"
        )


def require_positions(array: Array, allowed: Positions, about: str | None = None) -> None:
    """Refuse known positions of which one is out of range."""
    stray = allowed.stray(array)
    if stray is not None:
        raise Refused(f"position {stray} is out of range in a dimension of {allowed.high}", about)


def from_front(net: Network, index: Tensor, size: Dim) -> Tensor:
    """Positions from 0 on, for those that may be counted from the end of a dimension.

    Refused where known ones are out of range.
    """
    if index.array is not None:
        require_positions(index.array, from_either_end(size))
        if isinstance(size, int):
            return net.constant(np.where(index.array < 0, index.array + size, index.array))
        if (index.array >= 0).all():
            return index
    length = size_tensor(net, size, index)
    is_negative = net.elementwise("LESS", index, net.scalar(0, index))
    return net.select(is_negative, net.elementwise("SUM", index, length), index)


def checked(index: Tensor, size: Dim) -> Tensor:
    """The index itself, which counts from the front; refused where known positions are out of range."""
    if index.array is not None:
        require_positions(index.array, Positions(size))
    return index


def size_tensor(net: Network, size: Dim, like: Tensor) -> Tensor:
    """The value of a dimension, in the dtype and rank of a tensor, all of whose dimensions are then 1."""
    if isinstance(size, int):
        return net.scalar(size, like)
    return net.reshape(net.cast(net.shape_tensor((size,)), like.dtype), (1,) * like.rank)


_BLOCK = 1 << 12


def count_up(net: Network, size: Dim) -> Tensor:
    """The numbers from 0 to below a size, as ``int64[size]``.

    Of a dynamic size as many as are needed of those for its largest, which are sums of two short constants:
    exact on every release, and a large range takes no room in the engine.
    """
    if isinstance(size, int):
        return net.constant(np.arange(size, dtype=np.int64))
    most = bounds(size)[1]
    numbers = net.constant(np.arange(min(most, _BLOCK), dtype=np.int64))
    if most > _BLOCK:
        rows = -(-most // _BLOCK)
        starts = net.constant(_BLOCK * np.arange(rows, dtype=np.int64).reshape(rows, 1))
        numbers = net.reshape(net.elementwise("SUM", starts, numbers), (rows * _BLOCK,))
    return net.slice(numbers, (0,), (size,))
