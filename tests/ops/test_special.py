"""Functions made of others: near 0, at the ends of their ranges, at infinities, NaN and -0.0."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import OPERATORS, Op
from trtdsl.ops.pairs import Allclose, ClampMin, Copysign, Equal, Fmax, Hypot, Isclose, Ldexp
from trtdsl.ops.special import Erfc, Erfinv, Frac, Heaviside, Logit, NanToNum, Positive, Signbit

NAN, INF = math.nan, math.inf
CORNERS = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 3e38, -3e38])
PAIRS = torch.tensor([*itertools.product(CORNERS.tolist(), repeat=2)])

UNARY = (
    "logit",
    "erfc",
    "exp2",
    "sinc",
    "deg2rad",
    "rad2deg",
    "nan_to_num",
    "isposinf",
    "isneginf",
    "isreal",
)
BINARY = ("hypot", "logaddexp", "logaddexp2", "xlogy", "fmax", "fmin", "isclose", "heaviside")


@pytest.mark.parametrize("name", [*UNARY, "frac", "erfinv"])
def test_corners(name: str) -> None:
    op = OPERATORS[name]()
    check_equals_torch(op, CORNERS)
    check_equals_torch(op, CORNERS.half())
    if name != "frac":
        check_equals_torch(op, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("name", BINARY)
def test_corners_of_two(name: str) -> None:
    check_equals_torch(OPERATORS[name](), *PAIRS.unbind(1))


def test_signs_of_zeros_and_infinities() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -1.0, INF, -INF])
    check_equals_torch(Signbit(), x)
    (found,) = check_equals_torch(Copysign(), torch.tensor([[3.0], [-0.0]]), x)
    assert found.signbit().tolist() == [x.signbit().tolist()] * 2
    check_equals_torch(Signbit(), torch.tensor([200], dtype=torch.uint8))
    check_equals_torch(Copysign(), torch.tensor([3, -4]), torch.tensor([-1, 2]))


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Erfinv(), torch.cat([torch.linspace(-1, 1, 4001), 1 - 2.0 ** -torch.arange(1.0, 25.0)])),
        (Erfinv(), 10.0 ** -torch.arange(1.0, 38.0)),
        (Erfc(), torch.linspace(-6, 9, 3001)),
        (Logit(), torch.linspace(0, 1, 1001)),
        (Logit(2.0**-20), torch.linspace(-0.5, 1.5, 1001)),
    ],
    ids=["erfinv", "erfinv near 0", "erfc", "logit", "logit with eps"],
)
def test_every_number_is_near_and_not_only_the_large_ones(op: Op, x: torch.Tensor) -> None:
    (found,) = check_equals_torch(op, x)
    exact = getattr(torch, op.name)(x.double(), *([op.eps] if isinstance(op, Logit) and op.eps else []))
    finite = exact.isfinite() & (exact.abs() > 1e-30)
    relative = ((found.double() - exact) / exact)[finite].abs()
    if isinstance(op, Logit):  # whose rounding is that of 1 - x, as PyTorch's is
        relative = (found.double() - exact)[finite].abs()
    assert relative.max() < 1.5e-5


def test_no_square_overflows() -> None:
    (found,) = check_equals_torch(Hypot(), torch.tensor([3e38, 3e-30]), torch.tensor([1e38, 4e-30]))
    assert found.isfinite().all()
    (found,) = check_equals_torch(Hypot(), torch.tensor([60000.0]).half(), torch.tensor([1e4]).half())
    assert found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_infinities_become_the_largest_numbers(dtype: torch.dtype) -> None:
    (found,) = check_equals_torch(NanToNum(), torch.tensor([NAN, INF, -INF, 1.0], dtype=dtype))
    assert found.isfinite().all()
    check_equals_torch(NanToNum(INF, NAN, 2.0), torch.tensor([NAN, INF, -INF, 1.0], dtype=dtype))


def test_closeness() -> None:
    a, b = torch.tensor([1.0, 2.0, NAN, INF]), torch.tensor([1.0 + 1e-6, 2.1, NAN, INF])
    check_equals_torch(Isclose(), a, b)
    check_equals_torch(Isclose(0, 0, True), a, b)
    check_equals_torch(Isclose(rtol=0.5), torch.tensor([3, 1 << 40]), torch.tensor([4, -5]))
    check_equals_torch(Isclose(), torch.tensor([True, False]), torch.tensor([True, True]))
    (found,) = check_equals_torch(Allclose(rtol=1.0, equal_nan=True), a, b)
    assert found.item() is True
    check_equals_torch(Equal(), a, a)
    (found,) = check_equals_torch(Equal(), a, a[:3])
    assert found.item() is False


def test_numbers_beside_tensors() -> None:
    check_equals_torch(ClampMin(), torch.tensor([-3, 3]), torch.tensor(0.5))
    check_equals_torch(Ldexp(), torch.tensor([1.5, -3.0]), torch.tensor([-3, 100]))
    check_equals_torch(Ldexp(), torch.tensor([3, -4]), torch.tensor([2.5, 1.0]))
    check_equals_torch(Fmax(), torch.tensor([True, False]), torch.tensor([3, -4]))


@pytest.mark.parametrize(
    ("op", "types", "words"),
    [
        (Frac(), ["int32[2]"], "floating-point"),
        (Positive(), ["bool[2]"], "bool"),
        (Hypot(), ["int32[2]", "int32[2]"], "floating-point"),
        (Heaviside(), ["float32[2]", "float16[2]"], "one dtype"),
        (Isclose(), ["float32[2]", "int32[2]"], "one dtype"),
        (Isclose(rtol=-1.0), ["float32[2]", "float32[2]"], "cannot be -1.0"),
        (Equal(), ["float32[2]", "int32[2]"], "one dtype"),
        (ClampMin(), ["bool[2]", "bool[]"], "bool"),
        (NanToNum(nan=1e6), ["float16[2]"], "does not fit float16"),
    ],
    ids=str,
)
def test_what_is_refused(op: Op, types: list[str], words: str) -> None:
    assert words in refused(op, *map(t, types))
