"""Functions of one number made of others, with PyTorch's accuracy near 0 and at infinity.

Narrow floats are computed in float32, as PyTorch does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trtdsl.ops.arithmetic_layers import computed
from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.creation import Full
from trtdsl.ops.division import Div
from trtdsl.ops.logic import Eq, Ge, Gt, LogicalAnd, LogicalOr, Lt, To, Where
from trtdsl.ops.pointwise import Add, Clamp, Mul, Pow, Sub
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import floating, require_fit
from trtdsl.ops.unary import Abs, Erf, Exp, Isnan, Log, Neg, Reciprocal, Sin, Sqrt, Trunc
from trtdsl.types import DType, TensorType


class InFloat32(Composed, abstract=True):
    """A function of one number, computed in float32; of an integer it is a float32."""

    def compose(self, emit: Emit, input: Part) -> Part:
        dtype = floating(computed(type_of_part(input)).dtype)
        return emit(To(dtype), self.formula(emit, emit(To(DType.FLOAT32), input)))

    def formula(self, emit: Emit, x: Part) -> Part:
        """The result, of a float32."""
        raise TypeError(f"{type(self).__name__} states no formula")


def polynomial(emit: Emit, x: Part, coefficients: Sequence[float]) -> Part:
    """The polynomial with these coefficients, of the highest power first."""
    total = emit(Add(), emit(Mul(), x, coefficients[0]), coefficients[1])
    for coefficient in coefficients[2:]:
        total = emit(Add(), emit(Mul(), total, x), coefficient)
    return total


class Logit(InFloat32):
    """``log(input / (1 - input))``, of an input kept between ``eps`` and ``1 - eps`` where it is given."""

    torch = "torch.logit"
    examples = (
        "logit(float32[N, 8]) -> float32[N, 8]",
        "logit(1e-3)(float16[N, 8]) -> float16[N, 8]",
        "logit(eps = 0.25)(int32[3]) -> float32[3]",
        "logit(float32[]) -> float32[]",
    )

    eps: float | None = None

    def formula(self, emit: Emit, x: Part) -> Part:
        kept = x if self.eps is None else emit(Clamp(self.eps, 1 - self.eps), x)
        return emit(Log(), emit(Div(), kept, emit(Sub(), 1.0, kept)))


# M. Giles, "Approximating the erfinv function", 2010: in w = -log(1 - x * x), less 2.5 below 5, and in its
# root less 3 from there; exact to about 3e-7 of the result.
_ERFINV_NEAR = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_ERFINV_FAR = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


class Erfinv(InFloat32):
    """The number whose ``erf`` is the input, to 1e-6 of it; infinite at -1 and 1, NaN beyond."""

    torch = "torch.erfinv"
    examples = ("erfinv(float32[N, S]) -> float32[N, S]", "erfinv(float16[3]) -> float16[3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        # Both factors are exact near -1 and 1, where 1 - x * x would not be.
        rest = emit(Mul(), emit(Sub(), 1.0, x), emit(Add(), x, 1.0))
        w = emit(Neg(), emit(Log(), rest))
        near = polynomial(emit, emit(Sub(), w, 2.5), _ERFINV_NEAR)
        far = polynomial(emit, emit(Sub(), emit(Sqrt(), w), 3.0), _ERFINV_FAR)
        factor = emit(Where(), emit(Lt(), w, 5.0), near, far)
        end = emit(Where(), emit(Eq(), emit(Abs(), x), 1.0), math.inf, factor)
        return emit(Mul(), x, end)


# W. H. Press and others, "Numerical Recipes", erfc: in t = 1 / (1 + |x| / 2), exact to 1.2e-7 of the result.
_ERFC = (
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807),
    *(-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223),
)


class Erfc(InFloat32):
    """``1 - erf(input)``, exact to 1e-5 of it where little is left."""

    torch = "torch.erfc"
    examples = ("erfc(float32[N, S]) -> float32[N, S]", "erfc(int64[3]) -> float32[3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        size = emit(Clamp(max=20.0), emit(Abs(), x))
        t = emit(Reciprocal(), emit(Add(), emit(Mul(), size, 0.5), 1.0))
        exponent = emit(Sub(), polynomial(emit, t, _ERFC), emit(Mul(), size, size))
        tail = emit(Mul(), t, emit(Exp(), exponent))
        far = emit(Where(), emit(Lt(), x, 0.0), emit(Sub(), 2.0, tail), tail)
        # Of NaN neither comparison holds.
        return emit(Where(), emit(Ge(), emit(Abs(), x), 0.5), far, emit(Sub(), 1.0, emit(Erf(), x)))


class Exp2(InFloat32):
    """``2 ** input``."""

    torch = "torch.exp2"
    examples = ("exp2(float32[N, 8]) -> float32[N, 8]", "exp2(int32[N, 3]) -> float32[N, 3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        return emit(Pow(), 2.0, x)


class Frac(Composed):
    """What is after the decimal point, with the sign of the input."""

    torch = "torch.frac"
    examples = ("frac(float32[N, 8]) -> float32[N, 8]", "frac(float16[]) -> float16[]")

    def compose(self, emit: Emit, input: Part) -> Part:
        if not input.dtype.is_floating:
            raise Refused(f"frac needs a floating-point tensor, not {input.dtype}", "input")
        return emit(Sub(), input, emit(Trunc(), input))


class Sinc(InFloat32):
    """``sin(pi * input) / (pi * input)``, and 1 at 0."""

    torch = "torch.sinc"
    examples = ("sinc(float32[N, 8]) -> float32[N, 8]", "sinc(int64[3]) -> float32[3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        angle = emit(Mul(), x, math.pi)
        return emit(Where(), emit(Eq(), x, 0.0), 1.0, emit(Div(), emit(Sin(), angle), angle))


class Deg2rad(InFloat32):
    """Degrees in radians."""

    torch = "torch.deg2rad"
    examples = ("deg2rad(float32[N, 8]) -> float32[N, 8]", "deg2rad(int32[3]) -> float32[3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        return emit(Mul(), x, math.pi / 180)


class Rad2deg(InFloat32):
    """Radians in degrees."""

    torch = "torch.rad2deg"
    examples = ("rad2deg(float32[N, 8]) -> float32[N, 8]", "rad2deg(int32[3]) -> float32[3]")

    def formula(self, emit: Emit, x: Part) -> Part:
        return emit(Mul(), x, 180 / math.pi)


class Positive(Function):
    """The input itself, which is not bool."""

    torch = "torch.positive"
    examples = ("positive(float32[N, 8]) -> float32[N, 8]",)

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused("positive does not take bool tensors", "input")
        return input

    def is_identity(self, input: TensorType) -> bool:
        return True

    def lower(self, net: Any, input: Any) -> Any:
        return input

    def fold(self, input: Any) -> Any:
        return input


class NanToNum(Composed):
    """``nan`` in place of NaN, ``posinf`` and ``neginf``, by default the largest numbers, of infinities."""

    torch = "torch.nan_to_num"
    examples = (
        "nan_to_num(float32[N, 8]) -> float32[N, 8]",
        "nan_to_num(1.0, posinf = 2.0, neginf = -2.0)(float16[N, 8]) -> float16[N, 8]",
        "nan_to_num(int64[3]) -> int64[3]",
    )

    nan: float | None = None
    posinf: float | None = None
    neginf: float | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        computed(type_of_part(input))
        if not input.dtype.is_floating:
            return input
        largest = _LARGEST[input.dtype]
        nan, most, least = (
            default if given is None else given
            for given, default in ((self.nan, 0.0), (self.posinf, largest), (self.neginf, -largest))
        )
        for name, value in (("nan", nan), ("posinf", most), ("neginf", least)):
            require_fit(value, input.dtype, name)
        x = emit(Where(), emit(Isnan(), input), nan, input)
        x = emit(Where(), emit(Eq(), input, math.inf), most, x)
        return emit(Where(), emit(Eq(), input, -math.inf), least, x)


_LARGEST = {
    DType.FLOAT32: float.fromhex("0x1.fffffep+127"),
    DType.FLOAT16: 65504.0,
    DType.BFLOAT16: float.fromhex("0x1.fep+127"),
}


class _Infinite(Composed, abstract=True):
    """Whether a number is one of the infinities."""

    def compose(self, emit: Emit, input: Part) -> Part:
        x = emit(To(floating(computed(type_of_part(input)).dtype)), input)
        return emit(Eq(), x, math.inf if self.name == "isposinf" else -math.inf)


class Isposinf(_Infinite):
    """Whether the input is positive infinity."""

    torch = "torch.isposinf"
    examples = ("isposinf(float32[N, 8]) -> bool[N, 8]", "isposinf(int32[3]) -> bool[3]")


class Isneginf(_Infinite):
    """Whether the input is negative infinity."""

    torch = "torch.isneginf"
    examples = ("isneginf(float16[N, 8]) -> bool[N, 8]", "isneginf(bool[3]) -> bool[3]")


class Isreal(Composed):
    """True: no number here is complex."""

    torch = "torch.isreal"
    examples = ("isreal(float32[N, 8]) -> bool[N, 8]",)

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Full(input.shape, True))


class Signbit(Composed):
    """Whether the input is negative, -0.0 included. Of NaN, which may have a sign in PyTorch, it is false."""

    torch = "torch.signbit"
    examples = ("signbit(float32[N, 8]) -> bool[N, 8]", "signbit(int64[3]) -> bool[3]")

    def compose(self, emit: Emit, input: Part) -> Part:
        if not input.dtype.is_floating:
            return emit(Lt(), emit(To(DType.INT64), input), 0)
        # 1 / -0.0 is -inf, and 1 / -inf is -0.0, which is not less than 0.
        below = emit(Lt(), emit(Reciprocal(), input), 0.0)
        return emit(LogicalOr(), emit(Lt(), input, 0.0), emit(LogicalAnd(), emit(Eq(), input, 0.0), below))


class Heaviside(Composed):
    """0 for negative numbers and NaN, 1 for positive ones, ``values`` for 0; both of one dtype."""

    torch = "torch.heaviside"
    examples = (
        "heaviside(float32[N, 8], float32[]) -> float32[N, 8]",
        "heaviside(int64[S], int64[1]) -> int64[S]",
    )

    def compose(self, emit: Emit, input: Part, values: Part) -> Part:
        if input.dtype is not values.dtype:
            text = f"heaviside needs one dtype, but has {input.dtype} and {values.dtype}"
            raise Refused(text, "values")
        step = emit(To(input.dtype), emit(Gt(), input, emit(To(input.dtype), emit(Full((), 0)))))
        return emit(Where(), emit(Eq(), input, emit(To(input.dtype), emit(Full((), 0)))), values, step)
