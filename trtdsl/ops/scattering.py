"""Elements written, or added, at positions that a tensor names: ``scatter`` and its kin.

TensorRT's own layer leaves two writes to one place undefined, as PyTorch does unless they accumulate. Writes
that accumulate are made of comparisons: each place sums what is meant for it, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.arithmetic_layers import cast, computed, numeric, without_overflow
from trtdsl.ops.base import Function
from trtdsl.ops.gathering import (
    at_least_vector,
    require_inside,
    size_along,
)
from trtdsl.ops.positions import (
    Positions,
    checked,
    count_up,
    require_index,
)
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import promote, wrap_dim
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


# --- What the operators check and share -------------------------------------------------------------------


def require_same_dtype(what: str, input: TensorType, other: TensorType, about: str) -> None:
    if input.dtype is not other.dtype:
        raise Refused(f"{what} needs one dtype, but has {input.dtype} and {other.dtype}", about)


def require_fill(what: str, input: TensorType, value: TensorType, about: str) -> None:
    """Refuse a number of rank 0 that the input's dtype does not hold."""
    if promote(input.with_shape((1,)), value) is not input.dtype:
        raise Refused(f"{what}: a {value.dtype} value does not fit into a {input.dtype} tensor", about)


def write(net: Network, x: Tensor, index: Tensor, updates: Tensor, dim: int) -> Tensor:
    """The tensor with updates, of the index's shape, at the positions along ``dim``."""
    inside = numeric(x.dtype)
    data, new = net.cast(x, inside), net.cast(updates, inside)
    element = net.enum("ScatterMode.ELEMENT")
    return net.cast(net.add("scatter", data, index, new, element, result=data.type, axis=dim), x.dtype)


def _cut(net: Network, x: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The first elements along each dimension."""
    return x if x.shape == tuple(shape) else net.slice(x, (0,) * x.rank, shape)


Reduction = Literal["sum", "prod", "mean", "amax", "amin"]
_LAYERS = {"sum": "SUM", "prod": "PROD", "amax": "MAX", "amin": "MIN"}
"""The operation of both, IReduceLayer and IElementWiseLayer."""


def _neutral(net: Network, reduction: str, source: Tensor, dim: int) -> Tensor:
    """What changes nothing in a reduction of source elements along ``dim``."""
    if reduction in ("amax", "amin") and not source.dtype.is_floating:
        # The number at the other end of those there are: not every release holds the ends of int64.
        opposite = "MIN" if reduction == "amax" else "MAX"
        return net.reduce(opposite, source, [dim], True)
    number = {"sum": 0, "prod": 1, "amax": -math.inf, "amin": math.inf}[reduction]
    return net.scalar(number, source)


class Targets:
    """Which source elements are meant for each place along a dimension.

    In: an index that broadcasts to the source. ``hits`` has the places as a dimension of its own, in front of
    the source's ``dim``.
    """

    def __init__(self, net: Network, index: Tensor, dim: int, size: Dim) -> None:
        self.net, self.dim, self.size = net, dim, size
        around: list[Dim] = [1] * (index.rank + 1)
        around[dim] = size
        places = net.reshape(net.cast(count_up(net, size), index.dtype), around)
        named = net.reshape(index, (*index.shape[:dim], 1, *index.shape[dim:]))
        self.hits = net.elementwise("EQUAL", named, places)

    def reduce(self, source: Tensor, reduction: str, shape: Sequence[Dim]) -> Tensor:
        """What each place gets of the source, in a tensor of this shape.

        Where nothing is meant for it, a sum is 0, a product 1, an extreme anything.
        """
        net, dim = self.net, self.dim
        others = _neutral(net, reduction, source, dim)
        apart, others = (net.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:])) for x in (source, others))
        found = net.reduce(_LAYERS[reduction], net.select(self.hits, apart, others), [dim + 1], False)
        if found.shape == tuple(shape):
            return found
        fill = net.filled((), 1 if reduction == "prod" else 0, found.dtype)
        return net.slice(found, (0,) * found.rank, shape, mode="FILL", fill=fill)

    def count(self, like: Tensor, source: Tensor, shape: Sequence[Dim]) -> Tensor:
        """How many source elements each place gets, in the dtype of ``like``."""
        ones = self.net.expand(self.net.scalar(1, self.net.cast(source, like.dtype)), source.shape)
        return self.reduce(ones, "sum", shape)


def accumulate(
    net: Network, x: Tensor, targets: Targets, source: Tensor, reduction: str, include_self: bool = True
) -> Tensor:
    """``x`` with the source reduced into the places meant; narrow floats are summed in float32."""
    narrow = x.dtype.is_floating and reduction in ("sum", "prod", "mean")
    inside = DType.FLOAT32 if narrow else numeric(x.dtype)
    data, new = net.cast(x, inside), net.cast(source, inside)
    by = "sum" if reduction == "mean" else reduction
    found = targets.reduce(new, by, x.shape)
    result = net.elementwise(_LAYERS[by], data, found) if include_self else found
    if by != reduction or not include_self or by in ("amax", "amin"):
        count = targets.count(data, new, x.shape)
        none = net.elementwise("EQUAL", count, net.scalar(0, count))
        if reduction == "mean":
            divisor = net.elementwise("SUM" if include_self else "MAX", count, net.scalar(1, count))
            result = net.elementwise("DIV" if inside.is_floating else "FLOOR_DIV", result, divisor)
        result = net.select(none, data, result)
    return net.cast(result, x.dtype)


# --- One position for each element ------------------------------------------------------------------------


def _scattered(what: str, input: TensorType, dim: int, index: TensorType, src: TensorType) -> TensorType:
    """The type rule of the functions whose index has the input's rank."""
    require_index(index, "index")
    require_inside(index, input, wrap_dim(dim, input.rank), what, "the input")
    require_inside(index, src, None, what, "the source")
    require_same_dtype(what, input, src, "src")
    return computed(input)


class Scatter(Function):
    """``input`` with elements of ``src`` (a tensor or a number) at the positions along ``dim``.

    Where two go to one place, which of them stays is not defined, as in PyTorch.
    """

    torch = "torch.scatter"
    examples = (
        "scatter(dim = 1)(float32[N, 8], int64[N, 3], float32[N, 4]) -> float32[N, 8]",
        "scatter(dim = -1)(float16[N, 2, H], int64[1, 2, 5], float16[1, 2, 5]) -> float16[N, 2, H]",
        "scatter(dim = 0)(int64[H, 3], int32[4, 2], int64[]) -> int64[H, 3]",
        "scatter(dim = 1)(bool[N, 8], int64[N, 2], bool[]) -> bool[N, 8]",
        "scatter(dim = 0)(float32[7], int64[4], float32[4]) -> float32[7]",
    )
    order = ("input", "dim", "index", "src")

    dim: int

    def infer(self, input: TensorType, index: TensorType, src: TensorType) -> TensorType:
        if src.rank == 0 and index.rank > 0:
            require_fill("scatter", input, src, "src")
            src = TensorType(input.dtype, index.shape)
        return _scattered("scatter", input, self.dim, index, src)

    def positions(self, input: TensorType, index: TensorType, src: TensorType) -> Mapping[str, Positions]:
        dim = wrap_dim(self.dim, input.rank)
        # Of one number it does not matter which is written last.
        distinct = dim if index.rank and src.rank else None
        return {"index": Positions(size_along(input, dim), distinct=distinct)}

    def lower(self, net: Network, input: Tensor, index: Tensor, src: Tensor) -> Tensor:
        x, places = at_least_vector(net, input), at_least_vector(net, index)
        dim = wrap_dim(self.dim, input.rank)
        source = net.expand(cast(net, src, x.dtype), places.shape) if src.rank == 0 else src
        written = write(net, x, checked(places, x.shape[dim]), _cut(net, source, places.shape), dim)
        return net.reshape(written, input.shape)

    def reference(self, torch: Any, input: Any, index: Any, src: Any) -> Any:
        if src.dim() == 0 and index.dim() > 0:
            src = src.to(input.dtype).expand(index.shape)
        # Not every release of PyTorch takes int32 positions.
        return torch.scatter(input, self.dim, index.long(), src)


class ScatterAdd(Function):
    """``input`` with each element of ``src`` added at its position along ``dim``, however many go to one."""

    torch = "torch.scatter_add"
    examples = (
        "scatter_add(dim = 1)(float32[N, 8], int64[N, 5], float32[N, 5]) -> float32[N, 8]",
        "scatter_add(dim = 0)(float16[H, 3], int64[6, 2], float16[7, 3]) -> float16[H, 3]",
        "scatter_add(dim = 0)(int64[4], int32[9], int64[9]) -> int64[4]",
    )
    order = ("input", "dim", "index", "src")

    dim: int

    @property
    def _reduction(self) -> ScatterReduce:
        return ScatterReduce(self.dim, "sum")

    def infer(self, input: TensorType, index: TensorType, src: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused("scatter_add does not take bool tensors here", "input", help="cast to int32")
        without_overflow(input.dtype, "scatter_add")
        return self._reduction.infer(input, index, src)

    def positions(self, input: TensorType, index: TensorType, src: TensorType) -> Mapping[str, Positions]:
        return self._reduction.positions(input, index, src)

    def lower(self, net: Network, input: Tensor, index: Tensor, src: Tensor) -> Tensor:
        return self._reduction.lower(net, input, index, src)

    def reference(self, torch: Any, input: Any, index: Any, src: Any) -> Any:
        return torch.scatter_add(input, self.dim, index.long(), src)


class ScatterReduce(Function):
    """``input`` with the elements of ``src`` that go to one place along ``dim`` reduced into it."""

    torch = "torch.scatter_reduce"
    examples = (
        'scatter_reduce(dim = 1, reduce = "sum")(float32[N, 8], int64[N, 5], float32[N, 5]) -> float32[N, 8]',
        'scatter_reduce(dim = 0, reduce = "amax")(int64[4, N], int64[6, N], int64[6, N]) -> int64[4, N]',
        'scatter_reduce(dim = 0, reduce = "mean", include_self = false)(float32[H], int64[6], float32[6])'
        " -> float32[H]",
        'scatter_reduce(dim = -1, reduce = "amin", include_self = false)(float16[H], int64[9], float16[9])'
        " -> float16[H]",
        'scatter_reduce(dim = 0, reduce = "prod")(float32[5], int32[3], float32[4]) -> float32[5]',
        'scatter_reduce(dim = 0, reduce = "mean")(int64[5], int64[8], int64[8]) -> int64[5]',
    )
    order = ("input", "dim", "index", "src", "reduce")

    dim: int
    reduce: Reduction
    include_self: bool = True

    def infer(self, input: TensorType, index: TensorType, src: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused("scatter_reduce does not take bool tensors here", "input", help="cast to int32")
        if self.reduce in ("sum", "prod", "mean"):
            without_overflow(input.dtype, "scatter_reduce")
        if input.rank == 0 or index.rank == 0:
            raise Refused("scatter_reduce needs tensors of rank 1 at least", "input")
        return _scattered("scatter_reduce", input, self.dim, index, src)

    def positions(self, input: TensorType, index: TensorType, src: TensorType) -> Mapping[str, Positions]:
        return {"index": Positions(size_along(input, self.dim))}

    def lower(self, net: Network, input: Tensor, index: Tensor, src: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        size = input.shape[dim]
        targets = Targets(net, checked(index, size), dim, size)
        source = _cut(net, src, index.shape)
        return accumulate(net, input, targets, source, self.reduce, self.include_self)

    def reference(self, torch: Any, input: Any, index: Any, src: Any) -> Any:
        return torch.scatter_reduce(
            input, self.dim, index.long(), src, self.reduce, include_self=self.include_self
        )
