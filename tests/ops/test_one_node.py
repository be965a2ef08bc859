"""The comparison that every operator's test relies on can fail."""

from __future__ import annotations

import pytest
import torch

from tests.closeness import require_close
from tests.ops.one_node import check_equals_torch
from trtdsl.ops.lowering import Network, Tensor
from trtdsl.ops.pointwise import Add, Binary

ONE = torch.tensor([1.0, float("nan"), float("inf")])


@pytest.mark.parametrize(
    "found",
    [
        torch.tensor([1.001, float("nan"), float("inf")]),
        torch.tensor([1.0, 0.0, float("inf")]),
        torch.tensor([1.0, float("nan"), float("-inf")]),
        torch.tensor([float("nan"), float("nan"), float("inf")]),
        torch.tensor([[1.0, float("nan"), float("inf")]]),
        torch.tensor([1.0, float("nan"), float("inf")]).double(),
    ],
    ids=["value", "missing NaN", "sign of infinity", "further NaN", "shape", "dtype"],
)
def test_difference_is_found(found: torch.Tensor) -> None:
    with pytest.raises(AssertionError):
        require_close(found, ONE, 1e-5)


def test_equal_passes() -> None:
    require_close(ONE.clone(), ONE, 0)


def test_integers_must_be_equal() -> None:
    with pytest.raises(AssertionError):
        require_close(torch.tensor([1000000]), torch.tensor([1000001]), 1e-5)


class Subtracts(Binary, abstract=True):
    """Says that it is an addition."""

    torch = Add.torch
    name = Add.name
    operands = Add.operands

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise("SUB", a, b)


def test_wrong_lowering_is_found() -> None:
    with pytest.raises(AssertionError):
        check_equals_torch(Subtracts(), torch.ones(3), torch.ones(3))
