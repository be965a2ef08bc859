"""Where functions of one number are easily got wrong: cancellation, halves, integers and NaN."""

from __future__ import annotations

import math

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import OPERATORS, Op
from trtdsl.ops.unary import (
    Abs,
    Ceil,
    Exp,
    Expm1,
    Floor,
    Isfinite,
    Isinf,
    Isnan,
    Log1p,
    Neg,
    Round,
    Sign,
    Square,
    Trunc,
    Unary,
)

SPECIAL = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.0, 1.0])
FLOATING = [cls for cls in OPERATORS.values() if issubclass(cls, Unary)]


@pytest.mark.parametrize("cls", FLOATING, ids=lambda cls: cls.name)
def test_every_dtype_and_rank_0(cls: type[Op]) -> None:
    for value in (torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float16), torch.tensor([[1, 1]])):
        check_equals_torch(cls(), value)


@pytest.mark.parametrize("op", [Expm1(), Log1p()], ids=str)
@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 0.4, 0.6])
def test_small_inputs_keep_their_digits(op: Op, size: float) -> None:
    check_equals_torch(op, torch.tensor([size]))
    check_equals_torch(op, torch.tensor([-size]))


@pytest.mark.parametrize("op", [Expm1(), Log1p()], ids=str)
def test_large_inputs(op: Op) -> None:
    check_equals_torch(op, torch.tensor([5.0, 80.0, 100.0]))
    check_equals_torch(op, torch.tensor([1e10, 1e30] if isinstance(op, Log1p) else [-80.0, -200.0]))


def test_halves_round_to_even() -> None:
    (result,) = check_equals_torch(Round(), torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]))
    assert result.tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize("decimals", [-2, -1, 1, 3])
def test_decimals(decimals: int) -> None:
    check_equals_torch(Round(decimals), torch.tensor([-123.456, 5.0, 15.0, 0.0005, 0.25]))


@pytest.mark.parametrize("op", [Floor(), Ceil(), Trunc(), Round()], ids=str)
def test_rounding_of_negative_and_special_numbers(op: Op) -> None:
    check_equals_torch(op, torch.tensor([-1.5, -0.2, 0.2, 1.5]))
    check_equals_torch(op, SPECIAL)
    assert check_equals_torch(op, torch.tensor([3, -3]))[0].dtype == torch.int64


@pytest.mark.parametrize("op", [Isnan(), Isinf(), Isfinite()], ids=str)
def test_special_numbers(op: Op) -> None:
    check_equals_torch(op, SPECIAL)
    check_equals_torch(op, SPECIAL.half())
    check_equals_torch(op, torch.tensor([1, 2]))
    check_equals_torch(op, torch.tensor(math.inf))


def test_signs() -> None:
    check_equals_torch(Sign(), torch.tensor([-2.0, 0.0, 3.0]))
    check_equals_torch(Sign(), torch.tensor([True, False]))
    check_equals_torch(Sign(), torch.tensor([0, 200], dtype=torch.uint8))


def test_integers_become_float32() -> None:
    assert check_equals_torch(Exp(), torch.tensor([1, 2], dtype=torch.int8))[0].dtype == torch.float32
    assert check_equals_torch(Exp(), torch.tensor([True]))[0].dtype == torch.float32


@pytest.mark.parametrize("op", [Abs(), Neg(), Square()], ids=str)
def test_integers_stay_integers(op: Op) -> None:
    assert check_equals_torch(op, torch.tensor([-3, 4], dtype=torch.int32))[0].dtype == torch.int32


def test_what_pytorch_refuses_is_refused() -> None:
    for op in (Abs(), Neg(), Floor(), Round()):
        assert "bool" in refused(op, t("bool[2]"))
    assert "decimals" in refused(Round(1), t("int64[2]"))
    assert "float8" in refused(Exp(), t("float8_e4m3fn[2]"))


def test_wrapping_negation_is_refused() -> None:
    assert "wraps" in refused(Neg(), t("uint8[2]"))
