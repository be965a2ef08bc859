"""The values that an input may take: ``input ids: int64[N, S] in 0 .. 50256``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from trtdsl.types.arrays import np
from trtdsl.types.dtype import DType

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

_AT_ONCE = 2**22
"""Elements that are looked at together."""


class ValueRange(NamedTuple):
    """From ``low`` to ``high``, both included; integers for integer dtypes, floats for floating ones.

    What a narrow floating dtype makes of an end belongs to the range too: float32's 0.1 is above 0.1.
    """

    low: int | float
    high: int | float

    def stray(self, array: npt.NDArray[Any]) -> tuple[int, ...] | None:
        """The index of the first element outside, NaN being outside of everything, or None."""
        row = max(math.prod(array.shape[1:]), 1)
        # Little of an array that lies in a file is to be in memory at a time.
        step = max(_AT_ONCE // row, 1)
        for start in range(0, len(array), step) if array.ndim else ():
            if place := self._stray(array[start : start + step]):
                return (start + place[0], *place[1:])
        return None if array.ndim else self._stray(array)

    def _stray(self, array: npt.NDArray[Any]) -> tuple[int, ...] | None:
        low, high = self._ends(array.dtype)
        if array.dtype.kind not in "iuf":
            # bfloat16 and its like warn of comparisons with NaN.
            array = array.astype(np.float32)
        outside = ~np.asarray((array >= low) & (array <= high))
        if not outside.any():
            return None
        return tuple(map(int, np.unravel_index(int(np.argmax(outside)), outside.shape)))

    def problem(self, name: str, array: npt.NDArray[Any]) -> str | None:
        """What is wrong with an array for the input of this name, or None."""
        place = self.stray(array)
        if place is None:
            return None
        element = f"{name}[{', '.join(map(str, place))}]" if place else name
        return f"input `{name}` takes values in {self}, but `{element}` is {array[place]}"

    def draw(self, dtype: DType, shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[Any]:
        """Random elements, each value as likely as any other; of an integer dtype those that it holds."""
        if dtype.is_integer:
            least, most = dtype.limits
            low, high = (min(max(int(end), least), most) for end in self)
            drawn = np.int8 if dtype is DType.INT4 else dtype.numpy
            return np.asarray(random.integers(low, high, shape, drawn, endpoint=True), dtype.numpy)
        # Rounding keeps the order, so that what is inside stays between the rounded ends.
        inside = np.clip(random.uniform(self.low, self.high, shape), self.low, self.high)
        return np.asarray(inside, np.float64).astype(dtype.numpy)

    def _ends(self, dtype: np.dtype[Any]) -> tuple[Any, Any]:
        if dtype.kind in "iu":
            return self.low, self.high
        low, high = np.asarray([self.low, self.high], np.float64).astype(dtype)
        return (low, high) if dtype.kind == "f" else (np.float32(low), np.float32(high))

    def __str__(self) -> str:
        return f"{self.low} .. {self.high}"
