"""Numbers beyond the range of the tensor beside them: what they mean depends on no release of PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.elaborate.bodies import graph_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.diagnostics import DiagnosticError
from trtdsl.ops.base import Op
from trtdsl.ops.pad import Pad
from trtdsl.ops.pad_modules import ConstantPad1d
from trtdsl.ops.piecewise_linear import Hardshrink, Hardtanh, Softshrink, Threshold
from trtdsl.ops.pointwise import Add, Addcmul, Clamp, Sub
from trtdsl.trt.lower import lower
from trtdsl.types import DType

INTEGERS = ("int8", "uint8", "int32", "int64")
BOUNDS = st.one_of(
    st.integers(-10, 300),
    st.sampled_from([10**k * sign for k in range(2, 19) for sign in (1, -1)]),
    st.sampled_from(
        [edge + step for bits in (7, 8, 31) for edge in (1 << bits, -1 << bits) for step in (-1, 0, 1)]
    ),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(INTEGERS),
    st.none() | BOUNDS,
    st.none() | BOUNDS,
    st.lists(BOUNDS, min_size=3, max_size=3),
)
def test_bounds_of_integers_are_those_of_the_whole_numbers(
    dtype: str, low: int | None, high: int | None, values: list[int]
) -> None:
    """Either what Python's own integers give, or a refusal because that has no place in the dtype."""
    least, most = DType(dtype).limits
    values = [min(max(value, least), most) for value in values]
    if low is None and high is None:
        return
    if (low is not None and low > most) or (high is not None and high < least):
        assert "is out of the range of" in refused(Clamp(low, high), t(f"{dtype}[3]"))
        return
    expected = [value if low is None else max(value, low) for value in values]
    expected = [value if high is None else min(value, high) for value in expected]
    (found,) = check_equals_torch(Clamp(low, high), torch.tensor(values, dtype=getattr(torch, dtype)))
    assert found.tolist() == expected


@pytest.mark.parametrize("bound", [300.0, 5e9, 1e30, math.inf])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_hardtanh_of_integers_has_the_same_bounds(dtype: str, bound: float) -> None:
    x = torch.tensor([0, 3, 100], dtype=getattr(torch, dtype))
    assert check_equals_torch(Hardtanh(-bound, bound), x)[0].tolist() == [0, 3, 100]
    assert check_equals_torch(Hardtanh(3.0, bound), x)[0].tolist() == [3, 3, 100]
    if bound == math.inf:
        assert "is out of the range of" in refused(Hardtanh(math.inf, math.inf), t(f"{dtype}[3]"))


@pytest.mark.parametrize("op", [Clamp(-1e6, 1e6), Clamp(max=1e6), Hardtanh(-1e6, 1e6)])
def test_bounds_beyond_a_half(op: Op) -> None:
    x = torch.tensor([-math.inf, -65504.0, 0.5, math.inf], dtype=torch.float16)
    (found,) = check_equals_torch(op, x)
    assert torch.equal(found, x)


@pytest.mark.parametrize("number", [5e9, -5e9, 1e30, math.inf, math.nan])
def test_numbers_that_a_tensor_would_hold_must_fit(number: float) -> None:
    one, three = t("int32[3]"), (t("int32[3]"),) * 3
    assert "does not fit int32" in refused(Threshold(0.0, number), one)
    assert "does not fit int32" in refused(Threshold(number, 0.0), one)
    assert "does not fit int32" in refused(Pad((1, 1), value=number), one)
    assert "does not fit int32" in refused(ConstantPad1d(1, number), one.with_shape((2, 3)))
    if math.isfinite(number):
        assert "does not fit int32" in refused(Add(alpha=int(number)), one, one)
        assert "does not fit int32" in refused(Sub(alpha=int(number)), one, one)
        assert "does not fit int32" in refused(Addcmul(value=int(number)), *three)
    else:
        assert "an integer" in refused(Add(alpha=number), one, one)


def test_numbers_that_a_half_would_hold_must_fit() -> None:
    half = t("float16[3]")
    assert "does not fit float16" in refused(Pad((1, 1), value=1e6), half)
    assert "does not fit float16" in refused(Hardshrink(1e6), half)
    assert "does not fit float16" in refused(Softshrink(1e6), half)
    assert "does not fit float16" in refused(Add(alpha=1e6), half, half)


def test_a_factor_of_integers_is_written_as_one() -> None:
    one = t("int64[3]")
    assert "alpha must be an integer" in refused(Add(alpha=2.0), one, one)


def test_an_integer_has_no_negative_power() -> None:
    graph = graph_of("output y = t ** -1", declared="input t: int32[3]\n")
    with pytest.raises(DiagnosticError, match="an integer to a negative power is a fraction"):
        lower(graph)
