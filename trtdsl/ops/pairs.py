"""Functions of two numbers made of others: ``hypot``, ``logaddexp``, ``isclose``, ``fmax`` and their like."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from trtdsl.ops.base import Op
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.creation import Full
from trtdsl.ops.division import Div
from trtdsl.ops.logic import Eq, Le, LogicalAnd, LogicalOr, Ne, To, Where
from trtdsl.ops.pointwise import Add, Maximum, Minimum, Mul, Pow, Sub, broadcast
from trtdsl.ops.reduction import AllTrue
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import floating, promote, same_dim
from trtdsl.ops.special import Exp2, Signbit
from trtdsl.ops.unary import Abs, Exp, Isfinite, Isinf, Isnan, Log, Log1p, Neg, Sqrt
from trtdsl.types import DType


def _common(emit: Emit, what: str, a: Part, b: Part, about: str) -> tuple[DType, Part, Part]:
    """The dtype of a floating-point result, and both numbers as float32."""
    types = type_of_part(a), type_of_part(b)
    dtype = broadcast(promote(*types), *types).dtype
    if not dtype.is_floating:
        raise Refused(f"{what} needs floating-point tensors, not {dtype}", about)
    return dtype, emit(To(DType.FLOAT32), a), emit(To(DType.FLOAT32), b)


class Hypot(Composed):
    """``sqrt(input ** 2 + other ** 2)``, without overflow."""

    torch = "torch.hypot"
    examples = (
        "hypot(float32[N, 8], float32[8]) -> float32[N, 8]",
        "hypot(float16[N, 1], float16[S]) -> float16[N, S]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype, a, b = _common(emit, self.name, input, other, "input")
        a, b = emit(Abs(), a), emit(Abs(), b)
        larger, smaller = emit(Maximum(), a, b), emit(Minimum(), a, b)
        ratio = emit(Div(), smaller, larger)
        length = emit(Mul(), larger, emit(Sqrt(), emit(Add(), emit(Mul(), ratio, ratio), 1.0)))
        # 0 / 0 has no value, and of an infinity and whatever else it is infinity.
        length = emit(Where(), emit(Eq(), larger, 0.0), 0.0, length)
        infinite = emit(LogicalOr(), emit(Isinf(), a), emit(Isinf(), b))
        missing = emit(LogicalOr(), emit(Isnan(), a), emit(Isnan(), b))
        length = emit(Where(), missing, math.nan, length)
        return emit(To(dtype), emit(Where(), infinite, math.inf, length))


class _LogAddExp(Composed, abstract=True):
    """The logarithm of the sum of two powers, the larger one taken out."""

    power: ClassVar[type[Op]]
    unit: ClassVar[float]
    """the natural logarithm of the base"""

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype, a, b = _common(emit, self.name, input, other, "input")
        apart = emit(Neg(), emit(Abs(), emit(Sub(), a, b)))
        more = emit(Div(), emit(Log1p(), emit(self.power(), apart)), self.unit)
        # Two equal infinities are not apart.
        more = emit(Where(), emit(Eq(), a, b), math.log(2) / self.unit, more)
        return emit(To(dtype), emit(Add(), emit(Maximum(), a, b), more))


class LogAddExp(_LogAddExp):
    """``log(e ** input + e ** other)``, without overflow."""

    torch = "torch.logaddexp"
    examples = (
        "logaddexp(float32[N, 8], float32[8]) -> float32[N, 8]",
        "logaddexp(float16[N], float16[]) -> float16[N]",
    )
    power = Exp
    unit = 1.0


class LogAddExp2(_LogAddExp):
    """``log2(2 ** input + 2 ** other)``, without overflow."""

    torch = "torch.logaddexp2"
    examples = ("logaddexp2(float32[N, 8], float32[8]) -> float32[N, 8]",)
    power = Exp2
    unit = math.log(2)


class Xlogy(Composed):
    """``input * log(other)``, 0 where ``input`` is 0 and ``other`` is not NaN."""

    torch = "torch.xlogy"
    examples = (
        "xlogy(float32[N, 8], float32[8]) -> float32[N, 8]",
        "xlogy(int64[N, 8], int64[]) -> float32[N, 8]",
        "xlogy(float16[3], float16[3]) -> float16[3]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype = floating(promote(type_of_part(input), type_of_part(other)))
        a, b = emit(To(DType.FLOAT32), input), emit(To(DType.FLOAT32), other)
        product = emit(Mul(), a, emit(Log(), b))
        result = emit(Where(), emit(Eq(), a, 0.0), 0.0, product)
        return emit(To(dtype), emit(Where(), emit(Isnan(), b), math.nan, result))


class Copysign(Composed):
    """``input`` with the sign of ``other``, -0.0 included; NaN counts as positive."""

    torch = "torch.copysign"
    examples = (
        "copysign(float32[N, 8], float32[8]) -> float32[N, 8]",
        "copysign(int32[N], float16[]) -> float16[N]",
        "copysign(int64[3], int64[3]) -> float32[3]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        dtype = floating(promote(type_of_part(input), type_of_part(other)))
        size = emit(Abs(), emit(To(dtype), input))
        return emit(Where(), emit(Signbit(), other), emit(Neg(), size), size)


class Fmax(Composed):
    """The larger of two numbers, the other where one is NaN."""

    torch = "torch.fmax"
    examples = (
        "fmax(float32[N, 8], float32[8]) -> float32[N, 8]",
        "fmax(int64[N, 8], int32[8]) -> int64[N, 8]",
    )
    among: ClassVar[type[Op]] = Maximum

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        extreme = emit(self.among(), input, other)
        if not extreme.dtype.is_floating:
            return extreme
        a, b = emit(To(extreme.dtype), input), emit(To(extreme.dtype), other)
        present = emit(Where(), emit(Isnan(), b), a, extreme)
        return emit(Where(), emit(Isnan(), a), b, present)


class Fmin(Fmax):
    """The smaller of two numbers, the other where one is NaN."""

    torch = "torch.fmin"
    examples = ("fmin(float16[N, 8], float16[8]) -> float16[N, 8]",)
    among = Minimum


class ClampMin(Composed):
    """The input, ``min`` where that is larger."""

    torch = "torch.clamp_min"
    examples = (
        "clamp_min(float32[N, 8], float32[]) -> float32[N, 8]",
        "clamp_min(int64[N, 8], int64[8]) -> int64[N, 8]",
    )

    def compose(self, emit: Emit, input: Part, min: Part) -> Part:
        return _bounded(emit, Maximum(), input, min, self.name)


class ClampMax(Composed):
    """The input, ``max`` where that is smaller."""

    torch = "torch.clamp_max"
    examples = (
        "clamp_max(float16[N, 8], float16[]) -> float16[N, 8]",
        "clamp_max(int32[N, 8], int32[8]) -> int32[N, 8]",
    )

    def compose(self, emit: Emit, input: Part, max: Part) -> Part:
        return _bounded(emit, Minimum(), input, max, self.name)


def _bounded(emit: Emit, extreme: Op, x: Part, bound: Part, what: str) -> Part:
    if x.dtype.is_bool:
        raise Refused(f"{what} does not take bool tensors", "input")
    return emit(extreme, x, bound)


class Ldexp(Composed):
    """``input * 2 ** other``."""

    torch = "torch.ldexp"
    examples = (
        "ldexp(float32[N, 8], int32[8]) -> float32[N, 8]",
        "ldexp(int64[N], int64[]) -> float32[N]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(Mul(), input, emit(Pow(), 2.0, emit(To(floating(other.dtype)), other)))


class Isclose(Composed):
    """Whether two numbers are at most ``atol + rtol * |other|`` apart; with ``equal_nan`` NaN equals NaN."""

    torch = "torch.isclose"
    examples = (
        "isclose(float32[N, 8], float32[8]) -> bool[N, 8]",
        "isclose(rtol = 0.5, atol = 0.25, equal_nan = true)(float32[N, 8], float32[N, 8]) -> bool[N, 8]",
        "isclose(int64[N, 8], int64[N, 8]) -> bool[N, 8]",
    )

    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = False

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        if input.dtype is not other.dtype:
            raise Refused(f"{self.name} needs one dtype, but has {input.dtype} and {other.dtype}", "other")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not value >= 0:
                raise Refused(f"a tolerance cannot be {value}", name)
        close = emit(Eq(), input, other)
        if self.equal_nan and input.dtype.is_floating:
            missing = emit(LogicalAnd(), emit(Ne(), input, input), emit(Ne(), other, other))
            close = emit(LogicalOr(), close, missing)
        if self.rtol == 0 and self.atol == 0:
            return close
        wide = floating(input.dtype)
        a, b = emit(To(wide), input), emit(To(wide), other)
        allowed = emit(Add(), emit(Abs(), emit(Mul(), b, self.rtol)), self.atol)
        apart = emit(Abs(), emit(Sub(), a, b))
        within = emit(LogicalAnd(), emit(Isfinite(), apart), emit(Le(), apart, allowed))
        return emit(LogicalOr(), close, within)


class Allclose(Isclose):
    """Whether all numbers are as near as ``isclose`` wants, a bool of rank 0."""

    torch = "torch.allclose"
    examples = (
        "allclose(float32[N, 8], float32[8]) -> bool[]",
        "allclose(atol = 1.5)(float16[N, 8], float16[N, 8]) -> bool[]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(AllTrue(), super().compose(emit, input, other))

    def reference(self, torch: Any, input: Any, other: Any) -> Any:
        # A tensor, where PyTorch has a bool of Python's.
        return torch.isclose(input, other, self.rtol, self.atol, self.equal_nan).all()


class Equal(Composed):
    """Whether two tensors have one shape and equal elements, a bool of rank 0."""

    torch = "torch.equal"
    examples = (
        "equal(float32[N, 8], float32[N, 8]) -> bool[]",
        "equal(int64[3], int64[4]) -> bool[]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        if input.dtype is not other.dtype:
            raise Refused(f"equal needs one dtype, but has {input.dtype} and {other.dtype}", "other")
        same_rank = input.rank == other.rank
        pairs = zip(input.shape, other.shape, strict=same_rank)
        if not same_rank or not all(same_dim(a, b, "equal", "other") for a, b in pairs):
            return emit(Full((), False))
        return emit(AllTrue(), emit(Eq(), input, other))

    def reference(self, torch: Any, input: Any, other: Any) -> Any:
        # A tensor, where PyTorch has a bool of Python's.
        return (input == other).all() if input.shape == other.shape else torch.zeros((), dtype=torch.bool)
