"""Constants: numbers at the ends of their dtypes' ranges, and constants too large to be written out."""

from __future__ import annotations

import warnings

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.creation import LARGEST_CONSTANT
from trtdsl.passes.convert_precision import convert_precision
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.types import DType

HEAD = "model m() { input x: float32[4] input half: float16[4] input i: int64[4] input small: uint8[4] "


def lowered(expression: str) -> LoweredNetwork:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return lower(elaborate_text(f"{HEAD} output y = {expression} }}"))


@pytest.mark.parametrize(
    "expression",
    [
        "x * 3.4028234e38",
        "where(x > 0, x, -1e308 * 10)",
        "where(x > 0, x, -inf)",
        "i * -9223372036854775808",
        "i + 9223372036854775807",
        "half + 65519",
        "small == 255",
        "full((2,), -0.5, dtype = int32)",
        "tensor([1e308 * 10])",
        "tensor([inf])",
        "arange(0, 2147483648, 2147483647, dtype = int32)",
        "clamp(half, max = 1e9)",
        "clamp(to(i, int32), 0, 3000000000)",
        "clamp(small, max = 256)",
    ],
)
def test_numbers_that_fit(expression: str) -> None:
    lowered(expression)


def test_a_number_that_an_integer_dtype_cannot_hold() -> None:
    with pytest.raises(DiagnosticError, match=r"`1e\+25` does not fit int64"):
        lowered("pad(i, (1, 1), value = 1e25)")


@pytest.mark.parametrize("size", ["(100000, 100000)", "(2, 300000000)"])
def test_a_large_constant_is_one_number_repeated(size: str) -> None:
    net = lowered(f"full({size}, 1.0) -> sum")
    assert sum(array.size for arrays in net.weights.values() for array in arrays.values()) < LARGEST_CONSTANT


def test_a_number_that_a_lower_precision_cannot_hold() -> None:
    graph = elaborate_text(f"{HEAD} output y = x * -1e9 }}")
    with pytest.raises(DiagnosticError, match=r"in float16: `-1000000000\.0` does not fit"):
        convert_precision(DType.FLOAT16)(graph)
