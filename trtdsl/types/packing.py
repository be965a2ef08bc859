"""Numbers of four bits, two to a byte, the first in the low half: as weights and GPUs have them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trtdsl.types.arrays import np
from trtdsl.types.dtype import DType

if TYPE_CHECKING:
    import numpy.typing as npt


def packed(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The elements of an array of int4 or float4_e2m1fn in order, two to a byte; of an odd number the last
    half is 0."""
    halves = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & 15
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    return (halves[::2] | halves[1::2] << 4).astype(np.uint8)


def unpacked(data: npt.NDArray[np.uint8], dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of int4 or float4_e2m1fn of this shape from its bytes."""
    halves = np.stack([data & 15, data >> 4], axis=-1).reshape(-1)[: math.prod(shape)]
    if dtype is DType.INT4:
        # The sign is the highest of the four bits.
        return ((halves ^ 8).astype(np.int8) - 8).astype(dtype.numpy).reshape(shape)
    return halves.view(dtype.numpy).reshape(shape)
