"""Bits of integers, which TensorRT has no layers for.

A bit is what is left of a division: ``floor(x / 2 ** k)`` is odd where the k-th is set, of negative numbers
in two's complement too. All bits of a tensor are found at once, along a dimension of their own.
"""

from __future__ import annotations

from typing import Any, ClassVar

from trtdsl.ops.arithmetic_layers import computed, without_overflow
from trtdsl.ops.base import Op
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.creation import Listed
from trtdsl.ops.division import FloorDivide, Remainder
from trtdsl.ops.gathering import IndexSelect
from trtdsl.ops.logic import Gt, LogicalAnd, LogicalNot, LogicalOr, LogicalXor, Lt, Ne, To, Where
from trtdsl.ops.pointwise import Clamp, Mul, Sub, broadcast
from trtdsl.ops.reduction import Sum
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import promote
from trtdsl.ops.shape import Reshape, Unsqueeze
from trtdsl.types import DType, TensorType


def _integer_or_bool(what: str, dtype: DType, about: str) -> DType:
    if dtype.is_floating:
        raise Refused(f"{what} needs integers or bools: there are no bits of {dtype}", about)
    return computed(TensorType(dtype, ()), about).dtype


def _wide(dtype: DType) -> DType:
    """The dtype in which numbers of this one are taken apart."""
    return DType.INT64 if dtype is DType.INT64 else DType.INT32


def _bit_count(dtype: DType) -> int:
    """Bits beside the sign; the sign is the last of those of int8, which is computed in int32."""
    return _wide(dtype).bits - 1 if dtype in (DType.INT32, DType.INT64) else 8


def _powers(emit: Emit, count: int, dtype: DType) -> Part:
    """The first powers of two."""
    numbers: Any = tuple(2**bit for bit in range(count))
    return emit(Listed(numbers, dtype))


class _Bitwise(Composed, abstract=True):
    """Logic on each bit of two integers, or on two bools."""

    logic: ClassVar[type[Op]]

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        types = type_of_part(input), type_of_part(other)
        dtype = _integer_or_bool(self.name, broadcast(promote(*types), *types).dtype, "input")
        a, b = emit(To(dtype), input), emit(To(dtype), other)
        if dtype.is_bool:
            return emit(self.logic(), a, b)
        wide, count = _wide(dtype), _bit_count(dtype)
        a, b = emit(To(wide), a), emit(To(wide), b)
        powers = _powers(emit, count, wide)
        of_both = emit(self.logic(), _bits(emit, a, powers), _bits(emit, b, powers))
        total = emit(To(wide), emit(Sum(-1), emit(Mul(), emit(To(wide), of_both), powers)))
        if dtype is DType.UINT8:
            return emit(To(dtype), total)
        # The sign stands for minus the next power: -2 ** 31 is -(2 ** 31 - 1) - 1.
        largest = dtype.limits[1]
        negative = emit(To(wide), emit(self.logic(), emit(Lt(), a, 0), emit(Lt(), b, 0)))
        if dtype is DType.INT8:
            # Whose sign is among its eight bits.
            return emit(To(dtype), emit(Sub(), total, emit(Mul(), negative, 256)))
        return emit(Sub(), emit(Sub(), total, emit(Mul(), negative, largest)), negative)


def _bits(emit: Emit, x: Part, powers: Part) -> Part:
    """Bools along a new last dimension, one for each power of two."""
    return emit(Ne(), emit(Remainder(), emit(FloorDivide(), emit(Unsqueeze(-1), x), powers), 2), 0)


class BitwiseAnd(_Bitwise):
    """The bits that both have; ``and`` of bools."""

    torch = "torch.bitwise_and"
    examples = (
        "bitwise_and(bool[N, 8], bool[8]) -> bool[N, 8]",
        "bitwise_and(int32[N, 8], int32[]) -> int32[N, 8]",
        "bitwise_and(uint8[S], uint8[1]) -> uint8[S]",
    )
    logic = LogicalAnd


class BitwiseOr(_Bitwise):
    """The bits that either has; ``or`` of bools."""

    torch = "torch.bitwise_or"
    examples = (
        "bitwise_or(bool[N, 8], bool[8]) -> bool[N, 8]",
        "bitwise_or(int64[N, 8], int32[8]) -> int64[N, 8]",
    )
    logic = LogicalOr


class BitwiseXor(_Bitwise):
    """The bits that one of both has; exclusive ``or`` of bools."""

    torch = "torch.bitwise_xor"
    examples = (
        "bitwise_xor(bool[N, 8], bool[8]) -> bool[N, 8]",
        "bitwise_xor(int32[N, 8], bool[8]) -> int32[N, 8]",
    )
    logic = LogicalXor


class BitwiseNot(Composed):
    """Every bit turned, ``-1 - input``; ``not`` of a bool."""

    torch = "torch.bitwise_not"
    examples = (
        "bitwise_not(bool[N, 8]) -> bool[N, 8]",
        "bitwise_not(int64[N, 8]) -> int64[N, 8]",
        "bitwise_not(uint8[N]) -> uint8[N]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        dtype = _integer_or_bool(self.name, input.dtype, "input")
        if dtype.is_bool:
            return emit(LogicalNot(), input)
        ones = 255 if dtype is DType.UINT8 else -1
        return emit(To(dtype), emit(Sub(), ones, emit(To(_wide(dtype)), input)))


class _Shift(Composed, abstract=True):
    """An integer times or divided by a power of two; what PyTorch makes of negative shifts is undefined."""

    def parts(self, emit: Emit, input: Part, other: Part) -> tuple[DType, Part, Part, Part]:
        """The result's dtype, the number and its shift in a wide dtype, and that power of two."""
        types = type_of_part(input), type_of_part(other)
        dtype = _integer_or_bool(self.name, broadcast(promote(*types), *types).dtype, "input")
        if dtype.is_bool:
            raise Refused(f"{self.name} does not take two bool tensors", "input")
        wide = _wide(dtype)
        most = wide.bits - 2
        shift = emit(Clamp(0, most), emit(To(wide), emit(To(dtype), other)))
        powers = _powers(emit, most + 1, wide)
        flat = emit(Reshape((-1,)), shift) if other.rank else emit(Reshape((1,)), shift)
        power = emit(Reshape(other.shape), emit(IndexSelect(0), powers, flat))
        return dtype, emit(To(wide), emit(To(dtype), input)), emit(To(wide), emit(To(dtype), other)), power


class BitwiseLeftShift(_Shift):
    """``input * 2 ** other``, for shifts that leave the number in its dtype."""

    torch = "torch.bitwise_left_shift"
    examples = (
        "bitwise_left_shift(int64[N, 8], int64[]) -> int64[N, 8]",
        "bitwise_left_shift(int32[N, 1], int32[4]) -> int32[N, 4]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype, number, _, power = self.parts(emit, input, other)
        without_overflow(dtype, self.name)
        return emit(Mul(), number, power)


class BitwiseRightShift(_Shift):
    """``floor(input / 2 ** other)``."""

    torch = "torch.bitwise_right_shift"
    examples = (
        "bitwise_right_shift(int64[N, 8], int64[]) -> int64[N, 8]",
        "bitwise_right_shift(uint8[N, 1], uint8[4]) -> uint8[N, 4]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype, number, shift, power = self.parts(emit, input, other)
        divided = emit(FloorDivide(), number, power)
        # By more than the table has, nothing but the sign is left.
        far = emit(Gt(), shift, number.dtype.bits - 2)
        sign = emit(Sub(), 0, emit(To(number.dtype), emit(Lt(), number, 0)))
        return emit(To(dtype), emit(Where(), far, sign, divided))
