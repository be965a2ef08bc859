"""Triangles, diagonals and grids, of sizes that may be known at run time only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trtdsl.ops.arithmetic_layers import less_equal, numeric
from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.positions import count_up, size_tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import type_of, wrap_dim
from trtdsl.ops.shape import Expand, Reshape
from trtdsl.ops.views import Diagonal
from trtdsl.types import Dim, DType, SymbolicDim, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def _rows_and_columns(net: Network, rows: Dim, columns: Dim, offset: Dim = 0) -> tuple[Tensor, Tensor]:
    """The number of each row plus an offset, and of each column, which broadcast to a matrix."""
    down = net.reshape(count_up(net, rows), (rows, 1))
    if offset != 0:
        down = net.elementwise("SUM", down, size_tensor(net, offset, down))
    return down, net.reshape(count_up(net, columns), (1, columns))


class Triangle(Function, abstract=True):
    """A matrix, or each of a batch, with 0 in place of a triangle."""

    keeps_lower: ClassVar[bool] = True

    diagonal: Dim = 0

    def infer(self, input: TensorType) -> TensorType:
        if input.rank < 2:
            raise Refused(f"{self.name} needs a tensor of rank 2 at least, not {input.rank}", "input")
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        down, across = _rows_and_columns(net, input.shape[-2], input.shape[-1], self.diagonal)
        kept = less_equal(net, across, down) if self.keeps_lower else less_equal(net, down, across)
        inside = input.dtype if input.dtype.is_bool else numeric(input.dtype)
        x = net.cast(input, inside)
        return net.cast(net.select(kept, x, net.scalar(0, x)), input.dtype)

    def fold(self, input: Array) -> Array | None:
        function = np.tril if self.keeps_lower else np.triu
        return function(input, self.diagonal) if isinstance(self.diagonal, int) else None


class Tril(Triangle):
    """The elements on the ``diagonal`` and below it; 0 above."""

    torch = "torch.tril"
    examples = (
        "tril()(float32[S, S]) -> float32[S, S]",
        "tril(diagonal = -1)(float16[N, 4, S]) -> float16[N, 4, S]",
        "tril(1)(bool[3, 5]) -> bool[3, 5]",
        "tril(H - 18)(int64[H, W]) -> int64[H, W]",
    )


class Triu(Triangle):
    """The elements on the ``diagonal`` and above it; 0 below."""

    torch = "torch.triu"
    examples = (
        "triu()(float32[S, S]) -> float32[S, S]",
        "triu(diagonal = 1)(float32[N, 4, S]) -> float32[N, 4, S]",
        "triu(-2)(int32[5, 3]) -> int32[5, 3]",
    )
    keeps_lower = False


class TriangleIndices(Function, abstract=True):
    """The places of a triangle's elements, row numbers above column numbers."""

    keeps_lower: ClassVar[bool] = True

    row: int
    col: int
    offset: int = 0

    def array(self) -> Array:
        """The numbers; refused where they are too many or a size is negative."""
        for name in ("row", "col"):
            if not 0 <= getattr(self, name) <= _LARGEST_SIDE:
                raise Refused(f"`{name}` must be from 0 to {_LARGEST_SIDE}", name)
        whole = np.ones((self.row, self.col), bool)
        return np.stack((np.tril if self.keeps_lower else np.triu)(whole, self.offset).nonzero()).astype(
            np.int64
        )

    def infer(self) -> TensorType:
        return type_of(self.array())

    def lower(self, net: Network) -> Tensor:
        return net.constant(self.array())

    def fold(self) -> Array:
        return self.array()


_LARGEST_SIDE = 4096


class TrilIndices(TriangleIndices):
    """Row and column numbers of the elements on the diagonal and below it."""

    torch = "torch.tril_indices"
    examples = ("tril_indices(3, 4)() -> int64[2, 6]", "tril_indices(3, 3, -1)() -> int64[2, 3]")


class TriuIndices(TriangleIndices):
    """Row and column numbers of the elements on the diagonal and above it."""

    torch = "torch.triu_indices"
    examples = ("triu_indices(3, 4)() -> int64[2, 9]", "triu_indices(3, 3, offset = 1)() -> int64[2, 3]")
    keeps_lower = False


class Eye(Function):
    """A matrix with 1 on the diagonal and else 0."""

    torch = "torch.eye"
    examples = (
        "eye(3)() -> float32[3, 3]",
        "eye(2, 4, dtype = int64)() -> int64[2, 4]",
        "eye(S)() -> float32[S, S]",
        "eye(S, 3, dtype = bool)() -> bool[S, 3]",
    )

    n: Dim
    m: Dim | None = None
    dtype: DType | None = None

    def infer(self) -> TensorType:
        sizes = (self.n, self.n if self.m is None else self.m)
        if any(isinstance(size, int) and size < 0 for size in sizes):
            raise Refused("a size cannot be negative", "n")
        return TensorType(self.dtype or DType.FLOAT32, sizes)

    def lower(self, net: Network) -> Tensor:
        down, across = _rows_and_columns(net, *net.result.shape)
        return net.cast(net.elementwise("EQUAL", down, across), net.result.dtype)

    def fold(self) -> Array | None:
        type = self.infer()
        rows, columns = type.shape
        if isinstance(rows, SymbolicDim) or isinstance(columns, SymbolicDim):
            return None
        return np.eye(rows, columns, dtype=type.dtype.numpy)

    def reference(self, torch: Any) -> Any:
        rows, columns = self.infer().shape
        return torch.eye(rows, columns, dtype=self.dtype and getattr(torch, str(self.dtype)))


# --- Diagonals --------------------------------------------------------------------------------------------


def _planes(dim1: int, dim2: int, rank: int) -> tuple[int, int]:
    first, second = wrap_dim(dim1, rank, "dim1"), wrap_dim(dim2, rank, "dim2")
    if first == second:
        raise Refused("the two dimensions of a diagonal must differ", "dim2")
    return first, second


class DiagEmbed(Function):
    """Matrices, in dimensions ``dim1`` and ``dim2`` of the result, with the last dimension as a diagonal."""

    torch = "torch.diag_embed"
    examples = (
        "diag_embed()(float32[N, 3]) -> float32[N, 3, 3]",
        "diag_embed(offset = 1)(int64[S]) -> int64[S + 1, S + 1]",
        "diag_embed(-2, 0, 2)(float16[N, 3]) -> float16[5, N, 5]",
        "diag_embed(0, -1, 0)(bool[2, S]) -> bool[S, 2, S]",
    )

    offset: int = 0
    dim1: int = -2
    dim2: int = -1

    def infer(self, input: TensorType) -> TensorType:
        if input.rank == 0:
            raise Refused("diag_embed needs a tensor of rank 1 at least", "input")
        dims = _planes(self.dim1, self.dim2, input.rank + 1)
        side = input.shape[-1] + abs(self.offset)
        rest = iter(input.shape[:-1])
        return input.with_shape(tuple(side if axis in dims else next(rest) for axis in range(input.rank + 1)))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        inside = input.dtype if input.dtype.is_bool else numeric(input.dtype)
        x = net.cast(input, inside)
        *around, length = x.shape
        side = length + abs(self.offset)
        if self.offset:
            start = (*(0 for _ in around), -max(-self.offset, 0))
            x = net.slice(x, start, (*around, side), mode="FILL", fill=net.filled((), 0, x.dtype))
        down, across = _rows_and_columns(net, side, side, self.offset)
        at_row = net.reshape(x, (*around, side, 1))
        matrix = net.select(net.elementwise("EQUAL", down, across), at_row, net.scalar(0, at_row))
        return net.cast(net.transpose(matrix, self._order(input.rank + 1)), input.dtype)

    def _order(self, rank: int) -> tuple[int, ...]:
        """Which dimension of the matrices at the end each one of the result is."""
        first, second = _planes(self.dim1, self.dim2, rank)
        rest = iter(range(rank - 2))
        return tuple(
            {first: rank - 2, second: rank - 1}.get(axis, -1) if axis in (first, second) else next(rest)
            for axis in range(rank)
        )


class Diag(Composed):
    """The diagonal of a matrix, or a matrix with the vector as its diagonal."""

    torch = "torch.diag"
    examples = (
        "diag()(float32[4, 6]) -> float32[4]",
        "diag(diagonal = -1)(int64[S]) -> int64[S + 1, S + 1]",
        "diag(1)(float16[3, 5]) -> float16[3]",
    )

    diagonal: int = 0

    def compose(self, emit: Emit, input: Part) -> Part:
        if input.rank not in (1, 2):
            raise Refused(f"diag needs a tensor of rank 1 or 2, not {input.rank}", "input")
        return emit(DiagEmbed(self.diagonal) if input.rank == 1 else Diagonal(self.diagonal), input)


# --- Grids ------------------------------------------------------------------------------------------------


class Meshgrid(Composed):
    """Each vector along a dimension of its own, expanded to the grid of all; "xy" exchanges the first two."""

    torch = "torch.meshgrid"
    gives_tuple = True
    examples = (
        'meshgrid(indexing = "ij")([float32[N], float32[3]]) -> float32[N, 3], float32[N, 3]',
        'meshgrid(indexing = "xy")([int64[H], int64[W]]) -> int64[W, H], int64[W, H]',
        "meshgrid()([float16[S], float16[]]) -> float16[S, 1], float16[S, 1]",
    )
    variadic = "tensors"

    indexing: Literal["ij", "xy"] | None = None

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> tuple[Part, ...]:
        sizes: list[Dim] = []
        for tensor in tensors:
            if tensor.rank > 1:
                raise Refused(f"meshgrid needs vectors, not a tensor of rank {tensor.rank}", "tensors")
            if tensor.dtype is not tensors[0].dtype:
                raise Refused(
                    f"meshgrid needs one dtype, but has {tensors[0].dtype} and {tensor.dtype}", "tensors"
                )
            sizes.append(tensor.shape[0] if tensor.rank else 1)
        axes = list(range(len(sizes)))
        if self.indexing == "xy" and len(axes) > 1:
            axes[:2] = (1, 0)
        shape = tuple(sizes[axis] for axis in axes)
        return tuple(
            emit(Expand(shape), emit(Reshape(tuple(sizes[a] if a == number else 1 for a in axes)), tensor))
            for number, tensor in enumerate(tensors)
        )

    def reference(self, torch: Any, tensors: Sequence[Any]) -> Any:
        return torch.meshgrid(*tensors, indexing=self.indexing or "ij")
