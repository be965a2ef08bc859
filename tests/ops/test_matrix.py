"""Where matrix products are easily got wrong: vectors, broadcast batches and dtypes."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.linear import Bilinear
from trtdsl.ops.matrix import Bmm, Matmul, Mm, Outer

SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((4, 2, 3), (3,)),
    ((3,), (4, 3, 2)),
    ((5, 4, 2, 3), (3, 6)),
    ((2, 3), (5, 4, 3, 6)),
    ((5, 1, 2, 3), (4, 3, 6)),
    ((1, 4, 2, 3), (5, 1, 3, 6)),
    ((1, 1), (1, 1)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_ranks(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    check_equals_torch(Matmul(), torch.randn(left), torch.randn(right))


def test_outer_promotes() -> None:
    assert check_equals_torch(Outer(), torch.arange(3), torch.randn(2))[0].dtype == torch.float32
    assert check_equals_torch(Outer(), torch.arange(3), torch.arange(2))[0].dtype == torch.int64


def test_what_cannot_be_multiplied_is_refused() -> None:
    assert "TensorRT" in refused(Matmul(), t("int64[2, 3]"), t("int64[3, 2]"))
    assert "one dtype" in refused(Matmul(), t("float32[2, 3]"), t("float16[3, 2]"))
    assert "3 columns against 2 rows" in refused(Matmul(), t("float32[2, 3]"), t("float32[2, 3]"))
    assert "at least one dimension" in refused(Matmul(), t("float32[]"), t("float32[3]"))
    assert "rank 3" in refused(Bmm(), t("float32[2, 3]"), t("float32[3, 2]"))
    assert "1 and 4 matrices" in refused(Bmm(), t("float32[1, 2, 3]"), t("float32[4, 3, 2]"))
    assert "rank 2" in refused(Mm(), t("float32[3]"), t("float32[3, 2]"))


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize(("first", "second"), [(4, 5), (1, 3), (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear(lead: tuple[int, ...], first: int, second: int, bias: bool) -> None:
    weights = {"weight": torch.randn(3, first, second)} | ({"bias": torch.randn(3)} if bias else {})
    x, y = torch.randn(*lead, first), torch.randn(*lead, second)
    check_equals_torch(Bilinear(3, bias=bias), x, y, weights=weights)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("float32[2, 3]", "float32[3, 3]", "differ before their last dimensions"),
        ("float32[2, 3]", "float32[3]", "differ before their last dimensions"),
        ("float32[2, 3]", "float16[2, 3]", "needs one dtype"),
        ("int32[2, 3]", "int32[2, 3]", "needs a floating-point tensor"),
        ("float32[]", "float32[]", "not single numbers"),
    ],
)
def test_bilinear_refuses(first: str, second: str, message: str) -> None:
    assert message in refused(Bilinear(3), t(first), t(second))
