"""Bits of integers: every byte, and the ends of the wider dtypes."""

from __future__ import annotations

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import OPERATORS
from trtdsl.ops.bits import BitwiseAnd, BitwiseLeftShift, BitwiseNot, BitwiseRightShift

LOGIC = [OPERATORS[f"bitwise_{name}"]() for name in ("and", "or", "xor")]
ENDS = {
    torch.int32: torch.tensor([0, 1, -1, 2**31 - 1, -(2**31), 0x55555555, -0x12345678], dtype=torch.int32),
    torch.int64: torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), 0x5555555555555555, -(2**40) + 3]),
}


@pytest.mark.parametrize("op", LOGIC, ids=lambda op: op.name)
def test_logic_of_all_bytes(op: object) -> None:
    every = torch.arange(256)
    for dtype in (torch.uint8, torch.int8):
        x = every.to(dtype)
        check_equals_torch(op, x[:, None], x[::7])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dtype", ENDS, ids=str)
def test_logic_of_the_ends(dtype: torch.dtype) -> None:
    x = ENDS[dtype]
    for op in LOGIC:
        check_equals_torch(op, x[:, None], x)
    check_equals_torch(BitwiseNot(), x)
    check_equals_torch(BitwiseAnd(), x, torch.tensor(0xFF))
    check_equals_torch(BitwiseAnd(), x, torch.tensor(True))


@pytest.mark.parametrize("dtype", ENDS, ids=str)
def test_shifts_of_the_ends(dtype: torch.dtype) -> None:
    x = ENDS[dtype]
    bits = 8 * x.element_size()
    check_equals_torch(BitwiseRightShift(), x[:, None], torch.arange(bits, dtype=dtype))
    check_equals_torch(BitwiseLeftShift(), torch.tensor([1, -1, 3], dtype=dtype), torch.tensor(bits - 3))
    check_equals_torch(BitwiseRightShift(), torch.arange(256).byte(), torch.tensor(3, dtype=torch.uint8))


def test_bytes_are_turned() -> None:
    check_equals_torch(BitwiseNot(), torch.arange(256).byte())
    check_equals_torch(BitwiseNot(), torch.arange(256).to(torch.int8))


def test_what_has_no_bits() -> None:
    assert "no bits of float32" in refused(BitwiseAnd(), t("float32[2]"), t("int32[2]"))
    assert "no bits of float16" in refused(BitwiseNot(), t("float16[2]"))
    assert "wraps round" in refused(BitwiseLeftShift(), t("uint8[2]"), t("uint8[2]"))
    assert "two bool" in refused(BitwiseRightShift(), t("bool[2]"), t("bool[2]"))
