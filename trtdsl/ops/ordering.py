"""Extremes with their places: ``max``, ``argmax``, ``topk``, ``sort``.

TensorRT finds them with one layer, TopK, whose indices are int32 and which takes at most 3840 elements.
Among equal elements PyTorch and TensorRT may name different ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import computed, numeric
from trtdsl.ops.base import Function, static
from trtdsl.ops.reduction import reduced_shape
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_elements, wrap_dim
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

TOPK_LIMIT = 3840
"""The most elements that ITopKLayer returns (NvInfer.h)."""


def _check_count(count: int, size: Dim, about: str) -> None:
    if count > TOPK_LIMIT:
        raise Refused(f"TensorRT orders at most {TOPK_LIMIT} elements, not {count}", about)
    text = f"{count} elements cannot be taken out of {size}"
    if count < 0:
        raise Refused(text, about)
    require_at_most(count, size, text, about)


def top(net: Network, x: Tensor, count: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """The ``count`` largest or smallest elements in order, and their places in int64."""
    values, indices = _top(net, net.cast(x, numeric(x.dtype)), count, axis, largest)
    return net.cast(values, x.dtype), net.cast(indices, DType.INT64)


def _top(net: Network, x: Tensor, count: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    if x.rank < 2:
        # ITopKLayer takes no vectors.
        row = net.reshape(x, (1, *(x.shape or (1,))))
        values, indices = _top(net, row, count, 1, largest)
        shape = (count,) if x.rank else ()
        return net.reshape(values, shape), net.reshape(indices, shape)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    operation = net.enum(f"TopKOperation.{'MAX' if largest else 'MIN'}")
    results = (x.type.with_shape(shape), TensorType(DType.INT32, shape))
    values, indices = net.add_multiple("topk", x, operation, count, 1 << axis, results=results)
    return values, indices


class Topk(Function):
    """The ``k`` largest (or smallest) elements along ``dim`` in order, and their places."""

    torch = "torch.topk"
    examples = (
        "topk(3)(float32[N, 8]) -> float32[N, 3], int64[N, 3]",
        "topk(k = 2, dim = 1, largest = false)(float32[N, 8, S]) -> float32[N, 2, S], int64[N, 2, S]",
        "topk(1, dim = 0)(int32[S]) -> int32[1], int64[1]",
    )

    k: int
    dim: int = -1
    largest: bool = True
    sorted: bool = True

    def infer(self, input: TensorType) -> tuple[TensorType, TensorType]:
        if input.dtype.is_bool:
            raise Refused("topk does not take bool tensors", "input")
        axis = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            _check_count(self.k, 1, "k")
            return computed(input), input.with_dtype(DType.INT64)
        _check_count(self.k, input.shape[axis], "k")
        values = computed(input).with_shape((*input.shape[:axis], self.k, *input.shape[axis + 1 :]))
        return values, values.with_dtype(DType.INT64)

    def lower(self, net: Network, input: Tensor) -> tuple[Tensor, Tensor]:
        return top(net, input, self.k, wrap_dim(self.dim, input.rank), self.largest)


class Sort(Function):
    """All elements along ``dim`` in order, and their places; at most 3840 of them."""

    torch = "torch.sort"
    examples = (
        "sort()(float32[N, 8]) -> float32[N, 8], int64[N, 8]",
        "sort(dim = 1, descending = true)(float32[N, 5, S]) -> float32[N, 5, S], int64[N, 5, S]",
    )

    dim: int = -1
    descending: bool = False

    def infer(self, input: TensorType) -> tuple[TensorType, TensorType]:
        if input.dtype.is_bool:
            raise Refused("sort does not take bool tensors on TensorRT", "input", help="cast it")
        self._count(input)
        return computed(input), input.with_dtype(DType.INT64)

    def _count(self, input: TensorType) -> int:
        axis = wrap_dim(self.dim, input.rank)
        count = static(input.shape[axis], "the sorted dimension", "dim") if input.rank else 1
        _check_count(count, count, "dim")
        return count

    def lower(self, net: Network, input: Tensor) -> tuple[Tensor, Tensor]:
        axis = wrap_dim(self.dim, input.rank)
        return top(net, input, self._count(input.type), axis, self.descending)


class Extremum(Function, abstract=True):
    """The extreme element: of all of them, or along ``dim`` together with its places."""

    operation: ClassVar[str] = ""

    dim: int | None = None
    keepdim: bool = False

    def infer(self, input: TensorType) -> TensorType | tuple[TensorType, TensorType]:
        if self.dim is None:
            if self.keepdim:
                raise Refused("keepdim needs a dim", "keepdim")
            require_elements(input, range(input.rank), self.name)
            return computed(input).with_shape(())
        dims = (wrap_dim(self.dim, input.rank),)
        require_elements(input, dims, self.name)
        values = computed(input).with_shape(reduced_shape(input, dims, self.keepdim))
        return values, values.with_dtype(DType.INT64)

    def lower(self, net: Network, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.dim is None:
            return _extreme_of_all(net, input, self.operation)
        axis = wrap_dim(self.dim, input.rank)
        x = net.cast(input, numeric(input.dtype))
        values, indices = top(net, x, 1, axis, self.operation == "MAX")
        shape = net.results[0].shape
        return net.cast(net.reshape(values, shape), input.dtype), net.reshape(indices, shape)

    def reference(self, torch: Any, input: Any) -> Any:
        function = getattr(torch, self.name)
        return function(input) if self.dim is None else tuple(function(input, self.dim, self.keepdim))


def _extreme_of_all(net: Network, x: Tensor, operation: str) -> Tensor:
    inside = net.cast(x, numeric(x.dtype))
    return net.cast(net.reduce(operation, inside, range(x.rank), False) if x.rank else inside, x.dtype)


class Max(Extremum):
    """The largest element; with ``dim`` the largest along it, and their places."""

    torch = "torch.max"
    examples = (
        "max()(float32[N, 8]) -> float32[]",
        "max(dim = 1)(float32[N, 8]) -> float32[N], int64[N]",
        "max(dim = -1, keepdim = true)(int64[N, S]) -> int64[N, 1], int64[N, 1]",
        "max()(int32[]) -> int32[]",
        "max(dim = 0)(float32[]) -> float32[], int64[]",
    )
    operation = "MAX"


class Min(Extremum):
    """The smallest element; with ``dim`` the smallest along it, and their places."""

    torch = "torch.min"
    examples = (
        "min()(float32[N, 8]) -> float32[]",
        "min(dim = 1, keepdim = true)(float32[N, 8, S]) -> float32[N, 1, S], int64[N, 1, S]",
    )
    operation = "MIN"


class ArgExtremum(Function, abstract=True):
    """The place of the extreme element along ``dim``, or among all in order."""

    largest: ClassVar[bool] = True

    dim: int | None = None
    keepdim: bool = False

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused(f"{self.name} does not take bool tensors", "input")
        dims = tuple(range(input.rank)) if self.dim is None else (wrap_dim(self.dim, input.rank),)
        require_elements(input, dims, self.name)
        shape = reduced_shape(computed(input), dims, self.keepdim)
        return TensorType(DType.INT64, shape)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = net.cast(input, numeric(input.dtype))
        x = net.reshape(x, (x.type.size,)) if self.dim is None else x
        axis = 0 if self.dim is None else wrap_dim(self.dim, input.rank)
        operation = "MAX" if self.largest else "MIN"
        if x.rank and not net.takes(f"TopKOperation.{operation}", x.dtype):
            # The first of those that equal the extreme element, 1 among 0: exact for every integer.
            found = net.elementwise("EQUAL", x, net.reduce(operation, x, [axis], True))
            _, indices = top(net, net.cast(found, DType.FLOAT32), 1, axis, True)
        else:
            _, indices = top(net, x, 1, axis, self.largest)
        return net.reshape(indices, net.result.shape)


class Argmax(ArgExtremum):
    """The place of the largest element along ``dim``, or among all elements in order."""

    torch = "torch.argmax"
    examples = (
        "argmax(dim = 1)(float32[N, 10]) -> int64[N]",
        "argmax(dim = 1, keepdim = true)(float32[N, 5, H, W]) -> int64[N, 1, H, W]",
        "argmax()(float32[N, 8]) -> int64[]",
        "argmax(dim = -1)(float32[S]) -> int64[]",
        "argmax(dim = 1)(int64[N, S]) -> int64[N]",
    )


class Argmin(ArgExtremum):
    """The place of the smallest element along ``dim``, or among all elements in order."""

    torch = "torch.argmin"
    examples = (
        "argmin(dim = -1)(float32[N, 10]) -> int64[N]",
        "argmin(keepdim = true)(float32[4, 10]) -> int64[1, 1]",
    )
    largest = False
