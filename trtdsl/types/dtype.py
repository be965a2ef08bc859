"""Element types: the language's spellings, and their numpy counterparts."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class DType(enum.Enum):
    """An element type; the value is its one spelling in the language."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8_e4m3fn"
    INT8 = "int8"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    BOOL = "bool"

    @property
    def is_floating(self) -> bool:
        return "float" in self.value

    @property
    def is_integer(self) -> bool:
        """Whether this is int8, int32, int64 or uint8 (bool is not an integer)."""
        return "int" in self.value

    @property
    def is_bool(self) -> bool:
        return self is DType.BOOL

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return {"float32": 4, "int32": 4, "int64": 8, "float16": 2, "bfloat16": 2}.get(self.value, 1)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest number of an integer dtype."""
        if self is DType.UINT8:
            return 0, 255
        half = 1 << (8 * self.itemsize - 1)
        return -half, half - 1

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; bfloat16 and float8_e4m3fn are those of ml_dtypes."""
        import numpy as np

        if self in (DType.BFLOAT16, DType.FLOAT8):
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, self.value))
        return np.dtype(self.value)

    def holds(self, value: bool | int | float) -> bool:
        """Whether a number is in range; what is infinite by itself fits floats, and anything bool."""
        if self.is_bool:
            return True
        if self.is_integer:
            least, most = self.limits
            return least - 1 < value < most + 1
        try:
            number = float(value)
        except OverflowError:
            return False
        return not math.isfinite(number) or abs(number) <= _LARGEST[self]

    @classmethod
    def of_numpy(cls, dtype: npt.DTypeLike) -> DType:
        """The element type of a numpy dtype; ValueError if the language has none for it."""
        import numpy as np

        given = np.dtype(dtype)
        if not given.isnative:
            raise ValueError(f"{given.str} is not in this machine's byte order")
        return cls(given.name)

    def __str__(self) -> str:
        return self.value


PRECISIONS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
"""The types that stand for real numbers, from fine to coarse; float8 carries its scale elsewhere."""


_LARGEST = {
    DType.FLOAT32: float.fromhex("0x1.fffffefffffffp+127"),
    DType.FLOAT16: float.fromhex("0x1.ffdffffffffffp+15"),
    DType.BFLOAT16: float.fromhex("0x1.fefffefffffffp+127"),
    DType.FLOAT8: float.fromhex("0x1.d00001p+8"),
}
"""The largest float64 that rounds to a finite number of each; to the narrow two by way of float32."""
