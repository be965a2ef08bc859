"""Parts and shapes that PyTorch has names of their own for: narrow, diagonal, broadcast_to, atleast_2d."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.indexing import Slice, within
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, type_of, wrap_dim
from trtdsl.ops.shape import Expand, Reshape, Unsqueeze
from trtdsl.types import Dim, TensorType, equal, maximum, minimum, surely
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Narrow(Composed):
    """``length`` elements of dimension ``dim`` from ``start``, which may count from the end."""

    torch = "torch.narrow"
    moves = True
    examples = (
        "narrow(1, 2, 3)(float32[N, 8]) -> float32[N, 3]",
        "narrow(-1, -2, 2)(float16[N, 3, H]) -> float16[N, 3, 2]",
        "narrow(0, 1, S - 1)(int64[S, 2]) -> int64[S - 1, 2]",
        "narrow(1, 8, 0)(float32[N, 8]) -> float32[N, 0]",
    )

    dim: int
    start: Dim
    length: Dim

    def compose(self, emit: Emit, input: Part) -> Part:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            raise Refused("a tensor of rank 0 has nothing to narrow", "input")
        size = input.shape[dim]
        # Behind the last element there is room for none.
        start = size if surely(equal, self.start, size) else within(self.start, size, "start")
        require_at_most(0, self.length, "a length cannot be negative", "length")
        text = f"{self.length} elements from {start} on reach beyond a dimension of {size}"
        require_at_most(start + self.length, size, text, "length")
        return emit(Slice(dim, start, start + self.length), input)


class Diagonal(Function):
    """The elements placed ``offset`` further in ``dim2`` than in ``dim1``, as the last dimension."""

    torch = "torch.diagonal"
    moves = True
    examples = (
        "diagonal(float32[4, 6]) -> float32[4]",
        "diagonal(1)(float32[N, 8]) -> float32[N]",
        "diagonal(-1, 1, 2)(float16[N, S, S]) -> float16[N, S - 1]",
        "diagonal(dim1 = -1, dim2 = 0)(int64[3, N, 3]) -> int64[N, 3]",
        "diagonal(offset = 2)(bool[5, 4]) -> bool[2]",
    )

    offset: int = 0
    dim1: int = 0
    dim2: int = 1

    def infer(self, input: TensorType) -> TensorType:
        rows, columns = self._plane(input.rank)
        rest = tuple(size for axis, size in enumerate(input.shape) if axis not in (rows, columns))
        return input.with_shape((*rest, self._length(input.shape[rows], input.shape[columns])))

    def _plane(self, rank: int) -> tuple[int, int]:
        rows, columns = wrap_dim(self.dim1, rank, "dim1"), wrap_dim(self.dim2, rank, "dim2")
        if rows == columns:
            raise Refused("a diagonal runs through two dimensions, not one", "dim2")
        return rows, columns

    def _length(self, rows: Dim, columns: Dim) -> Dim:
        return maximum(minimum(rows - max(-self.offset, 0), columns - max(self.offset, 0)), 0)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        first, second = self._plane(input.rank)
        rest = [axis for axis in range(input.rank) if axis not in (first, second)]
        x = net.transpose(input, (*rest, first, second))
        *batch, rows, columns = x.shape
        length, down, right = net.result.shape[-1], max(-self.offset, 0), max(self.offset, 0)
        if length == 0:
            return net.reshape(net.slice(x, (0,) * x.rank, (*batch, 0, 1)), net.result.shape)
        flat = net.reshape(x, (*batch, rows * columns))
        if isinstance(columns, int):
            first_place = (*(0 for _ in batch), down * columns + right)
            return net.slice(flat, first_place, net.result.shape, (*(1 for _ in batch), columns + 1))
        # In rows that are one longer the diagonal is a column.
        count = length * (columns + 1)
        start = (*(0 for _ in batch), down * columns)
        longer = net.slice(flat, start, (*batch, count), mode="FILL")
        rows_of_it = net.reshape(longer, (*batch, length, columns + 1))
        column = net.slice(rows_of_it, (*(0 for _ in batch), 0, right), (*batch, length, 1))
        return net.reshape(column, net.result.shape)

    def fold(self, input: Array) -> Array:
        self.infer(type_of(input))
        return np.diagonal(input, self.offset, self.dim1, self.dim2)


class BroadcastTo(Composed):
    """Dimensions of size 1 repeated to the sizes given; -1 keeps a size, new dimensions stand in front."""

    torch = "torch.broadcast_to"
    moves = True
    examples = (
        "broadcast_to((N, 4, 3))(float32[N, 1, 3]) -> float32[N, 4, 3]",
        "broadcast_to((2, -1))(int64[3]) -> int64[2, 3]",
    )

    size: tuple[Dim, ...]

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Expand(self.size), input)


class ExpandAs(Composed):
    """Dimensions of size 1 repeated to those of ``other``."""

    torch = "torch.Tensor.expand_as"
    moves = True
    examples = (
        "expand_as(float32[N, 1], float32[N, 8]) -> float32[N, 8]",
        "expand_as(float16[], int64[2, S]) -> float16[2, S]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(Expand(other.shape), input)


class ReshapeAs(Composed):
    """The elements in order in the shape of ``other``."""

    torch = "torch.Tensor.reshape_as"
    moves = True
    examples = (
        "reshape_as(float32[N, 8], float32[N, 2, 4]) -> float32[N, 2, 4]",
        "reshape_as(int64[N, S], float32[N * S]) -> int64[N * S]",
    )

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(Reshape(other.shape), input)


class ViewAs(ReshapeAs):
    """The elements in order in the shape of ``other``."""

    torch = "torch.Tensor.view_as"
    examples = ("view_as(float32[N, 8], bool[N, 2, 4]) -> float32[N, 2, 4]",)


def at_least(emit: Emit, tensor: Part, rank: int) -> Part:
    """The tensor with ``rank`` dimensions or more, as ``torch.atleast_3d`` and its kind insert them."""
    if tensor.rank == 0:
        tensor = emit(Unsqueeze(0), tensor)
    if rank > 1 and tensor.rank == 1:
        tensor = emit(Unsqueeze(0), tensor)
    return emit(Unsqueeze(2), tensor) if rank > 2 and tensor.rank == 2 else tensor


class AtLeast1d(Composed):
    """The tensor, one of rank 0 with a dimension of size 1."""

    torch = "torch.atleast_1d"
    examples = (
        "atleast_1d(float32[]) -> float32[1]",
        "atleast_1d(float32[N, 8]) -> float32[N, 8]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        return at_least(emit, input, 1)


class AtLeast2d(Composed):
    """The tensor, a vector as the row of a matrix."""

    torch = "torch.atleast_2d"
    examples = (
        "atleast_2d(int64[S]) -> int64[1, S]",
        "atleast_2d(float32[]) -> float32[1, 1]",
        "atleast_2d(float32[N, 8, 2]) -> float32[N, 8, 2]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        return at_least(emit, input, 2)


class AtLeast3d(Composed):
    """The tensor, a matrix as one of depth 1."""

    torch = "torch.atleast_3d"
    examples = (
        "atleast_3d(float32[N, 8]) -> float32[N, 8, 1]",
        "atleast_3d(bool[S]) -> bool[1, S, 1]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        return at_least(emit, input, 3)
