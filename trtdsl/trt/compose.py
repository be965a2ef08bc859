"""What a release lacks, of layers that every release has.

TensorRT 8.5 knows neither GELU nor sums up to each element nor tests for NaN, and its unary layers and
activations take no integers.  Later releases get such sums wrong where a network has two kinds of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtdsl.ops.arithmetic_layers import less_equal, negate
from trtdsl.ops.habits import Habits
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.running import running_sum
from trtdsl.ops.windows import Window
from trtdsl.trt.facts import Facts
from trtdsl.types import Dim, DType
from trtdsl.types.arrays import np


class ComposingNetwork(Network):
    """A network that computes what its release lacks of other layers."""

    def __init__(self) -> None:
        super().__init__()
        self._summed: tuple[int, int] | None = None

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """What the release has."""

    def activation(
        self, kind: str, x: Tensor, alpha: float | None = None, beta: float | None = None
    ) -> Tensor:
        composed = self._composition(f"ActivationType.{kind}", x)
        return composed(self, x) if composed else super().activation(kind, x, alpha, beta)

    def unary(self, operation: str, x: Tensor) -> Tensor:
        composed = self._composition(f"UnaryOperation.{operation}", x)
        return composed(self, x) if composed else super().unary(operation, x)

    def cumulative_sum(self, x: Tensor, dim: int) -> Tensor:
        kind = x.rank, dim
        # From 10.8 on, layers along different axes of one network are computed along one of them
        # (NVIDIA/TensorRT#4513, #4551): the first kind that a network needs stays the only one.
        if self.has("cumulative") and (self._summed or kind) == kind:
            self._summed = kind
            return super().cumulative_sum(x, dim)
        return running_sum(self, x, dim)

    def slice(
        self,
        x: Tensor,
        start: Sequence[Dim],
        shape: Sequence[Dim],
        stride: Sequence[int] | None = None,
        mode: str = "STRICT_BOUNDS",
        fill: Tensor | None = None,
    ) -> Tensor:
        if mode == "STRICT_BOUNDS" or self.facts.pads(x.dtype):
            make = super().slice
            return self._moved(lambda y: make(y, start, shape, stride, mode, fill), x)
        numbers = self.cast(x, DType.INT32)
        fill = self.cast(fill, DType.INT32) if fill is not None else None
        return self.cast(super().slice(numbers, start, shape, stride, mode, fill), x.dtype)

    def concat(self, tensors: Sequence[Tensor], dim: int) -> Tensor:
        make = super().concat
        return self._moved(lambda *each: make(each, dim), *tensors)

    def reshape(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        if tuple(shape) == x.shape or x.array is not None:
            return super().reshape(x, shape)
        make = super().reshape
        return self._moved(lambda y: make(y, shape), x)

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        if list(permutation) == list(range(x.rank)):
            return x
        make = super().transpose
        return self._moved(lambda y: make(y, permutation), x)

    def shuffle(self, x: Tensor, first: Sequence[int], shape: Sequence[Dim], second: Sequence[int]) -> Tensor:
        make = super().shuffle
        return self._moved(lambda y: make(y, first, shape, second), x)

    def gather(self, x: Tensor, indices: Tensor, dim: int) -> Tensor:
        make = super().gather
        return self._moved(lambda y: make(y, indices, dim), x)

    def gather_elements(self, x: Tensor, indices: Tensor, dim: int) -> Tensor:
        make = super().gather_elements
        return self._moved(lambda y: make(y, indices, dim), x)

    def _moved(self, move: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """What ``move`` makes of tensors of one type; of bools by way of numbers, if the release needs it."""
        return self.cast(move(*map(self.movable, tensors)), tensors[0].dtype)

    def movable(self, x: Tensor) -> Tensor:
        if x.dtype is not DType.BOOL or self.facts.moves_bools:
            return x
        return self.cast(x, DType.INT32)

    def quantize(self, x: Tensor, scale: Tensor, dtype: DType, axis: int | None) -> Tensor:
        if self.facts.quantize_names_dtype:
            return super().quantize(x, scale, dtype, axis)
        if dtype is not DType.INT8:
            raise Refused(f"TensorRT 8 quantises to int8 only, not to {dtype}", help=_NARROW)
        given: dict[str, Any] = {} if axis is None else {"axis": axis}
        numbers, scale = self.cast(x, DType.FLOAT32), self._in_float32(scale)
        return self.add("quantize", numbers, scale, result=x.type.with_dtype(dtype), **given)

    def dequantize(self, x: Tensor, scale: Tensor, dtype: DType, axis: int | None) -> Tensor:
        if self.facts.quantize_names_dtype:
            return super().dequantize(x, scale, dtype, axis)
        if x.dtype is not DType.INT8:
            raise Refused(f"TensorRT 8 has quantised numbers in int8 only, not in {x.dtype}", help=_NARROW)
        given: dict[str, Any] = {} if axis is None else {"axis": axis}
        scale = self._in_float32(scale)
        if x.array is not None:
            # It has no constants of int8: the numbers that they stand for, quantised again.
            numbers = x.array.astype(np.float32) * _along(scale, x.rank, axis)
            x = self.quantize(self.constant(numbers), scale, DType.INT8, axis)
        result = x.type.with_dtype(DType.FLOAT32)
        return self.cast(self.add("dequantize", x, scale, result=result, **given), dtype)

    def _in_float32(self, scale: Tensor) -> Tensor:
        """A scale as TensorRT 8 takes it; a constant stays one."""
        if scale.array is None:
            return self.cast(scale, DType.FLOAT32)
        return self.constant(scale.array.astype(np.float32))

    @property
    def habits(self) -> Habits:
        return self.facts.habits

    def convolves_in(self, layer: str, dtype: DType, window: Window, groups: int) -> DType:
        return dtype if self.facts.convolves(layer, dtype, window, groups) else DType.FLOAT32

    def _composition(self, operation: str, x: Tensor) -> Callable[[Network, Tensor], Tensor] | None:
        return None if self.facts.takes(operation, x.dtype) else OPERATIONS.get(operation)


_NARROW = "TensorRT 10 and TensorRT-RTX have float8 and int4"


def _along(scale: Tensor, rank: int, axis: int | None) -> Array:
    """The constant scales of a constant, in a shape that broadcasts with it."""
    if scale.array is None:
        help = "make it a parameter, whose value the checkpoint has; TensorRT 10 and TensorRT-RTX take any"
        raise Refused("TensorRT 8 quantises constants by constant scales only", "scale", help=help)
    return scale.array if axis is None else scale.array.reshape([-1 if d == axis else 1 for d in range(rank)])


def _gelu(net: Network, x: Tensor, inner: Tensor) -> Tensor:
    """``x / 2 * (1 + inner)``."""
    half = net.elementwise("PROD", x, net.scalar(0.5, x))
    return net.elementwise("PROD", half, net.elementwise("SUM", inner, net.scalar(1.0, x)))


def gelu_erf(net: Network, x: Tensor) -> Tensor:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    scaled = net.elementwise("PROD", x, net.scalar(math.sqrt(0.5), x))
    return _gelu(net, x, net.unary("ERF", scaled))


def gelu_tanh(net: Network, x: Tensor) -> Tensor:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``."""
    cube = net.elementwise("PROD", net.elementwise("PROD", x, x), x)
    inner = net.elementwise("SUM", x, net.elementwise("PROD", cube, net.scalar(0.044715, x)))
    scaled = net.elementwise("PROD", inner, net.scalar(math.sqrt(2 / math.pi), x))
    return _gelu(net, x, net.activation("TANH", scaled))


def relu(net: Network, x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return net.elementwise("MAX", x, net.scalar(0, x))


def negative(net: Network, x: Tensor) -> Tensor:
    """``0 - x``."""
    return net.elementwise("SUB", net.scalar(0, x), x)


def absolute(net: Network, x: Tensor) -> Tensor:
    """``max(x, -x)``."""
    return net.elementwise("MAX", x, negative(net, x))


def is_inf(net: Network, x: Tensor) -> Tensor:
    """``|x| == inf``."""
    return net.elementwise("EQUAL", net.unary("ABS", x), net.scalar(math.inf, x))


def is_nan(net: Network, x: Tensor) -> Tensor:
    """``not x <= inf``. A builder may take ``x == x`` for true, this it cannot."""
    return negate(net, less_equal(net, x, net.scalar(math.inf, x)))


OPERATIONS: Mapping[str, Callable[[Network, Tensor], Tensor]] = {
    "ActivationType.GELU_ERF": gelu_erf,
    "ActivationType.GELU_TANH": gelu_tanh,
    "ActivationType.RELU": relu,
    "UnaryOperation.ABS": absolute,
    "UnaryOperation.ISINF": is_inf,
    "UnaryOperation.ISNAN": is_nan,
    "UnaryOperation.NEG": negative,
}
"""By the operation that is lacking, or lacking for a type."""
