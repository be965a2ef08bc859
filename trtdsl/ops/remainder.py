"""Remainders and whole quotients of floating-point numbers, without the rounding of ``x - floor(x / y) * y``.

In: tensors of float32.  Out: layers.  A rounded quotient is a whole divisor off near multiples of ``y``
(``1.0 % 0.1``), and its product with ``y`` loses what it is about where the quotient is large. So
:func:`nearest_remainder` divides step by step, as by hand: each step takes off the 11 or 12 leading bits
``q`` of the quotient, and ``y`` is split into two halves of 12 bits, so that neither ``q * half`` nor the
differences need more than the 24 bits of float32 (T. J. Dekker, "A floating-point technique for extending
the available precision", 1971).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtdsl.ops.arithmetic_layers import truncated
from trtdsl.types import DType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_FIRST, _FURTHER = 11, 12
"""Bits of the quotient that the first step takes off and each further one."""

_STEPS = 6
"""Steps of a remainder, which is exact while ``|x / y| < 2 ** 71``, about 1e21."""

_QUOTIENT_STEPS = 3
"""Those of a whole quotient, which has no digits after the 24th."""

_EXPONENTS = {
    DType.BOOL: 1,
    DType.UINT8: 8,
    DType.INT8: 8,
    DType.FLOAT16: 16,
    DType.INT32: 32,
    DType.INT64: 64,
}
"""The power of 2 below which numbers of a dtype stay, where it is lower than float32's."""

_LARGEST_EXPONENT = 126 - _FURTHER * (_STEPS - 1)
"""That of a divisor whose multiples in the first step surely stay below the largest float32."""


def floored_remainder(net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
    """``x - floor(x / y) * y``, with the sign of ``y``; ``of`` is the dtype that the numbers in ``x`` had."""
    if _is_power_of_two(y):
        # Neither dividing nor multiplying by it rounds.
        whole = net.elementwise("FLOOR_DIV", x, y)
        return net.elementwise("SUB", x, net.elementwise("PROD", whole, y))
    rest = nearest_remainder(net, x, y, of)
    wrong = net.elementwise("LESS", net.elementwise("PROD", rest, _sign(net, y)), net.scalar(0, rest))
    return net.select(wrong, net.elementwise("SUM", rest, y), rest)


def truncated_remainder(net: Network, x: Tensor, y: Tensor, of: DType, steps: int = _STEPS) -> Tensor:
    """``x - trunc(x / y) * y``, with the sign of ``x``; ``of`` is the dtype that the numbers in ``x`` had."""
    if _is_power_of_two(y):
        whole = truncated(net, net.elementwise("DIV", x, y))
        return net.elementwise("SUB", x, net.elementwise("PROD", whole, y))
    rest, sign = nearest_remainder(net, x, y, of, steps), _sign(net, x)
    wrong = net.elementwise("LESS", net.elementwise("PROD", rest, sign), net.scalar(0, rest))
    step = net.elementwise("PROD", sign, net.unary("ABS", y))
    return net.select(wrong, net.elementwise("SUM", rest, step), rest)


def floored_quotient(net: Network, x: Tensor, y: Tensor, of: DType) -> Tensor:
    """``floor(x / y)`` of the exact quotient; NaN where ``x`` is infinite, as in PyTorch, and ``x / 0``."""
    if _is_power_of_two(y):
        nothing_or_nan = net.elementwise("SUB", x, x)
        return net.elementwise("SUM", net.elementwise("FLOOR_DIV", x, y), nothing_or_nan)
    rest = truncated_remainder(net, x, y, of, _QUOTIENT_STEPS)
    # Whole numbers but for rounding, and one too large where the rest has the wrong sign.
    near = net.elementwise("DIV", net.elementwise("SUB", x, rest), y)
    wrong = net.elementwise("LESS", net.elementwise("PROD", rest, _sign(net, y)), net.scalar(0, rest))
    near = net.select(wrong, net.elementwise("SUB", near, net.scalar(1, near)), near)
    low = net.unary("FLOOR", near)
    above = net.elementwise("GREATER", net.elementwise("SUB", near, low), net.scalar(0.5, near))
    whole = net.select(above, net.elementwise("SUM", low, net.scalar(1, low)), low)
    if y.array is not None and y.array.all():
        return whole
    return net.select(net.elementwise("EQUAL", y, net.scalar(0, y)), net.elementwise("DIV", x, y), whole)


def nearest_remainder(net: Network, x: Tensor, y: Tensor, of: DType, steps: int = _STEPS) -> Tensor:
    """``x - n * y`` for an integer n nearest to ``x / y``; NaN where ``x`` is infinite or ``y`` is 0.

    Where the quotient has more bits than the steps take off it is some number between ``-y`` and ``y``.
    """
    constant = None if y.array is None or y.array.size != 1 else float(y.array.reshape(()))
    if constant is not None and math.isinf(constant):
        return net.elementwise("SUM", x, net.elementwise("SUB", x, x))
    if constant is None or constant == 0 or math.isnan(constant):
        return _by_tensor(net, x, y, steps)
    exponent = math.frexp(constant)[1]
    bits = _EXPONENTS.get(of, 128) - exponent + 1
    # The multiple nearest to a number may be half as large again.
    factor = 0.25 if exponent > _LARGEST_EXPONENT else 1.0
    rest = _times(net, x, factor)
    for scale in _scales(bits, steps):
        rest = _step_by_constant(net, rest, y, math.ldexp(constant * factor, scale))
    rest = _times(net, rest, 1 / factor)
    return _kept_in_range(net, rest, x, y) if bits > _bits(steps) else rest


def _bits(steps: int) -> int:
    """Those of the largest quotient for so many steps."""
    return _FIRST + _FURTHER * (steps - 1)


def _scales(bits: int, most: int) -> Sequence[int]:
    """The power of 2 of the last bit that each step takes off a quotient of so many bits."""
    steps = next(count for count in range(1, most + 1) if count == most or bits <= _bits(count))
    return [_FURTHER * index for index in reversed(range(steps))]


def _step_by_constant(net: Network, rest: Tensor, like: Tensor, divisor: float) -> Tensor:
    """``rest`` less the multiple of ``divisor`` that is nearest to it."""
    mantissa, exponent = math.frexp(divisor)
    high = math.ldexp(round(math.ldexp(mantissa, 12)), exponent - 12)
    whole = net.unary("ROUND", net.elementwise("DIV", rest, net.scalar(divisor, like)))
    for part in (high, divisor - high):
        if part:
            rest = net.elementwise("SUB", rest, net.elementwise("PROD", whole, net.scalar(part, like)))
    return rest


def _by_tensor(net: Network, x: Tensor, y: Tensor, steps: int) -> Tensor:
    high, low = _halves(net, y)
    rest = x
    for scale in _scales(_bits(steps), steps):
        power = math.ldexp(1.0, scale)
        quotient = net.elementwise("DIV", _times(net, rest, 1 / power), y)
        whole = _times(net, net.unary("ROUND", quotient), power)
        for part in (high, low):
            rest = net.elementwise("SUB", rest, net.elementwise("PROD", whole, part))
    # Which serves an infinite divisor, too.
    smaller = net.elementwise("LESS", net.unary("ABS", x), net.unary("ABS", y))
    return net.select(smaller, x, _kept_in_range(net, rest, x, y))


def _halves(net: Network, y: Tensor) -> tuple[Tensor, Tensor]:
    """``y`` as a sum of two numbers of 12 bits each, by Dekker's way, made smaller so as not to overflow."""
    small = _times(net, y, 2.0**-24)
    wide = _times(net, small, 2.0**12 + 1)
    high = _times(net, net.elementwise("SUB", wide, net.elementwise("SUB", wide, small)), 2.0**24)
    return high, net.elementwise("SUB", y, high)


def _kept_in_range(net: Network, rest: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """0 where the quotient was so large that the rest exceeds the divisor; NaN where no remainder exists."""
    within = net.elementwise("LESS", net.unary("ABS", rest), net.unary("ABS", y))
    return net.select(within, rest, net.elementwise("DIV", net.elementwise("SUB", x, x), y))


def _sign(net: Network, x: Tensor) -> Tensor:
    """1 or -1."""
    if x.array is not None:
        return net.constant(np.where(x.array < 0, -1, 1).astype(x.array.dtype))
    negative = net.elementwise("LESS", x, net.scalar(0, x))
    return net.select(negative, net.scalar(-1, x), net.scalar(1, x))


def _times(net: Network, x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else net.elementwise("PROD", x, net.scalar(factor, x))


def _is_power_of_two(y: Tensor) -> bool:
    if y.array is None or y.array.size != 1:
        return False
    value = abs(float(y.array.reshape(())))
    return math.isfinite(value) and math.frexp(value)[0] == 0.5
