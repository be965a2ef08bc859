"""Elements at positions that a tensor names: ``x[ids]``, ``index_select``, ``gather``, ``take``.

TensorRT gathers along one dimension. Several index tensors become one into the dimensions joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.positions import (
    Positions,
    checked,
    from_either_end,
    from_front,
    require_index,
    require_int64,
    size_tensor,
)
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, require_at_most, require_elements, wrap_dim, wrap_dims
from trtdsl.ops.shape import Reshape
from trtdsl.types import Dim, DType, TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Index(Function):
    """The elements of ``input`` at the positions in dimensions ``dims`` that ``indices`` name, one for each.

    It is what ``x[i, :, j]`` means: the index tensors broadcast, and their dimensions stand in place of
    ``dims`` where these are neighbours, else in front. A negative position counts from the end; one that is
    out of range raises in PyTorch and gives 0 on a GPU.
    """

    name = "index"
    moves = True
    examples = (
        "index((0,))(float32[S, 8], [int64[N, 3]]) -> float32[N, 3, 8]",
        "index((1,))(float32[N, S], [int32[]]) -> float32[N]",
        "index((-1,))(float16[N, S], [int64[4]]) -> float16[N, 4]",
        "index((1, 2))(float32[N, S, 6, 2], [int64[5, 1], int64[4]]) -> float32[N, 5, 4, 2]",
        "index((0, 2))(float32[S, N, 6], [int32[3], int64[3]]) -> float32[3, N]",
        "index((0, 1, 2))(bool[S, 2, H], [int64[N], int64[N], int64[]]) -> bool[N]",
    )

    dims: tuple[int, ...]

    def infer(self, input: TensorType, indices: Sequence[TensorType]) -> TensorType:
        dims = self._dims(input.rank, len(indices))
        named: tuple[Dim, ...] = ()
        for index in indices:
            require_index(index, "indices")
            named = broadcast_shapes(named, index.shape)
        if 0 not in named:
            require_elements(input, dims, "indexing")
        lead = _lead(dims)
        kept = [size for axis, size in enumerate(input.shape) if axis not in dims]
        return input.with_shape((*kept[:lead], *named, *kept[lead:]))

    def _dims(self, rank: int, count: int) -> tuple[int, ...]:
        dims = wrap_dims(self.dims, rank, "dims") if self.dims and rank else ()
        if len(dims) != count:
            raise Refused(f"{count} index tensors for {len(dims)} dimensions", "dims")
        if list(dims) != sorted(dims):
            raise Refused("the dimensions must be in order", "dims")
        return dims

    def positions(
        self, input: TensorType, indices: Sequence[TensorType]
    ) -> Mapping[str, tuple[Positions, ...]]:
        dims = self._dims(input.rank, len(indices))
        return {"indices": tuple(from_either_end(input.shape[dim]) for dim in dims)}

    def lower(self, net: Network, input: Tensor, indices: Sequence[Tensor]) -> Tensor:
        dims = self._dims(input.rank, len(indices))
        places = [from_front(net, i, input.shape[dim]) for i, dim in zip(indices, dims, strict=True)]
        if len(places) == 1:
            return net.gather(input, places[0], dims[0])
        flat, sizes = joined(net, net.movable(input), dims)
        return net.cast(net.gather(flat, linear(net, places, sizes), _lead(dims)), input.dtype)

    def fold(self, input: Array, indices: Sequence[Array]) -> Array | None:
        where: list[Any] = [slice(None)] * input.ndim
        for dim, index in zip(self._dims(input.ndim, len(indices)), indices, strict=True):
            if from_either_end(input.shape[dim]).stray(index) is not None:
                return None
            where[dim] = index
        return input[tuple(where)]

    def reference(self, torch: Any, input: Any, indices: Sequence[Any]) -> Any:
        where: list[Any] = [None] * input.dim()
        for dim, index in zip(self._dims(input.dim(), len(indices)), indices, strict=True):
            where[dim] = index
        # As a call: `input[…]` would read an index of rank 0, which tensors without values cannot be.
        return torch.ops.aten.index(input, where)


def _lead(dims: Sequence[int]) -> int:
    """The dimension of the result at which the index tensors' begin."""
    is_run = dims and list(dims) == list(range(dims[0], dims[0] + len(dims)))
    return dims[0] if is_run else 0


def joined(net: Network, x: Tensor, dims: Sequence[int]) -> tuple[Tensor, tuple[Dim, ...]]:
    """The tensor with dimensions joined into one, where they stand or else in front, and their sizes."""
    sizes = tuple(x.shape[dim] for dim in dims)
    lead = _lead(dims)
    rest = [axis for axis in range(x.rank) if axis not in dims]
    turned = net.transpose(x, (*rest[:lead], *dims, *rest[lead:]))
    kept = [x.shape[axis] for axis in rest]
    return net.reshape(turned, (*kept[:lead], product(sizes), *kept[lead:])), sizes


def linear(net: Network, places: Sequence[Tensor], sizes: Sequence[Dim]) -> Tensor:
    """One position in joined dimensions for a position in each, which broadcast."""
    total = net.cast(places[0], DType.INT64)
    for place, size in zip(places[1:], sizes[1:], strict=True):
        total = net.elementwise("PROD", total, size_tensor(net, size, total))
        total = net.elementwise("SUM", total, net.cast(place, DType.INT64))
    return total


class IndexSelect(Function):
    """The slices of dimension ``dim`` that the 1-D integer tensor ``index`` names, in its order."""

    torch = "torch.index_select"
    moves = True
    examples = (
        "index_select(dim = 1)(float32[N, 8], int64[3]) -> float32[N, 3]",
        "index_select(dim = 0)(float16[S, 2], int32[N]) -> float16[N, 2]",
    )
    order = ("input", "dim", "index")

    dim: int

    def infer(self, input: TensorType, index: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank)
        if index.rank > 1:
            raise Refused(f"index_select needs an index of rank 1, not {index.rank}", "index")
        require_index(index, "index")
        count = index.shape[0] if index.rank else 1
        if input.rank == 0:
            if count != 1:
                raise Refused(f"index_select of a single number needs one position, not {count}", "index")
            return input
        if count != 0:
            require_elements(input, (dim,), "index_select")
        return input.with_shape((*input.shape[:dim], count, *input.shape[dim + 1 :]))

    def positions(self, input: TensorType, index: TensorType) -> Mapping[str, Positions]:
        return {"index": Positions(input.shape[wrap_dim(self.dim, input.rank)] if input.rank else 1)}

    def lower(self, net: Network, input: Tensor, index: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            return input
        return net.gather(input, net.to_rank(checked(index, input.shape[dim]), 1), dim)

    def fold(self, input: Array, index: Array) -> Array | None:
        dim = wrap_dim(self.dim, input.ndim)
        if not input.ndim or Positions(input.shape[dim]).stray(index) is not None:
            return None
        return np.take(input, index.reshape(-1), axis=dim)


# --- One position for each element ------------------------------------------------------------------------


def along(net: Network, x: Tensor, index: Tensor, dim: int) -> Tensor:
    """``x.gather(dim, index)``: both of one rank, at least 1, the index nowhere larger but along ``dim``."""
    sizes = tuple(x.shape[axis] if axis == dim else size for axis, size in enumerate(index.shape))
    cut = x if sizes == x.shape else net.slice(x, (0,) * x.rank, sizes)
    return net.gather_elements(cut, index, dim)


def require_inside(index: TensorType, input: TensorType, dim: int | None, what: str, name: str) -> None:
    """Refuse an index of another rank, or larger than the input along a dimension other than ``dim``."""
    if max(index.rank, 1) != max(input.rank, 1):
        raise Refused(f"{what} needs an index of the rank of {name}: {index} for {input}", "index")
    for axis, (size, limit) in enumerate(zip(index.shape, input.shape, strict=False)):
        if axis != dim:
            text = f"the index of {what} is larger than {name} along dimension {axis}: {index} for {input}"
            require_at_most(size, limit, text, "index")


def size_along(x: TensorType, dim: int) -> Dim:
    """The size of a dimension, 1 of what has none."""
    return x.shape[wrap_dim(dim, x.rank)] if x.rank else 1


def at_least_vector(net: Network, x: Tensor) -> Tensor:
    """A tensor of rank 0 with one dimension."""
    return net.to_rank(x, max(x.rank, 1))


class Gather(Function):
    """``input[…, index[…, k, …], …]``: for each element of the index the one at its position along ``dim``.

    A position that is out of range raises in PyTorch and gives 0 on a GPU.
    """

    torch = "torch.gather"
    moves = True
    examples = (
        "gather(dim = 1)(float32[N, 8], int64[N, 3]) -> float32[N, 3]",
        "gather(dim = -1)(float16[N, 4, S], int64[1, 2, 7]) -> float16[1, 2, 7]",
        "gather(dim = 0)(int32[S], int32[9]) -> int32[9]",
        "gather(dim = 2)(bool[N, 3, H], int64[N, 3, 1]) -> bool[N, 3, 1]",
        "gather(dim = 0)(float32[], int64[]) -> float32[]",
    )
    order = ("input", "dim", "index")
    ignored = ("sparse_grad",)

    dim: int

    def infer(self, input: TensorType, index: TensorType) -> TensorType:
        require_index(index, "index")
        dim = wrap_dim(self.dim, input.rank)
        require_inside(index, input, dim, "gather", "the input")
        if 0 not in index.shape:
            require_elements(input, (dim,), "gather")
        return input.with_shape(index.shape)

    def positions(self, input: TensorType, index: TensorType) -> Mapping[str, Positions]:
        return {"index": Positions(size_along(input, self.dim))}

    def lower(self, net: Network, input: Tensor, index: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        x, places = at_least_vector(net, input), at_least_vector(net, index)
        return net.reshape(along(net, x, checked(places, x.shape[dim]), dim), index.shape)

    def reference(self, torch: Any, input: Any, index: Any) -> Any:
        # Not every release of PyTorch takes int32 positions.
        return torch.gather(input, self.dim, index.long())


class TakeAlongDim(Function):
    """Like ``gather``, with broadcasting; without ``dim`` of the flat input."""

    torch = "torch.take_along_dim"
    moves = True
    examples = (
        "take_along_dim(dim = 1)(float32[N, 8], int64[N, 3]) -> float32[N, 3]",
        "take_along_dim(dim = -1)(float16[N, 1, S], int64[1, 4, 2]) -> float16[N, 4, 2]",
        "take_along_dim()(float32[N, 3], int64[2, 2]) -> float32[4]",
        "take_along_dim(dim = 1)(int32[2, S, 3], int64[2, 1, 1]) -> int32[2, 1, 3]",
    )
    order = ("input", "indices", "dim")

    dim: int | None = None

    def infer(self, input: TensorType, indices: TensorType) -> TensorType:
        require_int64(indices, "take_along_dim", "indices")
        if self.dim is None:
            return input.with_shape((indices.size,))
        if input.rank != indices.rank or input.rank == 0:
            raise Refused(f"take_along_dim needs two tensors of one rank: {input} and {indices}", "indices")
        dim = wrap_dim(self.dim, input.rank)
        require_elements(input, (dim,), "take_along_dim")
        return input.with_shape(self._shapes(input, indices, dim)[1])

    def _shapes(
        self, input: Tensor | TensorType, indices: Tensor | TensorType, dim: int
    ) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
        """The shapes to which both are expanded."""
        around = (*indices.shape[:dim], 1, *indices.shape[dim + 1 :])
        rest = broadcast_shapes((*input.shape[:dim], 1, *input.shape[dim + 1 :]), around)
        given, taken = input.shape[dim], indices.shape[dim]
        return (*rest[:dim], given, *rest[dim + 1 :]), (*rest[:dim], taken, *rest[dim + 1 :])

    def positions(self, input: TensorType, indices: TensorType) -> Mapping[str, Positions]:
        return {"indices": Positions(input.size if self.dim is None else size_along(input, self.dim))}

    def lower(self, net: Network, input: Tensor, indices: Tensor) -> Tensor:
        if self.dim is None:
            flat = net.reshape(input, (input.type.size,))
            places = net.reshape(checked(indices, input.type.size), net.result.shape)
            return net.gather(flat, places, 0)
        dim = wrap_dim(self.dim, input.rank)
        shapes = self._shapes(input, indices, dim)
        # Releases of PyTorch differ in whether they count from the end.
        places = from_front(net, indices, input.shape[dim])
        return along(net, net.expand(input, shapes[0]), net.expand(places, shapes[1]), dim)


class Take(Composed):
    """The elements at positions of the flat input, in the shape of the index."""

    torch = "torch.take"
    examples = (
        "take()(float32[N, 8], int64[3]) -> float32[3]",
        "take()(int32[4], int64[N, 2]) -> int32[N, 2]",
        "take()(float16[], int64[]) -> float16[]",
    )

    def compose(self, emit: Emit, input: Part, index: Part) -> Part:
        if index.dtype is not DType.INT64:
            raise Refused(f"take needs an int64 index, not {index.dtype}", "index")
        return emit(Index((0,)), emit(Reshape((-1,)), input), [index])

    def positions(self, input: TensorType, index: TensorType) -> Mapping[str, Positions]:
        return {"index": from_either_end(input.size)}
