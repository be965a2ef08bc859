"""Arithmetic on two or more tensors, with PyTorch's broadcasting and type promotion.

A number beside a tensor is a tensor of rank 0 here: the elaborator gives it PyTorch's weak dtype.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import (
    clamp_by_torch,
    clamped,
    computed,
    numeric,
    require_reachable,
    scaled,
    without_overflow,
)
from trtdsl.ops.base import Function
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, floating, promote, promote_in_order, require_fit, type_of
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def broadcast(dtype: DType, *types: TensorType) -> TensorType:
    """The type of the dtype and of the shape to which all broadcast."""
    shape = types[0].shape
    for other in types[1:]:
        shape = broadcast_shapes(shape, other.shape)
    return computed(TensorType(dtype, shape))


class Binary(Function, abstract=True):
    """Two tensors in their common dtype."""

    operation: ClassVar[str] = ""
    with_bool: ClassVar[str] = ""
    """the boolean operation that it is for two bool tensors; refused where empty"""
    ufunc: ClassVar[str] = ""
    """the numpy function that folds constants, for operands of the result's dtype"""

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        dtype = promote(input, other)
        if dtype.is_bool and not self.with_bool:
            raise Refused(f"{self.name} does not take two bool tensors", "input", help="cast one of them")
        return broadcast(self.without_overflow(dtype), input, other)

    def without_overflow(self, dtype: DType) -> DType:
        """The dtype itself; refused where results may not fit into it."""
        return without_overflow(dtype, self.name)

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        dtype = net.result.dtype
        a, b = net.cast(input, dtype), net.cast(other, dtype)
        return net.elementwise(self.with_bool, a, b) if dtype.is_bool else self.emit(net, a, b)

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        """The layers, for operands of the result's dtype, which is not bool."""
        return net.elementwise(self.operation, a, b)

    def fold(self, input: Array, other: Array) -> Array | None:
        dtype = self.infer(type_of(input), type_of(other)).dtype.numpy
        return getattr(np, self.ufunc)(input.astype(dtype), other.astype(dtype)) if self.ufunc else None


def require_factor(factor: int | float, dtype: DType, about: str) -> None:
    """Refuse a factor that is not a number of the tensors' dtype."""
    if not dtype.is_floating and isinstance(factor, float) and not factor.is_integer():
        raise Refused(f"{about} must be an integer for {dtype} tensors", about)
    require_fit(factor, dtype, about)


class Additive(Binary, abstract=True):
    """A sum or difference with a factor on its second operand."""

    alpha: int | float = 1

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        result = super().infer(input, other)
        require_factor(self.alpha, result.dtype, "alpha")
        if not result.dtype.is_floating and isinstance(self.alpha, float):
            raise Refused(f"alpha must be an integer for {result.dtype} tensors", "alpha")
        if result.dtype.is_bool and self.alpha != 1:
            raise Refused("`alpha` does not apply to two bool tensors", "alpha")
        return result

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise(self.operation, a, scaled(net, b, self.alpha))

    def fold(self, input: Array, other: Array) -> Array | None:
        return super().fold(input, other) if self.alpha == 1 else None


class Add(Additive):
    """``input + alpha * other``; for two bool tensors ``or``."""

    torch = "torch.add"
    examples = (
        "add()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "add()(float32[N, 8], float32[]) -> float32[N, 8]",
        "add(alpha = 2)(int64[N, 1], int32[3]) -> int64[N, 3]",
        "add(alpha = 0.5)(float32[N, 8], float32[N, 8]) -> float32[N, 8]",
        "add()(float16[N, 1, 4], float16[1, S, 1]) -> float16[N, S, 4]",
        "add()(int32[N], float16[]) -> float16[N]",
        "add()(bool[N], bool[1]) -> bool[N]",
        "add()(uint8[3], int32[3]) -> int32[3]",
        "add()(float32[], float32[]) -> float32[]",
    )
    operation = "SUM"
    ufunc = "add"
    with_bool = "OR"


class Sub(Additive):
    """``input - alpha * other``."""

    torch = "torch.sub"
    examples = (
        "sub()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "sub(alpha = 3)(float32[N, 8], float32[]) -> float32[N, 8]",
        "sub()(int32[], int64[S]) -> int64[S]",
    )
    operation = "SUB"
    ufunc = "subtract"

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        for name, type in (("input", input), ("other", other)):
            if type.dtype.is_bool:
                raise Refused("sub does not take bool tensors", name, help="use `logical_xor`, or cast it")
        return super().infer(input, other)


class Mul(Binary):
    """``input * other``; for two bool tensors ``and``."""

    torch = "torch.mul"
    examples = (
        "mul()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "mul()(float32[N, 3, H, W], float32[N, 3, 1, 1]) -> float32[N, 3, H, W]",
        "mul()(float32[N, 8], bool[N, 8]) -> float32[N, 8]",
        "mul()(int64[S], int64[]) -> int64[S]",
        "mul()(bool[N, 2], bool[2]) -> bool[N, 2]",
        "mul()(float16[N], float32[]) -> float16[N]",
        "mul()(uint8[N, 4], float32[]) -> float32[N, 4]",
    )
    operation = "PROD"
    ufunc = "multiply"
    with_bool = "AND"


class Maximum(Binary):
    """The larger of two numbers, ``or`` of two bools. PyTorch's NaN wins, TensorRT's may lose."""

    torch = "torch.maximum"
    examples = (
        "maximum()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "maximum()(int32[N, 8], int64[]) -> int32[N, 8]",
        "maximum()(uint8[N], uint8[N]) -> uint8[N]",
        "maximum()(bool[N], bool[]) -> bool[N]",
    )
    operation = "MAX"
    ufunc = "maximum"
    with_bool = "OR"

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return broadcast(promote_in_order(input, other), input, other)

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        a, b = (net.cast(x, numeric(x.dtype)) for x in (a, b))
        return net.cast(net.elementwise(self.operation, a, b), net.result.dtype)


class Minimum(Maximum):
    """The smaller of two numbers, ``and`` of two bools. PyTorch's NaN wins, TensorRT's may lose."""

    torch = "torch.minimum"
    examples = (
        "minimum()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "minimum()(int64[N, 8], int64[N, 1]) -> int64[N, 8]",
        "minimum()(bool[N], bool[]) -> bool[N]",
    )
    operation = "MIN"
    ufunc = "minimum"
    with_bool = "AND"


class Pow(Function):
    """``input ** exponent``; a negative base needs an integer exponent, and is NaN otherwise."""

    torch = "torch.pow"
    examples = (
        "pow()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "pow()(float32[N, 8], int64[]) -> float32[N, 8]",
        "pow()(float32[], float32[N]) -> float32[N]",
    )

    def infer(self, input: TensorType, exponent: TensorType) -> TensorType:
        dtype = without_overflow(promote(input, exponent), "pow")
        if dtype.is_bool:
            raise Refused("pow does not take two bool tensors", "input", help="cast one of them")
        return broadcast(dtype, input, exponent)

    def lower(self, net: Network, input: Tensor, exponent: Tensor) -> Tensor:
        dtype = net.result.dtype
        base = net.cast(input, dtype)
        constant = single_value(exponent.array)
        if constant is None:
            return net.elementwise("POW", base, net.cast(exponent, dtype))
        power = constant_power(net, base, constant)
        return net.expand(power, net.result.shape)

    def fold(self, input: Array, exponent: Array) -> Array | None:
        dtype = self.infer(type_of(input), type_of(exponent)).dtype
        if not dtype.is_floating:
            return None
        return np.power(input.astype(dtype.numpy), exponent.astype(dtype.numpy))


def single_value(array: Array | None) -> float | None:
    """The number in an array of one element, or None."""
    return None if array is None or array.size != 1 else float(array.reshape(()))


# The exponents up to which repeated products are used: exact for integers and negative bases alike.
_PRODUCTS = 4


def constant_power(net: Network, base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent``. TensorRT computes POW by logarithms, so negative bases are kept out of it."""
    if exponent == 0.5:
        return net.unary("SQRT", base)
    if exponent < 0 and not base.dtype.is_floating:
        raise Refused("an integer to a negative power is a fraction", "exponent", "cast the base to float32")
    if exponent < 0:
        return net.unary("RECIP", constant_power(net, base, -exponent))
    if exponent != math.floor(exponent):
        return net.elementwise("POW", base, net.scalar(exponent, base))
    if 1 <= exponent <= _PRODUCTS:
        return _repeated_product(net, base, int(exponent))
    magnitude = net.unary("ABS", base)
    power = net.elementwise("POW", magnitude, net.scalar(exponent, base))
    return power if exponent % 2 == 0 else net.elementwise("PROD", power, net.unary("SIGN", base))


def _repeated_product(net: Network, base: Tensor, exponent: int) -> Tensor:
    if exponent == 1:
        return base
    half = _repeated_product(net, base, exponent // 2)
    square = net.elementwise("PROD", half, half)
    return square if exponent % 2 == 0 else net.elementwise("PROD", square, base)


class Atan2(Binary):
    """The angle in radians, between -pi and pi, of the point with x = ``other`` and y = ``input``."""

    torch = "torch.atan2"
    examples = (
        "atan2()(float32[N, 8], float32[8]) -> float32[N, 8]",
        "atan2()(int32[N, 8], int32[8]) -> float32[N, 8]",
    )

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return broadcast(floating(promote(input, other)), input, other)

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        zero_a, zero_b = net.scalar(0, a), net.scalar(0, b)
        angle = net.unary("ATAN", net.elementwise("DIV", a, b))
        turn = net.select(net.elementwise("LESS", a, zero_a), net.scalar(-math.pi, a), net.scalar(math.pi, a))
        left = net.elementwise("SUM", angle, turn)
        angle = net.select(net.elementwise("LESS", b, zero_b), left, angle)
        # On the axis itself 0 / 0 would be NaN; PyTorch says 0 to the right and pi to the left.
        behind = net.select(net.elementwise("LESS", b, zero_b), net.scalar(math.pi, b), zero_b)
        return net.select(net.elementwise("EQUAL", a, zero_a), behind, angle)


class Addcmul(Function):
    """``input + value * tensor1 * tensor2``."""

    torch = "torch.addcmul"
    examples = (
        "addcmul()(float32[N, 8], float32[8], float32[N, 1]) -> float32[N, 8]",
        "addcmul(value = 0.5)(float32[8], float32[N, 8], float32[8]) -> float32[N, 8]",
    )

    value: int | float = 1

    def infer(self, input: TensorType, tensor1: TensorType, tensor2: TensorType) -> TensorType:
        dtype = promote(input, tensor1, tensor2)
        if dtype.is_bool:
            raise Refused("addcmul does not take bool tensors", "input")
        require_factor(self.value, dtype, "value")
        return broadcast(without_overflow(dtype, self.name), input, tensor1, tensor2)

    def lower(self, net: Network, input: Tensor, tensor1: Tensor, tensor2: Tensor) -> Tensor:
        x, a, b = (net.cast(t, net.result.dtype) for t in (input, tensor1, tensor2))
        return net.elementwise("SUM", x, net.elementwise("PROD", scaled(net, a, self.value), b))


class Lerp(Function):
    """``input + weight * (end - input)``, all three of one floating-point dtype."""

    torch = "torch.lerp"
    examples = (
        "lerp()(float32[N, 8], float32[N, 8], float32[]) -> float32[N, 8]",
        "lerp()(float32[N, 8], float32[8], float32[N, 1]) -> float32[N, 8]",
    )

    def infer(self, input: TensorType, end: TensorType, weight: TensorType) -> TensorType:
        for name, type in (("end", end), ("weight", weight)):
            if type.dtype is not input.dtype:
                raise Refused(f"lerp needs one dtype, but {name} is {type.dtype} beside {input.dtype}", name)
        if not input.dtype.is_floating:
            raise Refused(f"lerp needs floating-point tensors, not {input.dtype}", "input")
        return broadcast(input.dtype, input, end, weight)

    def lower(self, net: Network, input: Tensor, end: Tensor, weight: Tensor) -> Tensor:
        way = net.elementwise("PROD", weight, net.elementwise("SUB", end, input))
        return net.elementwise("SUM", input, way)


class Clamp(Function):
    """``min(max(input, min), max)``, with either bound left out by none; max wins where they cross.

    A bound beyond the range of the tensor's dtype bounds nothing.
    """

    torch = "torch.clamp"
    examples = (
        "clamp(min = 0, max = 6)(float32[N, 8]) -> float32[N, 8]",
        "clamp(min = -0.5)(float32[N, 8]) -> float32[N, 8]",
        "clamp(max = 0.5)(float16[N, 8]) -> float16[N, 8]",
        "clamp(min = 1, max = 3)(int64[N]) -> int64[N]",
        "clamp(min = 0.5)(int32[N]) -> float32[N]",
        "clamp(min = 2.0, max = 1.0)(float32[N, 8]) -> float32[N, 8]",
        "clamp(min = 0.0, max = 1.0)(float32[]) -> float32[]",
        "clamp(max = 3)(uint8[N]) -> uint8[N]",
        "clamp(min = 0, max = 5000000000)(int32[N]) -> int32[N]",
    )

    min: int | float | None = None
    max: int | float | None = None

    def infer(self, input: TensorType) -> TensorType:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds:
            raise Refused("clamp needs a min or a max", help="name one of them")
        if input.dtype.is_bool:
            raise Refused("clamp does not take bool tensors", "input")
        fractional = any(isinstance(bound, float) for bound in bounds)
        if input.dtype.is_integer and not fractional:
            require_reachable(input.dtype, self.min, self.max, ("min", "max"))
        return computed(input.with_dtype(floating(input.dtype) if fractional else input.dtype))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return clamped(net, net.cast(input, net.result.dtype), self.min, self.max)

    def fold(self, input: Array) -> Array:
        dtype = self.infer(type_of(input)).dtype
        # A bound that the dtype does not hold bounds nothing.
        exact = np.float64 if dtype.is_floating else np.int64
        least, most = (-np.inf, np.inf) if dtype.is_floating else dtype.limits
        x = input.astype(dtype.numpy).astype(exact)
        if self.min is not None:
            x = np.maximum(x, exact(min(self.min, most)))
        if self.max is not None:
            x = np.minimum(x, exact(max(self.max, least)))
        return x.astype(dtype.numpy)

    def reference(self, torch: Any, input: Any) -> Any:
        fractional = isinstance(self.min, float) or isinstance(self.max, float)
        x = input.to(torch.get_default_dtype()) if fractional and not input.is_floating_point() else input
        return clamp_by_torch(torch, x, self.min, self.max)
