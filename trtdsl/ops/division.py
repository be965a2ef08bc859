"""Quotients and remainders, with PyTorch's rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from trtdsl.ops import remainder
from trtdsl.ops.arithmetic_layers import floored_remainder, numeric, truncated
from trtdsl.ops.pointwise import Binary, broadcast
from trtdsl.ops.rules import floating, promote, type_of
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Div(Binary):
    """``input / other``, of integers in float32; ``rounding_mode`` rounds the quotient.

    ``"floor"`` rounds the exact quotient down, as ``floor_divide`` does; ``"trunc"`` rounds the quotient in
    float32 towards zero, as PyTorch does.
    """

    torch = "torch.div"
    examples = (
        "div()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "div()(int32[N, 3], int64[]) -> float32[N, 3]",
        "div()(bool[N], bool[N]) -> float32[N]",
        'div(rounding_mode = "floor")(float32[N, 8], float32[8]) -> float32[N, 8]',
        'div(rounding_mode = "trunc")(float32[N, 8], float32[8]) -> float32[N, 8]',
        'div(rounding_mode = "floor")(int64[N, 8], int32[8]) -> int64[N, 8]',
        'div(rounding_mode = "trunc")(int32[N, 8], int32[8]) -> int32[N, 8]',
    )

    rounding_mode: Literal["trunc", "floor"] | None = None

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        if self.rounding_mode is None:
            return broadcast(floating(promote(input, other)), input, other)
        return super().infer(input, other)

    def divisors(self, input: TensorType, other: TensorType) -> Sequence[str]:
        return _divisors(self, input, other)

    def without_overflow(self, dtype: DType) -> DType:
        return FloorDivide().without_overflow(dtype)

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        is_byte = self.rounding_mode is not None and net.result.dtype is DType.UINT8
        if self.rounding_mode == "floor" or is_byte:
            return FloorDivide().lower(net, input, other)
        return super().lower(net, input, other)

    def fold(self, input: Array, other: Array) -> Array | None:
        if self.rounding_mode == "floor":
            return FloorDivide().fold(input, other)
        dtype = self.infer(type_of(input), type_of(other)).dtype
        if not dtype.is_floating:
            return None
        wide = dtype.numpy if self.rounding_mode is None else np.float32
        quotient = np.divide(*(x.astype(dtype.numpy).astype(wide) for x in (input, other)))
        return quotient if self.rounding_mode is None else np.trunc(quotient).astype(dtype.numpy)

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        if self.rounding_mode == "trunc" and a.dtype.is_floating:
            return net.cast(truncated(net, net.elementwise("DIV", *_widened(net, a, b))), a.dtype)
        return net.elementwise("DIV", a, b)


def _divisors(op: Binary, input: TensorType, other: TensorType) -> Sequence[str]:
    """PyTorch refuses to divide integers by 0; floats become infinite or NaN."""
    return () if op.infer(input, other).dtype.is_floating else ("other",)


def _widened(net: Network, *tensors: Tensor) -> Sequence[Tensor]:
    """Narrow floats as float32: a quotient that is rounded to an integer and then floored is 1 off."""
    return [net.cast(x, DType.FLOAT32) if x.dtype.is_floating else x for x in tensors]


class Quotient(Binary, abstract=True):
    """What is found by dividing as by hand: exact for floats too, where ``a / b`` would be rounded first."""

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        dtype = net.result.dtype
        a, b = net.cast(input, dtype), net.cast(other, dtype)
        if not dtype.is_floating:
            x, y = (net.cast(number, numeric(dtype)) for number in (a, b))
            return net.cast(self.emit(net, x, y), dtype)
        x, y = _widened(net, a, b)
        return net.cast(self.emit_floats(net, x, y, input.dtype), dtype)

    def divisors(self, input: TensorType, other: TensorType) -> Sequence[str]:
        return _divisors(self, input, other)

    def without_overflow(self, dtype: DType) -> DType:
        # Quotients and remainders of bytes are bytes; of int8 -128 // -1 is not.
        return dtype if dtype is DType.UINT8 else super().without_overflow(dtype)

    def emit_floats(self, net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
        """The layers for float32; ``of`` is the dtype that the numbers in ``x`` had."""
        raise TypeError(f"{type(self).__name__} states no layers")

    def fold(self, input: Array, other: Array) -> Array | None:
        # PyTorch refuses to divide an integer by 0, numpy warns.
        dtype = self.infer(type_of(input), type_of(other)).dtype.numpy
        return super().fold(input, other) if other.astype(dtype).all() else None


class FloorDivide(Quotient):
    """``floor(input / other)`` of the exact quotient, in the dtype of the operands.

    An infinite ``input`` gives NaN, as in PyTorch.
    """

    torch = "torch.floor_divide"
    examples = (
        "floor_divide()(int64[N, 8], int64[8]) -> int64[N, 8]",
        "floor_divide()(float32[N, 8], float32[]) -> float32[N, 8]",
        "floor_divide()(uint8[N, 8], uint8[]) -> uint8[N, 8]",
    )

    ufunc = "floor_divide"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise("FLOOR_DIV", a, b)

    def emit_floats(self, net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
        return remainder.floored_quotient(net, x, y, of)


class Remainder(Quotient):
    """``input - floor(input / other) * other``, Python's ``%``: the sign is the divisor's.

    Exact for floats while the quotient is below 2 ** 71 (1e21) and, where ``other`` is a tensor, ``input``
    below 2 ** 126; beyond that some number between 0 and ``other``.
    """

    torch = "torch.remainder"
    examples = (
        "remainder()(int64[N, 8], int64[8]) -> int64[N, 8]",
        "remainder()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "remainder()(int32[S], int64[]) -> int32[S]",
        "remainder()(uint8[S], uint8[]) -> uint8[S]",
    )

    ufunc = "remainder"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return floored_remainder(net, a, b)

    def emit_floats(self, net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
        return remainder.floored_remainder(net, x, y, of)


class Fmod(Quotient):
    """``input - trunc(input / other) * other``, C's ``%``: the sign is the dividend's.

    Exact for floats while the quotient is below 2 ** 71 (1e21) and, where ``other`` is a tensor, ``input``
    below 2 ** 126; beyond that some number between 0 and ``other``.
    """

    torch = "torch.fmod"
    examples = (
        "fmod()(int64[N, 8], int64[8]) -> int64[N, 8]",
        "fmod()(float32[N, 8], float32[8]) -> float32[N, 8]",
    )

    ufunc = "fmod"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        whole = net.elementwise("DIV", a, b)
        return net.elementwise("SUB", a, net.elementwise("PROD", whole, b))

    def emit_floats(self, net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
        return remainder.truncated_remainder(net, x, y, of)
