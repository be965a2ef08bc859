"""Slices written, or added, at positions: ``index_add``, ``index_copy``, ``index_fill``, ``index_put``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trtdsl.ops.arithmetic_layers import cast, computed, not_equal, numeric, scaled, without_overflow
from trtdsl.ops.base import Function
from trtdsl.ops.gathering import joined, linear, size_along
from trtdsl.ops.pointwise import require_factor
from trtdsl.ops.positions import Positions, checked, from_either_end, from_front, require_index, require_int64
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, same_dim, wrap_dim
from trtdsl.ops.scattering import Targets, accumulate, require_fill, require_same_dtype, write
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _require_slices(what: str, input: TensorType, dim: int, index: TensorType, source: TensorType) -> None:
    """Refuse a source that is not one slice of the input's shape for each position of a 1-D index."""
    if index.rank != 1 or input.rank == 0:
        raise Refused(f"{what} needs an index of rank 1 and an input of rank 1 at least", "index")
    wanted = input.with_shape((*input.shape[:dim], index.shape[0], *input.shape[dim + 1 :]))
    fits = wanted.rank == source.rank and all(
        same_dim(a, b, what, "source") for a, b in zip(wanted.shape, source.shape, strict=True)
    )
    if not fits:
        raise Refused(f"{what} needs a source of shape {wanted}, not {source}", "source")


class IndexAdd(Function):
    """``input`` with the slices of ``source`` times ``alpha`` added at the positions ``index`` of ``dim``."""

    torch = "torch.index_add"
    examples = (
        "index_add(dim = 0)(float32[4, N], int64[6], float32[6, N]) -> float32[4, N]",
        "index_add(dim = 1, alpha = 2)(int64[N, 5], int32[S], int64[N, S]) -> int64[N, 5]",
        "index_add(dim = -1, alpha = 0.5)(float16[2, H], int64[9], float16[2, 9]) -> float16[2, H]",
    )
    order = ("input", "dim", "index", "source")

    dim: int
    alpha: int | float = 1

    def infer(self, input: TensorType, index: TensorType, source: TensorType) -> TensorType:
        require_index(index, "index")
        if input.dtype.is_bool:
            raise Refused("index_add does not take bool tensors here", "input", help="cast to int32")
        _require_slices("index_add", input, wrap_dim(self.dim, input.rank), index, source)
        require_same_dtype("index_add", input, source, "source")
        require_factor(self.alpha, without_overflow(input.dtype, "index_add"), "alpha")
        return computed(input)

    def positions(self, input: TensorType, index: TensorType, source: TensorType) -> Mapping[str, Positions]:
        return {"index": Positions(size_along(input, self.dim))}

    def lower(self, net: Network, input: Tensor, index: Tensor, source: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        return add_slices(net, input, index, scaled(net, source, self.alpha), dim)


def add_slices(net: Network, x: Tensor, index: Tensor, source: Tensor, dim: int) -> Tensor:
    """``x`` with each slice of the source added at its position along ``dim``."""
    size = x.shape[dim]
    shape = (*(1,) * dim, index.shape[0], *(1,) * (x.rank - dim - 1))
    targets = Targets(net, net.reshape(checked(index, size), shape), dim, size)
    return accumulate(net, x, targets, source, "sum")


class IndexCopy(Function):
    """``input`` with the slices of ``source`` at the positions of ``index`` in ``dim``, which must differ."""

    torch = "torch.index_copy"
    examples = (
        "index_copy(dim = 0)(float32[6, N], int64[4], float32[4, N]) -> float32[6, N]",
        "index_copy(dim = 1)(int32[N, H], int64[5], int32[N, 5]) -> int32[N, H]",
        "index_copy(dim = 0)(bool[7], int64[3], bool[3]) -> bool[7]",
    )
    order = ("input", "dim", "index", "source")

    dim: int

    def infer(self, input: TensorType, index: TensorType, source: TensorType) -> TensorType:
        require_int64(index, "index_copy", "index")
        _require_slices("index_copy", input, wrap_dim(self.dim, input.rank), index, source)
        require_same_dtype("index_copy", input, source, "source")
        return computed(input)

    def positions(self, input: TensorType, index: TensorType, source: TensorType) -> Mapping[str, Positions]:
        return {"index": Positions(size_along(input, self.dim), distinct=0)}

    def lower(self, net: Network, input: Tensor, index: Tensor, source: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        shape = (*(1,) * dim, index.shape[0], *(1,) * (input.rank - dim - 1))
        places = net.reshape(checked(index, input.shape[dim]), shape)
        return write(net, input, net.expand(places, source.shape), source, dim)


class IndexFill(Function):
    """``input`` with ``value``, a single number, in the slices of ``dim`` that ``index`` names."""

    torch = "torch.index_fill"
    examples = (
        "index_fill(dim = 1)(float32[N, 8], int64[3], float32[]) -> float32[N, 8]",
        "index_fill(dim = 0)(int32[S, 2], int64[4], int64[]) -> int32[S, 2]",
        "index_fill(dim = -1)(bool[N, 2, H], int64[2], bool[]) -> bool[N, 2, H]",
    )
    order = ("input", "dim", "index", "value")

    dim: int

    def infer(self, input: TensorType, index: TensorType, value: TensorType) -> TensorType:
        require_int64(index, "index_fill", "index")
        if index.rank != 1 or input.rank == 0:
            raise Refused("index_fill needs an index of rank 1 and an input of rank 1 at least", "index")
        wrap_dim(self.dim, input.rank)
        if value.rank != 0:
            raise Refused(f"value must be a single number, not {value}", "value", help="use `index_copy`")
        require_fill("index_fill", input, value, "value")
        return computed(input)

    def positions(self, input: TensorType, index: TensorType, value: TensorType) -> Mapping[str, Positions]:
        return {"index": from_either_end(size_along(input, self.dim))}

    def lower(self, net: Network, input: Tensor, index: Tensor, value: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        size = input.shape[dim]
        targets = Targets(net, from_front(net, index, size), 0, size)
        hits = net.reduce("MAX", net.cast(targets.hits, DType.INT32), [1], False)
        filled = net.reshape(
            not_equal(net, hits, net.scalar(0, hits)), (*(1,) * dim, size, *(1,) * (input.rank - dim - 1))
        )
        inside = input.dtype if input.dtype.is_bool else numeric(input.dtype)
        chosen = net.select(filled, net.cast(cast(net, value, input.dtype), inside), net.cast(input, inside))
        return net.cast(chosen, input.dtype)


class IndexPut(Function):
    """``input`` with ``values`` at the positions that ``indices`` name in the first dimensions.

    With ``accumulate`` they are added, else no two may go to one place. A single bool tensor is a mask.
    """

    torch = "torch.index_put"
    examples = (
        "index_put()(float32[S, 8], [int64[2]], float32[2, 8]) -> float32[S, 8]",
        "index_put()(float32[S, 8, N], [int64[2], int64[2]], float32[]) -> float32[S, 8, N]",
        "index_put()(int64[9], [int32[3]], int64[]) -> int64[9]",
        "index_put()(float32[N, 8], [bool[N, 8]], float32[]) -> float32[N, 8]",
        "index_put(accumulate = true)(float32[S, 3], [int64[5], int64[5]], float32[5]) -> float32[S, 3]",
        "index_put(true)(float16[4, N], [int32[2, 5]], float16[N]) -> float16[4, N]",
    )

    accumulate: bool = False

    def infer(self, input: TensorType, indices: Sequence[TensorType], values: TensorType) -> TensorType:
        require_same_dtype("index_put", input, values, "values")
        if _is_mask(indices):
            return self._masked(input, indices[0], values)
        if len(indices) > input.rank:
            raise Refused(f"{len(indices)} index tensors for a tensor of rank {input.rank}", "indices")
        shape = self._named(indices)
        if not shape:
            raise Refused("index_put needs an index tensor of rank 1 at least", "indices")
        wanted = (*shape, *input.shape[len(indices) :])
        if values.rank > len(wanted) or broadcast_shapes(values.shape, wanted) != wanted:
            raise Refused(f"{values} does not broadcast to [{', '.join(map(str, wanted))}]", "values")
        if self.accumulate:
            without_overflow(input.dtype, "index_put")
            if input.dtype.is_bool:
                raise Refused(
                    "index_put with `accumulate` does not take bool tensors here",
                    "input",
                    help="cast to int32",
                )
        return computed(input)

    def _masked(self, input: TensorType, mask: TensorType, values: TensorType) -> TensorType:
        fits = mask.rank <= input.rank and all(
            same_dim(a, b, "a mask", "indices") for a, b in zip(mask.shape, input.shape, strict=False)
        )
        if not fits:
            raise Refused(f"the mask {mask} does not cover {input}", "indices")
        rest = input.shape[mask.rank :]
        if self.accumulate or values.rank > len(rest) or broadcast_shapes(values.shape, rest) != rest:
            text = (
                "with a mask one value goes to all elements that it keeps, whose number depends on its values"
            )
            raise Refused(text, "values", help="write `where(mask, values, x)`")
        return computed(input)

    def _named(self, indices: Sequence[Tensor] | Sequence[TensorType]) -> tuple[Dim, ...]:
        shape: tuple[Dim, ...] = ()
        for index in indices:
            if isinstance(index, TensorType):
                require_index(index, "indices")
            shape = broadcast_shapes(shape, index.shape)
        return shape

    def positions(
        self, input: TensorType, indices: Sequence[TensorType], values: TensorType
    ) -> Mapping[str, tuple[Positions, ...]]:
        if _is_mask(indices):
            return {}
        # Distinct in the first alone is more than PyTorch asks for, and enough; of one number none need be.
        first, *rest = input.shape[: len(indices)]
        anywhere = self.accumulate or not indices[0].rank or not values.rank
        distinct = None if anywhere else indices[0].rank - 1
        each = (Positions(first, distinct=distinct), *map(from_either_end, rest))
        return {"indices": each}

    def lower(self, net: Network, input: Tensor, indices: Sequence[Tensor], values: Tensor) -> Tensor:
        inside = input.dtype if indices[0].dtype.is_bool else numeric(input.dtype)
        x, new = net.cast(input, inside), net.cast(values, inside)
        if indices[0].dtype.is_bool:
            rest = (1,) * (input.rank - indices[0].rank)
            mask = net.reshape(indices[0], (*indices[0].shape, *rest))
            numbers = numeric(input.dtype) if not input.dtype.is_bool else input.dtype
            return net.cast(net.select(mask, net.cast(new, numbers), net.cast(x, numbers)), input.dtype)
        shape, count = self._named(indices), len(indices)
        places = [from_front(net, i, size) for i, size in zip(indices, x.shape, strict=False)]
        new = net.expand(new, (*shape, *x.shape[count:]))
        if self.accumulate:
            return self._added(net, input, places, new)
        columns = [net.expand(net.cast(place, DType.INT64), shape) for place in places]
        stacked = net.concat([net.reshape(column, (*shape, 1)) for column in columns], len(shape))
        data = net.enum("ScatterMode.ND")
        return net.cast(net.add("scatter", x, stacked, new, data, result=x.type), input.dtype)

    def _added(self, net: Network, x: Tensor, places: Sequence[Tensor], new: Tensor) -> Tensor:
        count = len(places)
        flat, sizes = joined(net, x, range(count))
        index = linear(net, places, sizes)
        named = self._named(places)
        total = index.type.with_shape(named).size
        index = net.reshape(net.expand(index, named), (total,))
        source = net.reshape(new, (total, *x.shape[count:]))
        return net.reshape(add_slices(net, flat, index, source, 0), x.shape)


def _is_mask(indices: Sequence[TensorType]) -> bool:
    return len(indices) == 1 and indices[0].dtype.is_bool
