"""Element types: the language's spellings, and their numpy counterparts."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class DType(enum.Enum):
    """An element type; the value is its one spelling in the language."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8_e4m3fn"
    FLOAT8_E8M0 = "float8_e8m0fnu"
    FLOAT4 = "float4_e2m1fn"
    INT4 = "int4"
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
        """Whether this is int4, int8, int32, int64 or uint8 (bool is not an integer)."""
        return "int" in self.value

    @property
    def is_bool(self) -> bool:
        return self is DType.BOOL

    @property
    def is_quantised(self) -> bool:
        """Whether its numbers stand for others by a scale and nothing is computed in it.

        int8 is not one of these: TensorRT computes in it, and where it holds quantised numbers only their
        user knows.
        """
        return self in _QUANTISED

    @property
    def bits(self) -> int:
        """Bits of one element, in a file as on a GPU; numpy's int4 and float4 take a byte each."""
        return _BITS.get(self, 8)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest number of an integer dtype."""
        if self is DType.UINT8:
            return 0, 255
        half = 1 << (self.bits - 1)
        return -half, half - 1

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; bfloat16 and the quantised ones are those of ml_dtypes."""
        import numpy as np

        if self is DType.BFLOAT16 or self.is_quantised:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, self.value))
        return np.dtype(self.value)

    @property
    def largest(self) -> float:
        """A floating-point dtype's largest number."""
        return float(_facts(self).max)

    @property
    def smallest_normal(self) -> float:
        """A floating-point dtype's smallest number with all its digits."""
        return float(_facts(self).smallest_normal)

    @property
    def unit(self) -> float:
        """The largest relative error of a rounding to a floating-point dtype: 2 ** -11 for float16."""
        return float(_facts(self).eps) / 2

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
        if self is DType.FLOAT8_E8M0 and number <= 0:
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


def _facts(dtype: DType) -> Any:
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy)


PRECISIONS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
"""The types that stand for real numbers, from fine to coarse; float8 carries its scale elsewhere."""


_QUANTISED = frozenset((DType.FLOAT8, DType.FLOAT8_E8M0, DType.FLOAT4, DType.INT4))
_BITS = {
    **dict.fromkeys((DType.FLOAT4, DType.INT4), 4),
    **dict.fromkeys((DType.FLOAT16, DType.BFLOAT16), 16),
    **dict.fromkeys((DType.FLOAT32, DType.INT32), 32),
    DType.INT64: 64,
}

_LARGEST = {
    DType.FLOAT32: float.fromhex("0x1.fffffefffffffp+127"),
    DType.FLOAT16: float.fromhex("0x1.ffdffffffffffp+15"),
    DType.BFLOAT16: float.fromhex("0x1.fefffefffffffp+127"),
    DType.FLOAT8: float.fromhex("0x1.d00001p+8"),
    DType.FLOAT8_E8M0: float.fromhex("0x1.7ffffefffffffp+127"),
    DType.FLOAT4: 7.0,
}
"""The largest float64 that rounds to a finite number of each; to the narrow two by way of float32."""


OTHER_NAMES = {
    **dict.fromkeys(("float", "f32", "fp32", "Float32"), "float32"),
    **dict.fromkeys(("half", "f16", "fp16"), "float16"),
    **dict.fromkeys(("bf16", "bfloat"), "bfloat16"),
    **dict.fromkeys(("float8", "fp8", "f8", "float8_e4m3"), "float8_e4m3fn"),
    **dict.fromkeys(("long", "i64"), "int64"),
    **dict.fromkeys(("int", "i32"), "int32"),
    **dict.fromkeys(("char", "i8"), "int8"),
    **dict.fromkeys(("byte", "u8"), "uint8"),
    **dict.fromkeys(("boolean", "i1"), "bool"),
}
"""Other names of dtypes, in PyTorch and elsewhere."""
