"""Running products, extremes and logarithms, differences and areas: NaN, infinities and ties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.cumulative import Cummax, Cummin, Cumprod, Diff, Logcumsumexp, Trapezoid
from trtdsl.reference import type_of

torch.manual_seed(0)
NAN, INF = math.nan, math.inf
CORNERS = torch.tensor([[1.0, -2.0, NAN, 3.0, 0.5], [-INF, -INF, 2.0, INF, INF], [0.0, -0.0, INF, 1.0, -INF]])


@pytest.mark.parametrize(
    "op", [Cumprod(1), Cummax(-1), Cummin(1), Logcumsumexp(1), Cummax(0), Cummin(0)], ids=str
)
def test_corners(op: Op) -> None:
    check_equals_torch(op, CORNERS)
    check_equals_torch(op, CORNERS.half())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
def test_sizes(size: int) -> None:
    x = torch.randn(2, size, 3)
    for op in (Cumprod(1), Cummax(1), Cummin(-2), Logcumsumexp(1)):
        check_equals_torch(op, x)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.int8, torch.bool])
def test_integers_and_ties(dtype: torch.dtype) -> None:
    x = torch.tensor([3, 3, 1, 7, 7, 0, 7, 2]).to(dtype)
    for op in (Cummax(0), Cummin(0), Cumprod(0)):
        check_equals_torch(op, x)


def test_the_least_integers_are_extremes_too() -> None:
    for dtype in (torch.int32, torch.int64):
        least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
        check_equals_torch(Cummax(0), torch.tensor([least, least, most], dtype=dtype))
        check_equals_torch(Cummin(0), torch.tensor([most, most, least], dtype=dtype))


def test_sums_of_powers_do_not_overflow() -> None:
    (found,) = check_equals_torch(Logcumsumexp(0), torch.tensor([1000.0, 1000.0, -1000.0, 1001.0]))
    assert found.isfinite().all()
    check_equals_torch(Logcumsumexp(0), torch.tensor([-60000.0, -60000.0]).half())


def test_products_in_float16_are_rounded_once() -> None:
    x = torch.full((20,), 1.03).half()
    (found,) = check_equals_torch(Cumprod(0), x)
    exact = x.double().cumprod(0)
    assert ((found.double() - exact) / exact).abs().max() < 2**-10


@pytest.mark.parametrize("n", range(5))
def test_differences(n: int) -> None:
    x = torch.tensor([[1.0, INF, INF, NAN, 2.0], [1.0, 4.0, 9.0, 16.0, 25.0]])
    check_equals_torch(Diff(n), x)
    check_equals_torch(Diff(n), torch.tensor([True, False, False, True, True]))
    check_equals_torch(Diff(n, 0), x, x, None)
    check_equals_torch(Diff(n, 1), x, None, x)


def test_differences_of_few_elements_are_none() -> None:
    assert Diff(5).infer(t("float32[2,3]")) == type_of(torch.diff(torch.ones(2, 3), n=5))
    assert Diff(1).infer(t("float32[2,1]")) == t("float32[2,0]")


@pytest.mark.parametrize(
    "x", [None, torch.tensor([0.0, 1.0, 3.0, 3.5]), torch.randn(2, 4), torch.randn(1, 4)]
)
def test_areas(x: Any) -> None:
    for y in (torch.randn(2, 4), torch.arange(8).reshape(2, 4)):
        check_equals_torch(Trapezoid(), y, x)
    check_equals_torch(Trapezoid(dx=2), torch.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    ("op", "types", "words"),
    [
        (Cumprod(2), ["float32[2,3]"], "no dimension 2"),
        (Logcumsumexp(0), ["int32[2]"], "floating-point"),
        (Diff(-1), ["float32[2]"], "-1 times"),
        (Diff(), ["float32[]"], "rank 1 at least"),
        (Diff(), ["float32[2,3]", "float32[3,3]"], "dimension 0 differs"),
        (Trapezoid(dx=1.0), ["float32[2]", "float32[2]"], "not both"),
        (Trapezoid(), ["float32[2,3]", "float32[2]"], "2 points for 3 values"),
        (Trapezoid(), ["float32[]"], "rank 1 at least"),
    ],
    ids=str,
)
def test_what_is_refused(op: Op, types: list[str], words: str) -> None:
    assert words in refused(op, *map(t, types))
