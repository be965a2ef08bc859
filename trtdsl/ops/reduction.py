"""Reductions over one, several or all dimensions: sums, means, extremes, truth and norms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import cast, computed, numeric, scaled, shifted
from trtdsl.ops.base import Function
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, require_floating, type_of, wrap_dim, wrap_dims
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def reduced_shape(x: TensorType, dims: tuple[int, ...], keepdim: bool) -> tuple[Dim, ...]:
    """The shape after a reduction over non-negative dimensions."""
    pairs = enumerate(x.shape)
    return tuple(1 if axis in dims else dim for axis, dim in pairs if keepdim or axis not in dims)


def reduce(net: Network, operation: str, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """The layer, which a tensor of rank 0 does not need."""
    return net.reduce(operation, x, dims, keepdim) if x.rank else x


class Reduction(Function, abstract=True):
    """``operation`` over ``dim``; none means all dimensions, ``keepdim`` leaves them with size 1."""

    operation: ClassVar[str] = ""

    dim: int | tuple[int, ...] | None = None
    keepdim: bool = False

    def infer(self, input: TensorType) -> TensorType:
        shape = reduced_shape(input, self.axes(input.rank), self.keepdim)
        return computed(TensorType(self.result_dtype(input), shape))

    def axes(self, rank: int) -> tuple[int, ...]:
        """The dimensions that are reduced, as non-negative numbers."""
        return wrap_dims(self.dim, rank)

    def axes_of(self, array: Array) -> tuple[int, ...]:
        """Those of an array; a single number has none."""
        return self.axes(array.ndim) if array.ndim else ()

    def result_dtype(self, input: TensorType) -> DType:
        """The dtype of the result, which is also the one that is computed in."""
        return input.dtype

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = cast(net, input, numeric(net.result.dtype))
        return cast(net, self.emit(net, x, self.axes(input.rank)), net.result.dtype)

    def emit(self, net: Network, x: Tensor, dims: tuple[int, ...]) -> Tensor:
        """The layers, for an operand of the result's dtype and non-negative dimensions."""
        return reduce(net, self.operation, x, dims, self.keepdim)


class _Extreme(Reduction, abstract=True):
    def infer(self, input: TensorType) -> TensorType:
        require_elements(input, self.axes(input.rank), self.name)
        return super().infer(input)

    def fold(self, input: Array) -> Array | None:
        if not input.size:
            return None
        extreme = np.max if self.operation == "MAX" else np.min
        return np.asarray(extreme(input, axis=self.axes_of(input), keepdims=self.keepdim))


class Amax(_Extreme):
    """The largest element. PyTorch's NaN wins, TensorRT's may lose."""

    torch = "torch.amax"
    examples = (
        "amax()(float32[N, 8]) -> float32[]",
        "amax(dim = (-2, -1), keepdim = true)(float32[N, 3, H, W]) -> float32[N, 3, 1, 1]",
        "amax(dim = 1)(bool[N, 8]) -> bool[N]",
        "amax(dim = 0)(uint8[S, 2]) -> uint8[2]",
    )
    operation = "MAX"


class Amin(_Extreme):
    """The smallest element. PyTorch's NaN wins, TensorRT's may lose."""

    torch = "torch.amin"
    examples = (
        "amin(dim = -1)(float32[N, 8]) -> float32[N]",
        "amin(dim = ())(int64[N, 8]) -> int64[]",
        "amin(dim = 1)(bool[N, 8]) -> bool[N]",
    )
    operation = "MIN"


class Accumulation(Reduction, abstract=True):
    """A reduction that may outgrow its dtype: integers and bools become int64."""

    dtype: DType | None = None

    def result_dtype(self, input: TensorType) -> DType:
        if self.dtype is not None:
            return self.dtype
        return input.dtype if input.dtype.is_floating else DType.INT64


class Sum(Accumulation):
    """The sum; of integers and bools in int64."""

    torch = "torch.sum"
    examples = (
        "sum()(float32[N, 8]) -> float32[]",
        "sum(dim = (0, -1))(float32[N, 8, S]) -> float32[8]",
        "sum(dim = 1, keepdim = true)(int32[N, 8]) -> int64[N, 1]",
        "sum(dim = -1)(bool[N, S]) -> int64[N]",
        "sum(dim = 1, dtype = float32)(int64[N, S]) -> float32[N]",
        "sum()(float32[]) -> float32[]",
        "sum(dim = 1)(uint8[N, S]) -> int64[N]",
    )
    operation = "SUM"

    def fold(self, input: Array) -> Array:
        dtype = self.infer(type_of(input)).dtype
        wide = input.astype(np.float64) if dtype.is_floating else input.astype(dtype.numpy)
        return np.asarray(wide.sum(self.axes_of(input), keepdims=self.keepdim)).astype(dtype.numpy)


class Mean(Accumulation):
    """The mean; refused for integers unless ``dtype`` says what to compute in."""

    torch = "torch.mean"
    examples = (
        "mean()(float32[N, 8]) -> float32[]",
        "mean(dim = (2, 3))(float32[N, 3, H, W]) -> float32[N, 3]",
        "mean(dim = -1, keepdim = true)(float16[N, S, 8]) -> float16[N, S, 1]",
        "mean(dim = 1, dtype = float32)(int64[N, S]) -> float32[N]",
    )
    operation = "AVG"

    def result_dtype(self, input: TensorType) -> DType:
        dtype = super().result_dtype(input) if input.dtype.is_floating or self.dtype else input.dtype
        require_floating(input.with_dtype(dtype), "mean", "input")
        return dtype

    def fold(self, input: Array) -> Array | None:
        if not input.size:
            return None
        wide = input.astype(np.float64)
        dtype = self.infer(type_of(input)).dtype
        return np.asarray(wide.mean(self.axes_of(input), keepdims=self.keepdim)).astype(dtype.numpy)


class Prod(Accumulation):
    """The product over one dimension, or over all; of integers and bools in int64."""

    torch = "torch.prod"
    examples = (
        "prod()(float32[N, 3]) -> float32[]",
        "prod(dim = 1)(float32[N, 3]) -> float32[N]",
        "prod(dim = -1, keepdim = true)(int32[N, 3]) -> int64[N, 1]",
        "prod(dim = 0, dtype = float32)(float16[S, 3]) -> float32[3]",
    )
    operation = "PROD"

    dim: int | None = None

    def infer(self, input: TensorType) -> TensorType:
        if self.keepdim and self.dim is None:
            raise Refused("prod over all dimensions takes no `keepdim`, as in PyTorch", "keepdim")
        return super().infer(input)

    def reference(self, torch: Any, input: Any) -> Any:
        dtype = self.dtype and getattr(torch, self.dtype.value)
        if self.dim is None and not self.keepdim:
            return torch.prod(input, dtype=dtype)
        return torch.prod(input, self.dim, self.keepdim, dtype=dtype)


class Truth(Reduction, abstract=True):
    """A reduction of ``input != 0``; bool, and uint8 for uint8."""

    def result_dtype(self, input: TensorType) -> DType:
        return DType.UINT8 if input.dtype is DType.UINT8 else DType.BOOL

    def lower(self, net: Network, input: Tensor) -> Tensor:
        truth, axes = cast(net, input, DType.BOOL), self.axes(input.rank)
        if axes:
            found = reduce(net, self.operation, net.cast(truth, DType.INT32), axes, self.keepdim)
            # Of no elements TensorRT's extremes are the ends of int32's range.
            truth = net.elementwise("GREATER", found, net.scalar(0, found))
        return net.cast(truth, net.result.dtype)

    def fold(self, input: Array) -> Array:
        found = np.all if self.operation == "MIN" else np.any
        truth = found(input != 0, axis=self.axes_of(input), keepdims=self.keepdim)
        return np.asarray(truth).astype(self.infer(type_of(input)).dtype.numpy)

    def axes(self, rank: int) -> tuple[int, ...]:
        # Unlike torch.sum, torch.all and torch.any reduce nothing over no dimensions.
        return () if self.dim == () else super().axes(rank)


class AllTrue(Truth):
    """Whether every element is not 0."""

    torch = "torch.all"
    examples = (
        "all()(bool[N, 8]) -> bool[]",
        "all(dim = 1, keepdim = true)(float32[N, 8]) -> bool[N, 1]",
        "all(dim = (0, 1))(int64[N, 8, S]) -> bool[S]",
        "all(dim = 1)(uint8[N, 2]) -> uint8[N]",
    )
    operation = "MIN"


class AnyTrue(Truth):
    """Whether some element is not 0."""

    torch = "torch.any"
    examples = (
        "any()(bool[N, 8]) -> bool[]",
        "any(dim = -1)(float32[N, 8]) -> bool[N]",
        "any(dim = 0)(bool[]) -> bool[]",
    )
    operation = "MAX"


def in_float32(net: Network, x: Tensor) -> Tensor:
    """PyTorch accumulates squares and exponentials of the narrow dtypes in float32."""
    return net.cast(x, DType.FLOAT32)


class Spread(Function, abstract=True):
    """The variance or its root over ``dim``, dividing by the number of elements less ``correction``."""

    dim: int | tuple[int, ...] | None = None
    correction: int | float = 1
    keepdim: bool = False
    unbiased: bool | None = None

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, self.name, "input")
        if self.unbiased is not None and self.correction != 1:
            raise Refused("give either `unbiased` or `correction`, not both", "unbiased")
        dims = wrap_dims(self.dim, input.rank)
        return computed(input.with_shape(reduced_shape(input, dims, self.keepdim)))

    @property
    def removed(self) -> float:
        """The degrees of freedom that are taken off the number of elements."""
        return self.correction if self.unbiased is None else int(self.unbiased)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = in_float32(net, input)
        return net.cast(self.finish(net, self._variance(net, x)), input.dtype)

    def finish(self, net: Network, variance: Tensor) -> Tensor:
        """The result, from the variance in float32."""
        return variance

    def _variance(self, net: Network, x: Tensor) -> Tensor:
        dims = wrap_dims(self.dim, x.rank) if x.rank else ()
        difference = net.elementwise("SUB", x, reduce(net, "AVG", x, dims, True))
        square = net.elementwise("PROD", difference, difference)
        mean = reduce(net, "AVG", square, dims, self.keepdim)
        count = product(x.shape[axis] for axis in dims)
        if not self.removed:
            return mean
        if isinstance(count, SymbolicDim):
            elements = net.reshape(net.cast(net.shape_tensor([count]), x.dtype), (1,) * mean.rank)
            rest = net.elementwise("MAX", shifted(net, elements, -self.removed), net.scalar(0, elements))
            return net.elementwise("PROD", mean, net.elementwise("DIV", elements, rest))
        rest = max(count - self.removed, 0)
        return scaled(net, mean, count / rest if rest else math.inf)

    def reference(self, torch: Any, input: Any) -> Any:
        dims = None if self.dim == () else self.dim
        function = getattr(torch, self.name)
        return function(input, dims, correction=self.removed, keepdim=self.keepdim)


class Var(Spread):
    """The mean of ``(input - mean) ** 2``, by default times ``n / (n - 1)``."""

    torch = "torch.var"
    examples = (
        "var()(float32[N, 8]) -> float32[]",
        "var(dim = 1)(float32[N, 8]) -> float32[N]",
        "var(dim = (2, 3), keepdim = true)(float32[N, 3, H, W]) -> float32[N, 3, 1, 1]",
        "var(dim = -1, correction = 0)(float16[N, 8]) -> float16[N]",
        "var(dim = -1, unbiased = false)(float32[N, S]) -> float32[N]",
        "var(dim = (1, 2), correction = 2)(float32[N, S, H]) -> float32[N]",
    )


class Std(Spread):
    """The square root of ``var``."""

    torch = "torch.std"
    examples = (
        "std(dim = -1, keepdim = true)(float32[N, 8]) -> float32[N, 1]",
        "std(dim = (1, 2), correction = 0)(float32[N, H, W]) -> float32[N]",
    )

    def finish(self, net: Network, variance: Tensor) -> Tensor:
        return net.unary("SQRT", variance)


class Cumulation(Function, abstract=True):
    """Of the elements up to each along ``dim``; of integers and bools in int64."""

    of_bools: ClassVar[str] = ""
    """the operator that does the same to bools"""

    dim: int
    dtype: DType | None = None

    def infer(self, input: TensorType) -> TensorType:
        wrap_dim(self.dim, input.rank)
        dtype = self.dtype or (input.dtype if input.dtype.is_floating else DType.INT64)
        if dtype.is_bool:
            raise Refused(f"{self.name} in bool is `{self.of_bools}`", "dtype")
        return computed(input.with_dtype(dtype))

    def fold(self, input: Array) -> Array:
        dtype = self.infer(type_of(input)).dtype
        x = input.astype(dtype.numpy)
        if not x.ndim:
            return x
        wide = x.astype(np.float64) if dtype.is_floating else x
        return getattr(np, self.name)(wide, wrap_dim(self.dim, x.ndim)).astype(dtype.numpy)


class Cumsum(Cumulation):
    """The sum of the elements up to each along ``dim``; of integers and bools in int64."""

    torch = "torch.cumsum"
    examples = (
        "cumsum(dim = 1)(float32[N, 8]) -> float32[N, 8]",
        "cumsum(dim = -1)(int32[N, S]) -> int64[N, S]",
        "cumsum(dim = 0)(bool[S, 3]) -> int64[S, 3]",
        "cumsum(1, dtype = float32)(float16[N, 4]) -> float32[N, 4]",
        "cumsum(0)(float32[]) -> float32[]",
    )

    of_bools = "cummax"

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = cast(net, input, net.result.dtype)
        return net.cumulative_sum(x, wrap_dim(self.dim, x.rank)) if x.rank else x
