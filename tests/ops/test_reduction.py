"""Where reductions are easily got wrong: dims, dtypes, corrections, limits and dynamic counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.closeness import expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Node, Output, Value
from trtdsl.ops.base import Op
from trtdsl.ops.reduction import AllTrue, Amax, Amin, AnyTrue, Cumsum, Mean, Prod, Std, Sum, Var
from trtdsl.ops.vector_norm import Logsumexp, Norm, Normalize, VectorNorm
from trtdsl.trt.lower import lower
from trtdsl.types import DType, TensorType, symbol

INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64]


@pytest.mark.parametrize("op", [Sum(), Prod(), Cumsum(0), Sum(0), Prod(-1)], ids=str)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_accumulate_in_int64(op: Op, dtype: torch.dtype) -> None:
    (result,) = check_equals_torch(op, torch.tensor([1, 100, 0, 27]).to(dtype))
    assert result.dtype == torch.int64


@pytest.mark.parametrize("op", [Amax(), Amin(0), AllTrue(), AnyTrue(-1)], ids=str)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_keep_their_dtype(op: Op, dtype: torch.dtype) -> None:
    check_equals_torch(op, torch.tensor([1, 100, 0, 27]).to(dtype))


@pytest.mark.parametrize("cls", [Sum, Mean, Amax, AllTrue, Var, VectorNorm])
@pytest.mark.parametrize("dim", [None, (), 0, -1, (0, 2), (-1, -3), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
def test_dims(cls: Any, dim: int | tuple[int, ...] | None, keepdim: bool) -> None:
    check_equals_torch(cls(dim=dim, keepdim=keepdim), torch.randn(2, 3, 4))


@pytest.mark.parametrize(
    "op", [Sum(), Mean(0), Amax(-1), Prod(), AllTrue(), Cumsum(0), VectorNorm(), Logsumexp(0)], ids=str
)
def test_rank_0(op: Op) -> None:
    check_equals_torch(op, torch.tensor(-2.5))


@pytest.mark.parametrize("correction", [0, 1, 2, 0.5, 3, 5])
@pytest.mark.parametrize("cls", [Var, Std])
def test_corrections(cls: Any, correction: float) -> None:
    check_equals_torch(cls(dim=1, correction=correction), torch.randn(4, 3))


def test_variance_of_one_element_is_nan() -> None:
    assert check_equals_torch(Var(), torch.tensor([3.0]))[0].isnan()


def test_unbiased_is_a_correction() -> None:
    x = torch.randn(5)
    assert check_equals_torch(Var(unbiased=False), x)[0] == check_equals_torch(Var(correction=0), x)[0]
    assert "not both" in refused(Var(correction=0, unbiased=True), t("float32[4]"))


def test_variance_far_from_zero_keeps_its_digits() -> None:
    check_equals_torch(Var(), torch.tensor([1000.0, 1000.1, 1000.2, 999.9]))


@pytest.mark.parametrize("op", [Var((1, 2)), Std((1, 2), correction=3), Mean((1, 2)), Sum((0, 1))], ids=str)
@pytest.mark.parametrize("size", [2, 3, 7])
def test_dynamic_counts(op: Op, size: int) -> None:
    """The number of elements is known at run time only."""
    x = Value("x", TensorType(DType.FLOAT32, (2, symbol("H", 2, 3, 7), symbol("W", 2, 3, 7))))
    node = Node(op, (x,), ("input",), (), "op")
    y = Value("y", node.infer()[0])
    graph = Graph("one", (x,), (Node(op, (x,), ("input",), (y,), "op"),), (Output("y", y),))
    inputs = {"x": torch.randn(2, size, size)}
    # The network reads its constants where `lowered` has them, which must outlive it.
    lowered = lower(graph)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), op.tolerance)


def test_half_precision_norms_do_not_overflow() -> None:
    x = torch.full((4,), 200.0, dtype=torch.float16)
    assert check_equals_torch(VectorNorm(), x)[0].isfinite()
    assert check_equals_torch(Var(), x * torch.tensor([1, -1, 1, -1]).half())[0].dtype == torch.float16


@pytest.mark.parametrize("order", [0, 1, 2, 3, 0.5, -1, math.inf, -math.inf])
def test_orders(order: float) -> None:
    check_equals_torch(VectorNorm(order, 1), torch.tensor([[3.0, -4.0, 0.5], [1.0, -2.0, 0.1]]))


def test_frobenius_is_the_order_2() -> None:
    x = torch.randn(2, 3)
    assert check_equals_torch(Norm(), x)[0] == check_equals_torch(Norm(2.0), x)[0]


def test_zero_vectors_are_normalized_to_zero() -> None:
    (result,) = check_equals_torch(Normalize(), torch.zeros(2, 3))
    assert not result.any()


def test_logsumexp_of_large_and_infinite_numbers() -> None:
    check_equals_torch(Logsumexp(1), torch.tensor([[1000.0, 1000.0], [-1000.0, -1001.0]]))
    check_equals_torch(Logsumexp(1), torch.tensor([[-math.inf, -math.inf], [math.inf, 0.0]]))


def test_only_zero_is_false() -> None:
    x = torch.tensor([[0.5, float("nan")], [0.0, -0.0]])
    assert check_equals_torch(AllTrue(1), x)[0].tolist() == [True, False]
    assert check_equals_torch(AnyTrue(1), x)[0].tolist() == [True, False]


def test_what_pytorch_refuses_is_refused() -> None:
    assert "floating-point" in refused(Mean(), t("int64[4]"))
    assert "floating-point" in refused(Mean(dtype=DType.INT64), t("float32[4]"))
    assert "floating-point" in refused(Var(), t("int64[4]"))
    assert "floating-point" in refused(VectorNorm(), t("int64[4]"))
    assert "named twice" in refused(Sum((0, -2)), t("float32[4, 3]"))
    assert "no dimension 2" in refused(Cumsum(2), t("float32[4, 3]"))
