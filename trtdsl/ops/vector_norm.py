"""Norms over dimensions, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from trtdsl.ops.arithmetic_layers import computed, to_bool
from trtdsl.ops.base import Function
from trtdsl.ops.reduction import in_float32, reduce, reduced_shape
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import floating, require_floating, wrap_dims
from trtdsl.types import DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class Logsumexp(Function):
    """``log(sum(e ** input))`` over ``dim``, without overflow."""

    torch = "torch.logsumexp"
    examples = (
        "logsumexp(dim = 1)(float32[N, 8]) -> float32[N]",
        "logsumexp(dim = (0, 2), keepdim = true)(float32[N, 4, S]) -> float32[1, 4, 1]",
        "logsumexp(-1)(int32[N, 8]) -> float32[N]",
    )

    dim: int | tuple[int, ...]
    keepdim: bool = False

    def infer(self, input: TensorType) -> TensorType:
        if self.dim == ():
            raise Refused("logsumexp needs at least one dimension", "dim")
        shape = reduced_shape(input, wrap_dims(self.dim, input.rank), self.keepdim)
        return TensorType(floating(computed(input).dtype), shape)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = in_float32(net, input)
        dims = wrap_dims(self.dim, x.rank)
        # An infinite maximum would make infinity - infinity.
        largest = reduce(net, "MAX", x, dims, True)
        finite = net.elementwise("LESS", net.unary("ABS", largest), net.scalar(math.inf, largest))
        largest = net.select(finite, largest, net.scalar(0, largest))
        total = reduce(net, "SUM", net.unary("EXP", net.elementwise("SUB", x, largest)), dims, True)
        result = net.elementwise("SUM", net.unary("LOG", total), largest)
        return net.cast(net.reshape(result, net.result.shape), net.result.dtype)


def vector_norm(net: Network, x: Tensor, order: float, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """``sum(|x| ** order) ** (1 / order)``, with its limits for the orders 0 and infinity."""
    magnitude = net.unary("ABS", x)
    if math.isinf(order):
        return reduce(net, "MAX" if order > 0 else "MIN", magnitude, dims, keepdim)
    if order == 0:
        return reduce(net, "SUM", net.cast(to_bool(net, x), x.dtype), dims, keepdim)
    if order == 1:
        return reduce(net, "SUM", magnitude, dims, keepdim)
    if order == 2:
        return net.unary("SQRT", reduce(net, "SUM", net.elementwise("PROD", x, x), dims, keepdim))
    powers = net.elementwise("POW", magnitude, net.scalar(order, x))
    total = reduce(net, "SUM", powers, dims, keepdim)
    return net.elementwise("POW", total, net.scalar(1 / order, total))


class VectorNorm(Function):
    """``sum(|x| ** ord) ** (1 / ord)`` over ``dim``, or over all dimensions."""

    torch = "torch.linalg.vector_norm"
    examples = (
        "vector_norm()(float32[N, 8]) -> float32[]",
        "vector_norm(dim = -1, keepdim = true)(float32[N, 8]) -> float32[N, 1]",
        "vector_norm(ord = 1, dim = (1, 2))(float32[N, 4, S]) -> float32[N]",
        "vector_norm(ord = 3, dim = 1)(float32[N, 8]) -> float32[N]",
        "vector_norm(ord = 0, dim = 1)(float32[N, 8]) -> float32[N]",
        "vector_norm(dim = 1, dtype = float32)(float16[N, 8]) -> float32[N]",
    )

    ord: float = 2
    dim: int | tuple[int, ...] | None = None
    keepdim: bool = False
    dtype: DType | None = None

    def infer(self, x: TensorType) -> TensorType:
        require_floating(x, self.name, "x")
        result = x.with_dtype(self.dtype or x.dtype)
        require_floating(result, self.name, "dtype")
        dims = wrap_dims(self.dim, x.rank)
        return computed(result.with_shape(reduced_shape(x, dims, self.keepdim)), "x")

    def lower(self, net: Network, x: Tensor) -> Tensor:
        dims = wrap_dims(self.dim, x.rank)
        norm = vector_norm(net, in_float32(net, x), self.ord, dims, self.keepdim)
        return net.cast(norm, net.result.dtype)


class Norm(Function):
    """The vector norm of order ``p``; ``"fro"`` is that of order 2."""

    torch = "torch.norm"
    examples = (
        "norm()(float32[N, 8]) -> float32[]",
        "norm(p = 1.0, dim = 1)(float32[N, 8]) -> float32[N]",
        "norm(p = 2.0, dim = (1, 2), keepdim = true)(float32[N, 8, S]) -> float32[N, 1, 1]",
    )

    p: Literal["fro"] | float = "fro"
    dim: int | tuple[int, ...] | None = None
    keepdim: bool = False
    dtype: DType | None = None

    @property
    def as_vector(self) -> VectorNorm:
        """The same as the operator of ``torch.linalg``."""
        order = 2.0 if isinstance(self.p, str) else self.p
        return VectorNorm(order, self.dim, self.keepdim, self.dtype)

    def infer(self, input: TensorType) -> TensorType:
        return self.as_vector.infer(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return self.as_vector.lower(net, input)


class Normalize(Function):
    """``input / max(norm(input), eps)``, the norm of order ``p`` over ``dim``."""

    torch = "torch.nn.functional.normalize"
    examples = (
        "normalize()(float32[N, 8]) -> float32[N, 8]",
        "normalize(p = 1.0, dim = -1)(float32[N, S, 8]) -> float32[N, S, 8]",
        "normalize(dim = (1, 2), eps = 0.5)(float32[N, 4, S]) -> float32[N, 4, S]",
    )

    p: float = 2.0
    dim: int | tuple[int, ...] = 1
    eps: float = 1e-12

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "normalize", "input")
        wrap_dims(self.dim, input.rank)
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        dims = wrap_dims(self.dim, input.rank)
        # In float16 `eps` would be 0, and what has the norm 0 NaN.
        x = in_float32(net, input)
        norm = vector_norm(net, x, self.p, dims, True)
        y = net.elementwise("DIV", x, net.elementwise("MAX", norm, net.scalar(self.eps, norm)))
        return net.cast(y, input.dtype)
