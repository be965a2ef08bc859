"""Integers that are positions in a tensor: what they may be, and how TensorRT reads them as PyTorch does.

In: an index and the dimension in which it names positions.  Out: positions from 0 on.  PyTorch raises where
a position is out of range; TensorRT, on a GPU, gives 0 there. Of negative positions it promises nothing in
dynamic dimensions (NvInfer.h, IGatherLayer), so that those that PyTorch counts from the end are wrapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array


class Positions(msgspec.Struct, frozen=True):
    """The integers that an operand may hold: from ``low`` to below ``high``.

    With ``distinct`` no two along that dimension may be equal, as where they say where to write.
    """

    high: Dim
    low: Dim = 0
    distinct: int | None = None

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


def require_positions(array: Array, allowed: Positions, about: str | None = None) -> None:
    """Refuse known positions of which one is out of range."""
    stray = allowed.stray(array)
    if stray is not None:
        raise Refused(f"position {stray} is out of range in a dimension of {allowed.high}", about)
