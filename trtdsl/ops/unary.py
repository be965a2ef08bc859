"""Functions of one number: ``exp``, ``abs``, ``floor`` and their like.

PyTorch computes most of them in float32 for integers and bools; rounding leaves integers as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import computed, numeric, scaled, shifted, truncated, without_overflow
from trtdsl.ops.base import Function
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import floating, type_of
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Unary(Function, abstract=True):
    """A function computed in floating point, one TensorRT layer unless ``emit`` says otherwise."""

    operation: ClassVar[str] = ""
    ufunc: ClassVar[str] = ""
    """the numpy function that folds constants, for an operand of the result's dtype"""

    def infer(self, input: TensorType) -> TensorType:
        return input.with_dtype(floating(computed(input).dtype))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return self.emit(net, net.cast(input, net.result.dtype))

    def emit(self, net: Network, x: Tensor) -> Tensor:
        """The layers, for an operand of the result's dtype."""
        return net.unary(self.operation, x)

    def fold(self, input: Array) -> Array | None:
        if not self.ufunc:
            return None
        return getattr(np, self.ufunc)(input.astype(self.infer(type_of(input)).dtype.numpy))


class Exp(Unary):
    """``e ** input``."""

    torch = "torch.exp"
    examples = (
        "exp()(float32[N, 8]) -> float32[N, 8]",
        "exp()(int32[N, 3]) -> float32[N, 3]",
        "exp()(float16[]) -> float16[]",
        "exp()(bool[4]) -> float32[4]",
    )
    operation = "EXP"
    ufunc = "exp"


class Expm1(Unary):
    """``e ** input - 1``, exact for small inputs too."""

    torch = "torch.expm1"
    examples = ("expm1()(float32[N, 8]) -> float32[N, 8]", "expm1()(int64[3]) -> float32[3]")

    def emit(self, net: Network, x: Tensor) -> Tensor:
        # tanh(x / 2) = (e^x - 1) / (e^x + 1), without the cancellation of e^x - 1.
        half = net.activation("TANH", scaled(net, x, 0.5))
        return net.elementwise("PROD", half, shifted(net, net.unary("EXP", x), 1))


class Log(Unary):
    """The natural logarithm; NaN for negative inputs."""

    torch = "torch.log"
    examples = ("log()(float32[N, 8]) -> float32[N, 8]", "log()(int32[N]) -> float32[N]")
    operation = "LOG"
    ufunc = "log"


class Log1p(Unary):
    """``log(1 + input)``, exact for small inputs too."""

    torch = "torch.log1p"
    examples = ("log1p()(float32[N, 8]) -> float32[N, 8]", "log1p()(float32[]) -> float32[]")

    def emit(self, net: Network, x: Tensor) -> Tensor:
        # log(1 + x) = 2 atanh(x / (2 + x)), without the rounding of 1 + x; atanh saturates for large x.
        ratio = net.elementwise("DIV", x, shifted(net, x, 2))
        near = scaled(net, net.unary("ATANH", ratio), 2)
        small = net.elementwise("LESS", net.unary("ABS", x), net.scalar(0.5, x))
        return net.select(small, near, net.unary("LOG", shifted(net, x, 1)))


class Log2(Unary):
    """The logarithm to base 2."""

    torch = "torch.log2"
    examples = ("log2()(float32[N, 8]) -> float32[N, 8]",)

    def emit(self, net: Network, x: Tensor) -> Tensor:
        return scaled(net, net.unary("LOG", x), 1 / math.log(2))


class Log10(Unary):
    """The logarithm to base 10."""

    torch = "torch.log10"
    examples = ("log10()(float32[N, 8]) -> float32[N, 8]",)

    def emit(self, net: Network, x: Tensor) -> Tensor:
        return scaled(net, net.unary("LOG", x), 1 / math.log(10))


class Sqrt(Unary):
    """The square root; NaN for negative inputs."""

    torch = "torch.sqrt"
    examples = ("sqrt()(float32[N, 8]) -> float32[N, 8]", "sqrt()(int32[N, 2]) -> float32[N, 2]")
    operation = "SQRT"
    ufunc = "sqrt"


class Rsqrt(Unary):
    """``1 / sqrt(input)``."""

    torch = "torch.rsqrt"
    examples = ("rsqrt()(float32[N, 8]) -> float32[N, 8]",)

    def emit(self, net: Network, x: Tensor) -> Tensor:
        return net.unary("RECIP", net.unary("SQRT", x))


class Reciprocal(Unary):
    """``1 / input``."""

    torch = "torch.reciprocal"
    examples = ("reciprocal()(float32[N, 8]) -> float32[N, 8]", "reciprocal()(int64[3]) -> float32[3]")
    operation = "RECIP"


class Sin(Unary):
    """The sine of an angle in radians."""

    torch = "torch.sin"
    examples = ("sin()(float32[N, S]) -> float32[N, S]", "sin()(int64[S]) -> float32[S]")
    operation = "SIN"
    ufunc = "sin"


class Cos(Unary):
    """The cosine of an angle in radians."""

    torch = "torch.cos"
    examples = ("cos()(float32[N, S]) -> float32[N, S]",)
    operation = "COS"
    ufunc = "cos"


class Tan(Unary):
    """The tangent of an angle in radians."""

    torch = "torch.tan"
    examples = ("tan()(float32[N, S]) -> float32[N, S]",)
    operation = "TAN"


class Asin(Unary):
    """The inverse sine, in radians; NaN outside [-1, 1]."""

    torch = "torch.asin"
    examples = ("asin()(float32[N, S]) -> float32[N, S]",)
    operation = "ASIN"


class Acos(Unary):
    """The inverse cosine, in radians; NaN outside [-1, 1]."""

    torch = "torch.acos"
    examples = ("acos()(float32[N, S]) -> float32[N, S]",)
    operation = "ACOS"


class Atan(Unary):
    """The inverse tangent, in radians."""

    torch = "torch.atan"
    examples = ("atan()(float32[N, S]) -> float32[N, S]",)
    operation = "ATAN"


class Sinh(Unary):
    """The hyperbolic sine."""

    torch = "torch.sinh"
    examples = ("sinh()(float32[N, S]) -> float32[N, S]",)
    operation = "SINH"


class Cosh(Unary):
    """The hyperbolic cosine."""

    torch = "torch.cosh"
    examples = ("cosh()(float32[N, S]) -> float32[N, S]",)
    operation = "COSH"


class Asinh(Unary):
    """The inverse hyperbolic sine."""

    torch = "torch.asinh"
    examples = ("asinh()(float32[N, S]) -> float32[N, S]",)
    operation = "ASINH"


class Acosh(Unary):
    """The inverse hyperbolic cosine; NaN below 1."""

    torch = "torch.acosh"
    examples = ("acosh()(float32[N, 32]) -> float32[N, 32]",)
    operation = "ACOSH"


class Atanh(Unary):
    """The inverse hyperbolic tangent; NaN outside [-1, 1]."""

    torch = "torch.atanh"
    examples = ("atanh()(float32[N, S]) -> float32[N, S]",)
    operation = "ATANH"


class Erf(Unary):
    """The error function, ``2 / sqrt(pi)`` times the integral of ``e ** -t**2`` from 0 to the input."""

    torch = "torch.erf"
    examples = ("erf()(float32[N, S]) -> float32[N, S]", "erf()(float16[2, 3]) -> float16[2, 3]")
    operation = "ERF"


class Signed(Unary, abstract=True):
    """A function that keeps the dtype, integers included."""

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused(
                f"{self.name} does not take bool tensors", "input", help="use `logical_not`, or cast it"
            )
        without_overflow(input.dtype, self.name)
        return computed(input)


class Abs(Signed):
    """``|input|``."""

    torch = "torch.abs"
    examples = ("abs()(float32[N, 8]) -> float32[N, 8]", "abs()(int64[N]) -> int64[N]")
    operation = "ABS"
    ufunc = "absolute"


class Neg(Signed):
    """``-input``."""

    torch = "torch.neg"
    examples = ("neg()(float32[N, 8]) -> float32[N, 8]", "neg()(int32[]) -> int32[]")
    operation = "NEG"
    ufunc = "negative"


class Square(Signed):
    """``input * input``."""

    torch = "torch.square"
    examples = ("square()(float32[N, 8]) -> float32[N, 8]", "square()(int32[3]) -> int32[3]")

    def emit(self, net: Network, x: Tensor) -> Tensor:
        return net.elementwise("PROD", x, x)


class Sign(Unary):
    """-1, 0 or 1 by the sign of the input; a bool is its own sign."""

    torch = "torch.sign"
    examples = (
        "sign()(float32[N, 8]) -> float32[N, 8]",
        "sign()(int64[N]) -> int64[N]",
        "sign()(uint8[5]) -> uint8[5]",
        "sign()(bool[5]) -> bool[5]",
    )

    def infer(self, input: TensorType) -> TensorType:
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        if input.dtype.is_bool:
            return input
        return net.cast(net.unary("SIGN", net.cast(input, numeric(input.dtype))), input.dtype)


class Rounding(Unary, abstract=True):
    """Rounds floating-point numbers and leaves integers as they are."""

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused(f"{self.name} does not take bool tensors", "input")
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return self.emit(net, input) if input.dtype.is_floating else input


class Floor(Rounding):
    """The greatest integer at most the input."""

    torch = "torch.floor"
    examples = ("floor()(float32[N, 8]) -> float32[N, 8]", "floor()(int32[N]) -> int32[N]")
    operation = "FLOOR"


class Ceil(Rounding):
    """The least integer at least the input."""

    torch = "torch.ceil"
    examples = ("ceil()(float32[N, 8]) -> float32[N, 8]", "ceil()(uint8[N]) -> uint8[N]")
    operation = "CEIL"


class Trunc(Rounding):
    """The input rounded towards zero."""

    torch = "torch.trunc"
    examples = ("trunc()(float32[N, 8]) -> float32[N, 8]", "trunc()(int64[]) -> int64[]")

    def emit(self, net: Network, x: Tensor) -> Tensor:
        return truncated(net, x)


class Round(Rounding):
    """The input rounded to ``decimals`` places, halves to even."""

    torch = "torch.round"
    examples = (
        "round()(float32[N, 8]) -> float32[N, 8]",
        "round(decimals = 2)(float32[N, 8]) -> float32[N, 8]",
        "round(decimals = -1)(float32[4]) -> float32[4]",
        "round()(int32[2]) -> int32[2]",
    )

    decimals: int = 0

    def infer(self, input: TensorType) -> TensorType:
        if self.decimals and not input.dtype.is_floating:
            raise Refused("decimals of an integer tensor cannot be rounded", "decimals")
        return super().infer(input)

    def emit(self, net: Network, x: Tensor) -> Tensor:
        # Multiplied and divided by the same power of ten, as PyTorch does, so that rounding errors agree.
        ten = net.scalar(10.0 ** abs(self.decimals), x)
        there, back = ("PROD", "DIV") if self.decimals > 0 else ("DIV", "PROD")
        if self.decimals == 0:
            return net.unary("ROUND", x)
        return net.elementwise(back, net.unary("ROUND", net.elementwise(there, x, ten)), ten)

    def reference(self, torch: Any, input: Any) -> Any:
        # torch.round knows int64, but not int32 on the CPU.
        return torch.round(input, decimals=self.decimals) if input.is_floating_point() else input


class FloatTest(Function, abstract=True):
    """A property of each floating-point number; integers count as finite numbers."""

    def infer(self, input: TensorType) -> TensorType:
        return computed(input).with_dtype(DType.BOOL)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return self.emit(net, net.cast(input, floating(input.dtype)))

    def emit(self, net: Network, x: Tensor) -> Tensor:
        """The layers, for a floating-point operand."""
        return net.unary(self.name.upper(), x)

    def fold(self, input: Array) -> Array:
        return getattr(np, self.name)(input.astype(floating(type_of(input).dtype).numpy))


class Isnan(FloatTest):
    """Whether the input is NaN."""

    torch = "torch.isnan"
    examples = ("isnan()(float32[N, 8]) -> bool[N, 8]", "isnan()(int32[N]) -> bool[N]")


class Isinf(FloatTest):
    """Whether the input is infinite."""

    torch = "torch.isinf"
    examples = ("isinf()(float32[N, 8]) -> bool[N, 8]", "isinf()(float16[]) -> bool[]")


class Isfinite(FloatTest):
    """Whether the input is neither NaN nor infinite."""

    torch = "torch.isfinite"
    examples = ("isfinite()(float32[N, 8]) -> bool[N, 8]",)

    def emit(self, net: Network, x: Tensor) -> Tensor:
        # NaN is less than nothing, so one comparison excludes it too.
        return net.elementwise("LESS", net.unary("ABS", x), net.scalar(math.inf, x))
