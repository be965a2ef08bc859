"""A tensor with one of its parts replaced: ``select_scatter`` and ``slice_scatter``."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.ops.base import static
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.creation import Full
from trtdsl.ops.division import FloorDivide
from trtdsl.ops.gathering import IndexSelect
from trtdsl.ops.indexing import Slice, within
from trtdsl.ops.joining import Cat
from trtdsl.ops.logic import Eq, Ge, Le, LogicalAnd, Where
from trtdsl.ops.pointwise import Maximum, Minimum, Mul, Sub
from trtdsl.ops.ranges import Arange
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim, wrap_dim
from trtdsl.ops.shape import Reshape, Unsqueeze
from trtdsl.types import Dim, DType, bounds, symbols


class SliceScatter(Composed):
    """The input with ``src`` in place of ``dim``'s slice from ``start`` to ``end``, every ``step``-th."""

    torch = "torch.slice_scatter"
    examples = (
        "slice_scatter(1, 1, 3)(float32[N, 8], float32[N, 2]) -> float32[N, 8]",
        "slice_scatter(0, -1)(int64[S, 2], int64[1, 2]) -> int64[S, 2]",
        "slice_scatter(1, 0, none, 3)(float16[N, 8], float16[N, 3]) -> float16[N, 8]",
        "slice_scatter()(float32[S], float32[S]) -> float32[S]",
        "slice_scatter(1, 1, none, 2)(float32[N, H], float32[N, H // 2]) -> float32[N, H]",
    )

    dim: int = 0
    start: Dim | None = None
    end: Dim | None = None
    step: int = 1

    def compose(self, emit: Emit, input: Part, src: Part) -> Part:
        if input.rank == 0:
            raise Refused("a tensor of rank 0 has no slice", "dim")
        dim, size = wrap_dim(self.dim, input.rank), 0
        size = input.shape[dim]
        first, count = Slice(dim, self.start, self.end, self.step).bounds(size)
        _require_fits("slice_scatter", input, src, (*input.shape[:dim], count, *input.shape[dim + 1 :]))
        if count == 0:
            return input
        if self.step == 1 and not _may_vanish(first) and not _may_vanish(size - first - count):
            return _between(emit, input, src, dim, first, first + count)
        if symbols(size) or symbols(first):
            return self._chosen(emit, input, src, dim, first, count)
        pieces: list[Part] = []
        place = 0
        for number in range(static(count, "how many slices are replaced", "step")):
            start = static(first, "the first slice that is replaced", "start") + number * self.step
            if start > place:
                pieces.append(emit(Slice(dim, place, start), input))
            pieces.append(emit(Slice(dim, number, number + 1), src))
            place = start + 1
        if place != size:
            pieces.append(emit(Slice(dim, place), input))
        return emit(Cat(dim), pieces)

    def _chosen(self, emit: Emit, input: Part, src: Part, dim: int, first: Dim, count: Dim) -> Part:
        """Of each slice the source's, where it is among those replaced."""
        places = emit(Arange(0, input.shape[dim]))
        behind = emit(Sub(), places, emit(Full((), first, DType.INT64)))
        number = emit(FloorDivide(), behind, self.step)
        inside = emit(Eq(), emit(Mul(), number, self.step), behind)
        last = emit(Full((), count - 1, DType.INT64))
        for bound in (emit(Ge(), number, 0), emit(Le(), number, last)):
            inside = emit(LogicalAnd(), inside, bound)
        nearest = emit(Minimum(), emit(Maximum(), number, emit(Full((), 0, DType.INT64))), last)
        spread = emit(IndexSelect(dim), src, nearest)
        return emit(Where(), _along(emit, inside, dim, input.rank), spread, input)


class SelectScatter(Composed):
    """``input`` with ``src`` in place of the slice at ``index`` of ``dim``."""

    torch = "torch.select_scatter"
    examples = (
        "select_scatter(1, 0)(float32[N, 8], float32[N]) -> float32[N, 8]",
        "select_scatter(0, -1)(int64[S, 2], int64[2]) -> int64[S, 2]",
        "select_scatter(2, 3)(float16[N, 2, 5], float16[N, 2]) -> float16[N, 2, 5]",
        "select_scatter(1, -1)(float32[N, S, 2], float32[N, 2]) -> float32[N, S, 2]",
    )

    dim: int
    index: int

    def compose(self, emit: Emit, input: Part, src: Part) -> Part:
        if input.rank == 0:
            raise Refused("a tensor of rank 0 has nothing to select", "dim")
        dim = wrap_dim(self.dim, input.rank)
        place = within(self.index, input.shape[dim], "index")
        _require_fits("select_scatter", input, src, (*input.shape[:dim], *input.shape[dim + 1 :]))
        size = input.shape[dim]
        if _may_vanish(place) or _may_vanish(size - place - 1):
            is_there = emit(Eq(), emit(Arange(0, size)), emit(Full((), place, DType.INT64)))
            return emit(Where(), _along(emit, is_there, dim, input.rank), emit(Unsqueeze(dim), src), input)
        return _between(emit, input, emit(Unsqueeze(dim), src), dim, place, place + 1)


def _require_fits(what: str, input: Part, src: Part, shape: Sequence[Dim]) -> None:
    if src.dtype is not input.dtype:
        raise Refused(f"{what} needs one dtype, but has {input.dtype} and {src.dtype}", "src")
    fits = src.rank == len(shape) and all(
        same_dim(a, b, what, "src") for a, b in zip(src.shape, shape, strict=True)
    )
    if not fits:
        raise Refused(
            f"{what} needs a source of shape [{', '.join(map(str, shape))}], "
            f"not [{', '.join(map(str, src.shape))}]",
            "src",
        )


def _may_vanish(count: Dim) -> bool:
    """Whether there is nothing at some sizes, and something at others."""
    least, most = bounds(count)
    return least <= 0 < most


def _along(emit: Emit, row: Part, dim: int, rank: int) -> Part:
    """A vector as one that lies along a dimension."""
    return emit(Reshape((*(1,) * dim, *row.shape, *(1,) * (rank - dim - 1))), row)


def _between(emit: Emit, input: Part, src: Part, dim: int, start: Dim, end: Dim) -> Part:
    """The input up to ``start``, the source, the input from ``end``."""
    pieces = [src]
    if start != 0:
        pieces.insert(0, emit(Slice(dim, 0, start), input))
    if end != input.shape[dim]:
        pieces.append(emit(Slice(dim, end), input))
    return pieces[0] if len(pieces) == 1 else emit(Cat(dim), pieces)
