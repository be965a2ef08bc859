"""Tensors joined and taken apart: cat, stack, chunk, split, unbind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from trtdsl.ops.base import Function, static
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import promote, require_at_most, same_dim, type_of, wrap_dim
from trtdsl.types import Dim, TensorType, bounds
from trtdsl.types.arrays import np


def _shapes(tensors: Sequence[TensorType]) -> str:
    shapes = [f"[{', '.join(map(str, t.shape))}]" for t in tensors]
    return f"{', '.join(shapes[:-1])} and {shapes[-1]}"


class Cat(Function):
    """The tensors joined along dimension ``dim``; all other sizes must agree."""

    torch = "torch.cat"
    moves = True
    takes_quantised = True
    examples = (
        "cat(dim = 1)([float32[N, 2], float32[N, 3]]) -> float32[N, 5]",
        "cat()([float32[N, 2], float32[3, 2]]) -> float32[N + 3, 2]",
        "cat(dim = -1)([int32[2, 1], float32[2, 3]]) -> float32[2, 4]",
        "cat(dim = 1)([float32[N, 2, H]]) -> float32[N, 2, H]",
    )

    dim: int = 0

    def infer(self, tensors: Sequence[TensorType]) -> TensorType:
        first = tensors[0]
        if any(t.rank != first.rank for t in tensors):
            raise Refused(f"cat needs tensors of one rank, not {_shapes(tensors)}", "tensors")
        if first.rank == 0:
            raise Refused("cat needs tensors of rank 1 at least; `stack` joins scalars", "tensors")
        dim = wrap_dim(self.dim, first.rank)
        what = f"cat along dimension {dim} of {_shapes(tensors)}"
        for axis in range(first.rank):
            for other in tensors[1:]:
                if axis != dim and not same_dim(first.shape[axis], other.shape[axis], what, "tensors"):
                    raise Refused(f"{what}: dimension {axis} differs", "tensors")
        total: Dim = sum((t.shape[dim] for t in tensors[1:]), first.shape[dim])
        shape = (*first.shape[:dim], total, *first.shape[dim + 1 :])
        return TensorType(promote(*tensors), shape)

    def lower(self, net: Network, tensors: Sequence[Tensor]) -> Tensor:
        cast = tuple(net.cast(tensor, net.result.dtype) for tensor in tensors)
        dim = wrap_dim(self.dim, cast[0].rank)
        if not net.habits.copies_parts:
            return net.concat(cast, dim)
        joined: dict[tuple[Tensor, ...], Tensor] = net.once(("joined", dim), dict)
        if cast not in joined:
            joined[cast] = net.concat(_behind_joined(cast, joined), dim)
        return joined[cast]

    def is_identity(self, *tensors: TensorType) -> bool:
        return len(tensors) == 1

    def fold(self, tensors: Sequence[Array]) -> Array:
        dtype = self.infer([type_of(array) for array in tensors]).dtype
        return np.concatenate([array.astype(dtype.numpy) for array in tensors], self.dim)


def _behind_joined(
    tensors: tuple[Tensor, ...], joined: Mapping[tuple[Tensor, ...], Tensor]
) -> Sequence[Tensor]:
    """Tensors to join, of which another layer may have joined the first ones already."""
    for count in range(len(tensors) - 1, 1, -1):
        if first := joined.get(tensors[:count]):
            return (first, *tensors[count:])
    return tensors


class Stack(Function):
    """The tensors, all of one shape, joined along a new dimension ``dim``."""

    torch = "torch.stack"
    moves = True
    examples = (
        "stack()([float32[N, 2], float32[N, 2]]) -> float32[2, N, 2]",
        "stack(dim = -1)([float32[N, 2], float32[N, 2], float32[N, 2]]) -> float32[N, 2, 3]",
        "stack()([float32[], float32[]]) -> float32[2]",
    )

    dim: int = 0

    def infer(self, tensors: Sequence[TensorType]) -> TensorType:
        first = tensors[0]
        for other in tensors[1:]:
            agree = other.rank == first.rank and all(
                same_dim(a, b, "stack", "tensors") for a, b in zip(first.shape, other.shape, strict=True)
            )
            if not agree:
                raise Refused(f"stack needs tensors of one shape, not {_shapes(tensors)}", "tensors")
        dim = wrap_dim(self.dim, first.rank + 1)
        return TensorType(promote(*tensors), (*first.shape[:dim], len(tensors), *first.shape[dim:]))

    def lower(self, net: Network, tensors: Sequence[Tensor]) -> Tensor:
        dim = wrap_dim(self.dim, tensors[0].rank + 1)
        cast = [net.cast(tensor, net.result.dtype) for tensor in tensors]
        return net.concat([net.reshape(t, (*t.shape[:dim], 1, *t.shape[dim:])) for t in cast], dim)

    def fold(self, tensors: Sequence[Array]) -> Array:
        dtype = promote(*map(type_of, tensors))
        return np.stack([array.astype(dtype.numpy) for array in tensors], self.dim)


MOST_RESULTS = 10_000


def require_few(count: int, what: str) -> None:
    """Refuse more results than a statement may have."""
    if count > MOST_RESULTS:
        raise Refused(f"{what} gives at most {MOST_RESULTS} tensors, not {count}", "input")


class _Splitting(Function, abstract=True):
    """A function with several results, consecutive pieces of one dimension."""

    moves = True
    gives_tuple = True

    def pieces(self, input: TensorType) -> tuple[int, Sequence[Dim]]:
        """The dimension and the pieces' sizes."""
        raise TypeError(f"{type(self).__name__} states no pieces")

    def infer(self, input: TensorType) -> tuple[TensorType, ...]:
        dim, sizes = self.pieces(input)
        return tuple(input.with_shape((*input.shape[:dim], size, *input.shape[dim + 1 :])) for size in sizes)

    def lower(self, net: Network, input: Tensor) -> tuple[Tensor, ...]:
        dim, sizes = self.pieces(input.type)
        starts: Iterable[Dim] = accumulate(sizes[:-1], initial=0)
        places = [tuple(start if axis == dim else 0 for axis in range(input.rank)) for start in starts]
        types = net.results
        return tuple(net.slice(input, place, type.shape) for place, type in zip(places, types, strict=True))

    def is_identity(self, input: TensorType) -> bool:
        return len(self.pieces(input)[1]) == 1

    def fold(self, input: Array) -> tuple[Array, ...] | None:
        dim, sizes = self.pieces(type_of(input))
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) != len(sizes):
            return None
        return tuple(np.split(input, list(accumulate(known[:-1])), dim))


def _divided(input: TensorType, dim: int, what: str) -> tuple[int, Dim]:
    """The dimension from the front and its size."""
    if input.rank == 0:
        raise Refused(f"{what} needs a tensor of rank 1 at least", "input")
    dim = wrap_dim(dim, input.rank)
    return dim, input.shape[dim]


class Chunk(_Splitting):
    """At most ``chunks`` pieces of dimension ``dim``, all of size ceil(size / chunks) but the last."""

    torch = "torch.chunk"
    examples = (
        "chunk(2, dim = 1)(float32[N, 6, H]) -> (float32[N, 3, H], float32[N, 3, H])",
        "chunk(4)(float32[9]) -> (float32[3], float32[3], float32[3])",
        "chunk(2)(float32[2 * S + 1]) -> (float32[S + 1], float32[S])",
    )

    chunks: int
    dim: int = 0

    def pieces(self, input: TensorType) -> tuple[int, Sequence[Dim]]:
        dim, size = _divided(input, self.dim, "chunk")
        if self.chunks < 1:
            raise Refused(f"chunk into {self.chunks} pieces", "chunks")
        if isinstance(size, int):
            return dim, _equal_pieces(size, -(-size // self.chunks), "chunk")
        sizes = _and_the_rest(size, -(-size // self.chunks), self.chunks, "chunk")
        require_at_most(1, sizes[-1], f"a dimension of {size} is not in {self.chunks} pieces", "dim")
        return dim, sizes


class Split(_Splitting):
    """Pieces of dimension ``dim``: all of one size but the last, or of the sizes given."""

    torch = "torch.split"
    examples = (
        "split(2, dim = 1)(float32[N, 5]) -> (float32[N, 2], float32[N, 2], float32[N, 1])",
        "split((1, 4), dim = 1)(float32[N, 5]) -> (float32[N, 1], float32[N, 4])",
        "split((N, 2))(float32[N + 2, 3]) -> (float32[N, 3], float32[2, 3])",
        "split(N)(float32[2 * N, 3]) -> (float32[N, 3], float32[N, 3])",
    )

    split_size_or_sections: Dim | tuple[Dim, ...]
    dim: int = 0

    def pieces(self, input: TensorType) -> tuple[int, Sequence[Dim]]:
        dim, size = _divided(input, self.dim, "split")
        sections = self.split_size_or_sections
        if not isinstance(sections, tuple):
            return dim, _pieces_of(sections, size)
        for piece in sections:
            require_at_most(0, piece, f"split needs pieces of at least 0 elements, not {piece}", _SECTIONS)
        total: Dim = sum(sections)
        pieces = f"pieces [{', '.join(map(str, sections))}]"
        if not same_dim(total, size, f"whether {pieces} add up to {size}", _SECTIONS):
            raise Refused(f"{pieces} do not add up to {size}", _SECTIONS)
        return dim, sections


_SECTIONS = "split_size_or_sections"


def _pieces_of(piece: Dim, size: Dim) -> Sequence[Dim]:
    """Pieces of one size but the last, which has what is left."""
    require_at_most(1, piece, f"split needs pieces of at least 1 element, not {piece}", _SECTIONS)
    if isinstance(size, int) and isinstance(piece, int):
        return _equal_pieces(size, piece, "split")
    count, most = bounds(-(-size // piece))
    if count != most:
        problem = f"how many pieces of {piece} are in {size} depends on the input's size"
        raise Refused(problem, _SECTIONS, help="`chunk` gives a number of pieces, a list of sizes as many")
    return _and_the_rest(size, piece, count, "split")


def _and_the_rest(size: Dim, piece: Dim, count: int, what: str) -> Sequence[Dim]:
    """So many pieces, all of one size but the last, which has what is left."""
    require_few(count, what)
    return (*(piece,) * (count - 1), size - (count - 1) * piece)


def _equal_pieces(size: int, piece: int, what: str) -> Sequence[int]:
    if size == 0:
        return [0]
    require_few(-(-size // piece), what)
    return [min(piece, size - start) for start in range(0, size, piece)]


class Unbind(Function):
    """Every slice of dimension ``dim``, which disappears."""

    torch = "torch.unbind"
    moves = True
    gives_tuple = True
    examples = ("unbind(1)(float32[N, 2, 3]) -> (float32[N, 3], float32[N, 3])",)

    dim: int = 0

    def infer(self, input: TensorType) -> tuple[TensorType, ...]:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            raise Refused("unbind needs a tensor of rank 1 at least", "input")
        size = static(input.shape[dim], "the dimension that unbind takes apart", "dim")
        if size == 0:
            raise Refused("unbind of a dimension of size 0 gives nothing", "dim")
        require_few(size, "unbind")
        return (input.with_shape((*input.shape[:dim], *input.shape[dim + 1 :])),) * size

    def lower(self, net: Network, input: Tensor) -> tuple[Tensor, ...]:
        dim = wrap_dim(self.dim, input.rank)
        shape = tuple(1 if axis == dim else size for axis, size in enumerate(input.shape))
        places: Any = [
            tuple(i if a == dim else 0 for a in range(input.rank)) for i in range(len(net.results))
        ]
        return tuple(
            net.reshape(net.slice(input, place, shape), type.shape)
            for place, type in zip(places, net.results, strict=True)
        )

    def fold(self, input: Array) -> tuple[Array, ...]:
        return tuple(np.moveaxis(input, self.dim, 0))
