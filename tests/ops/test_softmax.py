"""Where softmax is easily got wrong: the dimension, overflow, underflow, and low ranks."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import SPELLINGS, Op
from trtdsl.ops.softmax import LogSoftmax, Softmax, Softmin
from trtdsl.types import DType

FAMILY = [Softmax, Softmin, LogSoftmax]


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (2, 3, 5), (2, 3, 4, 5), (2, 1, 3, 2, 5)], ids=str)
def test_every_dimension(cls: type[Op], shape: tuple[int, ...]) -> None:
    for dim in range(-max(len(shape), 1), max(len(shape), 1)):
        check_equals_torch(cls(dim), torch.randn(shape))


@pytest.mark.parametrize("cls", FAMILY)
def test_large_inputs(cls: type[Op]) -> None:
    (result,) = check_equals_torch(cls(1), torch.tensor([[1000.0, -1000.0, 999.0], [-3e4, -3e4, -3e4]]))
    assert result.isfinite().all()


def test_masked_places_get_nothing() -> None:
    (result,) = check_equals_torch(Softmax(0), torch.tensor([0.0, float("-inf"), 1.0]))
    assert result[1] == 0


def test_half_precision_may_be_computed_in_float32() -> None:
    (result,) = check_equals_torch(Softmax(0, DType.FLOAT32), torch.tensor([1.0, 2.0]).half())
    assert result.dtype == torch.float32


def test_softmax2d_is_over_channels() -> None:
    cls, spelling = SPELLINGS["Softmax2d"]
    x = torch.randn(2, 3, 4, 5)
    (result,) = check_equals_torch(cls(**spelling.fixed), x)
    torch.testing.assert_close(result.sum(1), torch.ones(2, 4, 5))


def test_what_pytorch_refuses_is_refused() -> None:
    assert "floating-point" in refused(Softmax(0), t("int64[3]"))
    assert "no dimension 1" in refused(LogSoftmax(1), t("float32[3]"))
