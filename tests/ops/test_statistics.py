"""Counts, moments, order statistics and membership: NaN, ties, nothing at all."""

from __future__ import annotations

import math

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.statistics import (
    Aminmax,
    Argsort,
    CountNonzero,
    Isin,
    Kthvalue,
    Median,
    Msort,
    Nanmean,
    Nansum,
    Renorm,
    StdMean,
    VarMean,
)
from trtdsl.types import DType

torch.manual_seed(0)
NAN, INF = math.nan, math.inf
HOLES = torch.tensor([[1.0, NAN, 3.0], [NAN, NAN, NAN], [INF, 1.0, NAN], [0.0, -0.0, 2.0]])


@pytest.mark.parametrize("op", [Nansum(1), Nanmean(1), Nansum(), Nanmean(0, True), CountNonzero(1)], ids=str)
def test_holes(op: Op) -> None:
    check_equals_torch(op, HOLES)
    check_equals_torch(op, HOLES.half())


def test_sums_of_integers() -> None:
    check_equals_torch(Nansum(0), torch.tensor([2**31 - 1, 1], dtype=torch.int32))
    check_equals_torch(CountNonzero(), torch.tensor([0, 200, 3], dtype=torch.uint8))


def test_a_mean_is_of_the_sum_in_its_dtype() -> None:
    check_equals_torch(Nanmean(), torch.full((8,), 60000.0).half())
    check_equals_torch(Nanmean(dtype=DType.FLOAT32), torch.full((8,), 60000.0).half())


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_medians_are_the_lower_ones(size: int) -> None:
    x = torch.randperm(3 * size).reshape(3, size).float()
    for op in (Median(1), Median(0, True), Median(), Kthvalue(size), Kthvalue(2, 0, True)):
        check_equals_torch(op, x)
    check_equals_torch(Median(0), torch.tensor(3.0))


def test_order() -> None:
    x = torch.randperm(12).reshape(4, 3)
    check_equals_torch(Msort(), x)
    check_equals_torch(Argsort(0, True), x.float())
    check_equals_torch(Aminmax(), x)
    check_equals_torch(Aminmax(dim=-1), torch.tensor([[True, False], [True, True]]))


def test_moments_take_what_var_takes() -> None:
    x = torch.randn(2, 3, 4)
    check_equals_torch(VarMean((0, 2), 0, True), x)
    check_equals_torch(StdMean(unbiased=False), x)


def test_lengths_are_limited() -> None:
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [INF, 1.0]])
    for op in (Renorm(2, 0, 1.0), Renorm(1, -1, 2), Renorm(math.inf, 0, 0.0)):
        check_equals_torch(op, x)


def test_membership() -> None:
    x = torch.tensor([[1.0, NAN], [INF, 3.0]])
    check_equals_torch(Isin(), x, torch.tensor([NAN, INF, 3.0]))
    check_equals_torch(Isin(True), torch.tensor([1, 2, 3]), torch.tensor([[2, 9]]))
    check_equals_torch(Isin(), torch.tensor([1, 2]), torch.tensor(2))


@pytest.mark.parametrize(
    ("op", "types", "words"),
    [
        (Nanmean(), ["int32[2]"], "floating-point"),
        (Kthvalue(0), ["float32[3]"], "none of number 0"),
        (Kthvalue(4), ["float32[3]"], "4 elements cannot be taken out of 3"),
        (Median(), ["bool[3]"], "bool"),
        (Median(keepdim=True), ["float32[3]"], "keepdim needs a dim"),
        (Renorm(0, 0, 1), ["float32[2,2]"], "must be positive"),
        (Renorm(2, 0, -1), ["float32[2,2]"], "-1 at most"),
        (Renorm(2, 0, 1), ["float32[2]"], "rank 2 at least"),
        (Aminmax(dim=1), ["float32[2,0]"], "needs elements"),
    ],
    ids=str,
)
def test_what_is_refused(op: Op, types: list[str], words: str) -> None:
    assert words in refused(op, *map(t, types))
