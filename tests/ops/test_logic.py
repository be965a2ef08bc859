"""Where comparisons, choices and casts are easily got wrong: NaN, bools, bytes and dtypes."""

from __future__ import annotations

import math

import pytest
import torch

from tests.elaborate.bodies import graph_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.evaluate import evaluate
from trtdsl.ops.base import Op
from trtdsl.ops.bits import BitwiseAnd, BitwiseNot
from trtdsl.ops.logic import (
    Eq,
    Ge,
    Gt,
    Le,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    Lt,
    MaskedFill,
    Ne,
    To,
    TypeAs,
    Where,
)
from trtdsl.trt.lower import lower
from trtdsl.types import DType

COMPARISONS = [Eq(), Ne(), Lt(), Le(), Gt(), Ge()]
NAN = float("nan")


@pytest.mark.parametrize("op", COMPARISONS, ids=str)
def test_nan_compares_as_in_pytorch(op: Op) -> None:
    check_equals_torch(
        op, torch.tensor([NAN, NAN, 1.0, float("inf")]), torch.tensor([NAN, 1.0, NAN, float("inf")])
    )


@pytest.mark.parametrize("op", COMPARISONS, ids=str)
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.bfloat16]
)
def test_every_dtype_compares(op: Op, dtype: torch.dtype) -> None:
    check_equals_torch(op, torch.tensor([0, 0, 1, 1]).to(dtype), torch.tensor([0, 1, 0, 1]).to(dtype))


def test_integers_compare_with_fractions() -> None:
    (result,) = check_equals_torch(Gt(), torch.tensor([0, 1]), torch.tensor(0.5))
    assert result.tolist() == [False, True]


@pytest.mark.parametrize("op", [LogicalAnd(), LogicalOr(), LogicalXor()], ids=str)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64, torch.uint8])
def test_only_zero_is_false(op: Op, dtype: torch.dtype) -> None:
    left = torch.tensor([0.0, 0.5, 2.0, 0.0]).to(dtype)
    check_equals_torch(op, left, torch.tensor([0, 3, 0, 1]))


def test_nan_and_small_numbers_are_true() -> None:
    values = torch.tensor([NAN, 1e-30, -0.0, 0.3])
    assert check_equals_torch(To(DType.BOOL), values)[0].tolist() == [True, True, False, True]
    assert check_equals_torch(LogicalNot(), values)[0].tolist() == [False, False, True, False]


def test_casts_to_integers_go_towards_zero() -> None:
    assert check_equals_torch(To(DType.INT32), torch.tensor([-1.9, -0.5, 0.5, 1.9]))[0].tolist() == [
        -1,
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("source", [torch.uint8, torch.bool, torch.float16, torch.int64, torch.bfloat16])
@pytest.mark.parametrize("target", [DType.FLOAT32, DType.INT64, DType.BOOL, DType.BFLOAT16, DType.UINT8])
def test_casts_between_dtypes(source: torch.dtype, target: DType) -> None:
    check_equals_torch(To(target), torch.tensor([0, 1, 2, 100]).to(source))


def test_type_as_takes_only_the_dtype() -> None:
    assert (
        check_equals_torch(TypeAs(), torch.ones(2, 3), torch.ones((), dtype=torch.int32))[0].dtype
        == torch.int32
    )


def test_where_does_not_let_nan_through() -> None:
    condition = torch.tensor([True, False])
    (result,) = check_equals_torch(Where(), condition, torch.tensor([1.0, NAN]), torch.tensor(0.0))
    assert result.tolist() == [1.0, 0.0]


def test_where_promotes_and_broadcasts() -> None:
    (result,) = check_equals_torch(
        Where(), torch.tensor([[True], [False]]), torch.tensor([1, 2, 3]), torch.tensor(0.5)
    )
    assert result.dtype == torch.float32
    assert result.shape == (2, 3)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float16])
def test_where_of_every_dtype(dtype: torch.dtype) -> None:
    check_equals_torch(
        Where(), torch.tensor([True, False]), torch.ones(2).to(dtype), torch.zeros(2).to(dtype)
    )


def test_masked_fill_with_minus_infinity() -> None:
    mask = torch.tensor([[True, False]])
    (result,) = check_equals_torch(MaskedFill(), torch.zeros(3, 2), mask, torch.tensor(float("-inf")))
    assert result[:, 0].isinf().all()


def test_masked_fill_keeps_the_dtype() -> None:
    mask = torch.tensor([True, False])
    assert (
        check_equals_torch(MaskedFill(), torch.zeros(2).half(), mask, torch.tensor(2))[0].dtype
        == torch.float16
    )
    assert "does not fit" in refused(MaskedFill(), t("int64[2]"), t("bool[2]"), t("float32[]"))
    assert "single number" in refused(MaskedFill(), t("float32[2]"), t("bool[2]"), t("float32[2]"))


def test_what_is_not_bool_is_refused() -> None:
    assert "bool" in refused(Where(), t("int64[2]"), t("float32[2]"), t("float32[2]"))
    assert "bool" in refused(BitwiseAnd(), t("float32[2]"), t("int64[2]"))
    assert "bool" in refused(BitwiseNot(), t("float16[2]"))
    assert "float8" in refused(To(DType.FLOAT8), t("float32[2]"))


@pytest.mark.parametrize(
    ("call", "type", "value"),
    [
        ("where(c, x, 0)", "float16[2]", [3, 0]),
        ("where(c, 1, x)", "float16[2]", [1, 4]),
        ("where(c, 1.5, i)", "float32[2]", [1.5, 6]),
        ("where(c, i, true)", "int64[2]", [5, 1]),
        ("where(c, 1.5, 0)", "float32[2]", [1.5, 0]),
        ("where(c, 1, 0)", "int64[2]", [1, 0]),
        ("where(c, true, false)", "bool[2]", [True, False]),
        ("where(c, x, i)", "float16[2]", [3, 6]),
        ("masked_fill(x, c, -inf)", "float16[2]", [-math.inf, 4]),
        ("masked_fill(x, c, s)", "float16[2]", [7, 4]),
        ("masked_fill(i, c, 2)", "int64[2]", [2, 6]),
    ],
)
def test_numbers_to_choose_from(call: str, type: str, value: list[float]) -> None:
    declared = "input c: bool[2]\ninput x: float16[2]\ninput i: int64[2]\ninput s: float32[]\n"
    graph = graph_of(f"output y = {call}", declared=declared)
    assert str(graph.outputs[0].value.type) == type
    given = {
        "c": torch.tensor([True, False]),
        "x": torch.tensor([3.0, 4.0]).half(),
        "i": torch.tensor([5, 6]),
        "s": torch.tensor(7.0),
    }
    names = {**given, "where": torch.where, "masked_fill": torch.masked_fill, "inf": math.inf}
    wanted = eval(call.replace("true", "True").replace("false", "False"), names)
    assert wanted.tolist() == value
    assert str(wanted.dtype) == f"torch.{graph.outputs[0].value.type.dtype}"
    lowered = lower(graph)
    inputs = {each.name: given[each.name] for each in graph.inputs}
    assert torch.equal(evaluate(lowered.network, inputs, weights=lowered.weights)["y"], wanted)
