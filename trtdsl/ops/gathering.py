"""Elements at positions that a tensor names: ``x[ids]``, ``index_select``, ``gather``, ``take``.

TensorRT gathers along one dimension. Several index tensors become one into the dimensions joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Function
from trtdsl.ops.positions import Positions, checked, from_either_end, from_front, require_index, size_tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, require_elements, wrap_dim, wrap_dims
from trtdsl.types import Dim, DType, TensorType, product

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Index(Function):
    """The elements of ``input`` at the positions in dimensions ``dims`` that ``indices`` name, one for each.

    It is what ``x[i, :, j]`` means: the index tensors broadcast, and their dimensions stand in place of
    ``dims`` where these are neighbours, else in front. A negative position counts from the end; one that is
    out of range raises in PyTorch and gives 0 on a GPU.
    """

    name = "index"
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
        flat, sizes = joined(net, input, dims)
        return net.gather(flat, linear(net, places, sizes), _lead(dims))

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
