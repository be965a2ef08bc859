"""Where ordering is easily got wrong: vectors, single numbers, ties' order, limits and dtypes."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.ordering import Argmax, Argmin, Max, Min, Sort, Topk


@pytest.mark.parametrize(
    "op", [Topk(2), Topk(2, largest=False), Sort(), Sort(descending=True), Max(0), Min(0)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int32, torch.int64, torch.uint8])
def test_vectors(op: Op, dtype: torch.dtype) -> None:
    check_equals_torch(op, torch.tensor([3, 9, 1, 7, 0]).to(dtype))


@pytest.mark.parametrize("op", [Argmax(), Argmin(0), Max(), Min(0), Sort(), Topk(1), Topk(1, dim=0)], ids=str)
def test_single_numbers(op: Op) -> None:
    check_equals_torch(op, torch.tensor(4.0))


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("keepdim", [False, True])
def test_dims(dim: int, keepdim: bool) -> None:
    x = torch.randn(3, 4, 5)
    check_equals_torch(Max(dim, keepdim), x)
    check_equals_torch(Argmin(dim, keepdim), x)


@pytest.mark.parametrize("keepdim", [False, True])
def test_place_among_all(keepdim: bool) -> None:
    check_equals_torch(Argmax(keepdim=keepdim), torch.randn(3, 4, 5))


def test_five_dimensions() -> None:
    x = torch.randn(2, 3, 2, 2, 2)
    check_equals_torch(Argmax(0), x)
    check_equals_torch(Topk(2, dim=1), x)


def test_places_are_int64() -> None:
    assert check_equals_torch(Argmax(), torch.tensor([1.0, 2.0]))[0].dtype == torch.int64
    assert check_equals_torch(Topk(1), torch.tensor([1.0, 2.0]))[1].dtype == torch.int64


def test_extreme_of_bools() -> None:
    check_equals_torch(Max(), torch.tensor([False, True]))
    check_equals_torch(Min(), torch.tensor([False, True]))


def test_limits_are_refused() -> None:
    assert "3840" in refused(Topk(4000), t("float32[5000]"))
    assert "3840" in refused(Sort(), t("float32[5000]"))
    assert "cannot be taken out of 3" in refused(Topk(4), t("float32[3]"))
    assert "bool" in refused(Argmax(), t("bool[3]"))
    assert "keepdim" in refused(Max(keepdim=True), t("float32[3]"))
