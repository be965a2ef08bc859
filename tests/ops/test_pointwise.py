"""Where arithmetic is easily got wrong: promotion, signs of quotients, powers, bools and overflow."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.division import Div, FloorDivide, Fmod, Remainder
from trtdsl.ops.pointwise import Add, Addcmul, Atan2, Clamp, Lerp, Maximum, Minimum, Mul, Pow, Sub
from trtdsl.ops.rules import promote
from trtdsl.reference import type_of

SIGNS = torch.tensor([7, -7, 7, -7, 6, -6, 0, 1, -1])
DIVISORS = torch.tensor([2, 2, -2, -2, 3, -3, 5, -4, 4])
QUOTIENTS = [FloorDivide(), Remainder(), Fmod(), Div("floor"), Div("trunc"), Div()]

# torch.uint8 with torch.int8 is int16 in PyTorch, which the language does not have.
DTYPES = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("op", QUOTIENTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32, torch.float16])
def test_signs_of_quotients(op: Op, dtype: torch.dtype) -> None:
    check_equals_torch(op, SIGNS.to(dtype), DIVISORS.to(dtype))


@pytest.mark.parametrize(("left", "right"), list(itertools.product(DTYPES, DTYPES)), ids=str)
@pytest.mark.parametrize("ranks", [(1, 1), (0, 1), (1, 0), (0, 0)], ids=str)
def test_promotion_is_pytorchs(left: torch.dtype, right: torch.dtype, ranks: tuple[int, int]) -> None:
    a, b = (torch.ones((2,) * rank, dtype=d) for rank, d in zip(ranks, (left, right), strict=True))
    assert str(torch.result_type(a, b)) == f"torch.{promote(type_of(a), type_of(b))}"


@pytest.mark.parametrize("op", [Add(), Mul(), Maximum(), Minimum()])
def test_bools(op: Op) -> None:
    check_equals_torch(op, torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False]))


@pytest.mark.parametrize(
    "shapes", [((2, 1, 3), (4, 1)), ((), (2, 3)), ((1,), ()), ((), ()), ((1, 3), (2, 1))], ids=str
)
def test_broadcasting(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check_equals_torch(Add(alpha=2), *(torch.randn(shape) for shape in shapes))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 5, 6, -1, -2, -3, 0.5, 2.0, 7.0, -4.0, 11])
def test_powers_of_negative_numbers(exponent: float) -> None:
    check_equals_torch(Pow(), torch.tensor([-3.0, -1.5, -0.1, 0.2, 1.0, 2.5]), torch.tensor(exponent))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5, 6])
def test_powers_of_negative_integers(exponent: int) -> None:
    check_equals_torch(Pow(), torch.tensor([-3, -1, 0, 2, 4]), torch.tensor(exponent))


def test_broken_power_of_a_negative_number_is_nan() -> None:
    (result,) = check_equals_torch(Pow(), torch.tensor([-2.0, 4.0]), torch.tensor(1.5))
    assert result.isnan().tolist() == [True, False]


def test_half_clamp_and_crossed_bounds() -> None:
    x = torch.tensor([-2.0, 0.25, 5.0])
    check_equals_torch(Clamp(-1, 1), x.half())
    (result,) = check_equals_torch(Clamp(3.0, 2.0), x)
    assert result.tolist() == [2.0, 2.0, 2.0]


def test_clamp_of_integers() -> None:
    x = torch.tensor([-3, 0, 9])
    assert check_equals_torch(Clamp(min=-1, max=4), x)[0].dtype == torch.int64
    assert check_equals_torch(Clamp(min=-0.5), x)[0].dtype == torch.float32
    assert check_equals_torch(Clamp(max=200), torch.tensor([0, 255], dtype=torch.uint8))[0].tolist() == [
        0,
        200,
    ]


def test_clamp_keeps_nan() -> None:
    assert check_equals_torch(Clamp(0.0, 1.0), torch.tensor([float("nan")]))[0].isnan().all()


def test_atan2_in_all_quadrants_and_on_the_axes() -> None:
    points = torch.tensor(list(itertools.product([-2.0, 0.0, 0.5], [-1.0, 0.0, 3.0])))
    check_equals_torch(Atan2(), points[:, 0], points[:, 1])


def test_scalars_keep_the_tensors_dtype() -> None:
    assert (
        check_equals_torch(Mul(), torch.ones(2, dtype=torch.float16), torch.tensor(0.5))[0].dtype
        == torch.float16
    )
    assert (
        check_equals_torch(Mul(), torch.ones(2, dtype=torch.int32), torch.tensor(2))[0].dtype == torch.int32
    )
    assert (
        check_equals_torch(Mul(), torch.ones(2, dtype=torch.int32), torch.tensor(0.5))[0].dtype
        == torch.float32
    )


def test_image_bytes_are_scaled() -> None:
    (result,) = check_equals_torch(Div(), torch.tensor([0, 128, 255], dtype=torch.uint8), torch.tensor(255.0))
    assert result.dtype == torch.float32


def test_lerp_outside_of_its_ends() -> None:
    check_equals_torch(Lerp(), torch.randn(3), torch.randn(3), torch.tensor([-1.0, 0.5, 2.0]))


def test_addcmul_of_integers() -> None:
    check_equals_torch(Addcmul(value=3), torch.tensor([1]), torch.tensor([2, 3]), torch.tensor([[4], [5]]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=4, max_size=4),
    st.lists(st.integers(1, 2**31 - 1) | st.integers(-(2**31) + 1, -1), min_size=4, max_size=4),
    st.sampled_from(QUOTIENTS[:5]),
)
def test_integer_quotients(a: list[int], b: list[int], op: Op) -> None:
    check_equals_torch(op, torch.tensor(a), torch.tensor(b))


def test_what_pytorch_refuses_is_refused() -> None:
    both = t("bool[4]"), t("bool[4]")
    assert "bool" in refused(Sub(), *both)
    assert "bool" in refused(Sub(), t("float32[4]"), t("bool[4]"))
    for op in (FloorDivide(), Remainder(), Fmod(), Pow()):
        assert "bool" in refused(op, *both)
    assert "alpha" in refused(Add(alpha=0.5), t("int64[4]"), t("int64[4]"))
    assert "value" in refused(Addcmul(value=0.5), t("int64[4]"), t("int64[4]"), t("int64[4]"))
    assert "one dtype" in refused(Lerp(), t("float32[4]"), t("float16[4]"), t("float32[]"))
    assert "do not broadcast" in refused(Add(), t("float32[4]"), t("float32[3]"))
    assert "a min or a max" in refused(Clamp(), t("float32[4]"))


def test_wrapping_arithmetic_is_refused() -> None:
    assert "wraps" in refused(Add(), t("uint8[4]"), t("uint8[4]"))
    assert "wraps" in refused(Mul(), t("int8[4]"), t("int8[4]"))
