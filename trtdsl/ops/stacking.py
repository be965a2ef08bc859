"""Tensors joined after they are given the dimensions they lack, and their elements with one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from trtdsl.ops.base import static
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.creation import Full, Listed
from trtdsl.ops.gathering import IndexSelect
from trtdsl.ops.indexing import Slice
from trtdsl.ops.joining import Cat
from trtdsl.ops.refused import Refused
from trtdsl.ops.shape import Expand, Reshape
from trtdsl.ops.views import at_least
from trtdsl.types import product


class Hstack(Composed):
    """The tensors joined along dimension 1, vectors along their only one."""

    torch = "torch.hstack"
    examples = (
        "hstack()([float32[N, 2], float32[N, S]]) -> float32[N, S + 2]",
        "hstack()([float32[], int32[3]]) -> float32[4]",
    )

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        parts = [at_least(emit, tensor, 1) for tensor in tensors]
        return emit(Cat(dim=0 if parts[0].rank == 1 else 1), parts)


class Vstack(Composed):
    """The tensors joined along dimension 0, vectors as rows of a matrix."""

    torch = "torch.vstack"
    examples = (
        "vstack()([float32[N, 2], float32[2]]) -> float32[N + 1, 2]",
        "vstack()([int64[], int64[]]) -> int64[2, 1]",
    )

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        return emit(Cat(dim=0), [at_least(emit, tensor, 2) for tensor in tensors])


class Dstack(Composed):
    """The tensors joined along dimension 2, matrices and vectors as slices of depth 1."""

    torch = "torch.dstack"
    examples = (
        "dstack()([float32[N, 2], float32[N, 2]]) -> float32[N, 2, 2]",
        "dstack()([float32[S], float32[S]]) -> float32[1, S, 2]",
    )

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        return emit(Cat(dim=2), [at_least(emit, tensor, 3) for tensor in tensors])


class ColumnStack(Composed):
    """The tensors joined along dimension 1, vectors and numbers as columns of a matrix."""

    torch = "torch.column_stack"
    examples = (
        "column_stack([float32[N], float32[N, S]]) -> float32[N, S + 1]",
        "column_stack([int64[], float32[]]) -> float32[1, 2]",
    )

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        columns = [x if x.rank > 1 else emit(Reshape((-1, 1)), x) for x in tensors]
        return emit(Cat(dim=1), columns)


class BlockDiag(Composed):
    """The matrices along the diagonal of one that is 0 elsewhere; vectors and numbers are rows."""

    torch = "torch.block_diag"
    examples = (
        "block_diag([float32[N, 3], float32[2], float32[]]) -> float32[N + 2, 6]",
        "block_diag([int64[2, 2], float16[1, S]]) -> float16[3, S + 2]",
    )
    variadic = "tensors"

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        for tensor in tensors:
            if tensor.rank > 2:
                raise Refused(f"block_diag needs matrices, not tensors of rank {tensor.rank}", "tensors")
        blocks = [at_least(emit, tensor, 2) for tensor in tensors]
        rows: list[Part] = []
        for place, block in enumerate(blocks):
            row = [
                block if index == place else emit(Full((block.shape[0], other.shape[1]), False))
                for index, other in enumerate(blocks)
            ]
            rows.append(emit(Cat(dim=1), row))
        return emit(Cat(dim=0), rows)

    def reference(self, torch: Any, tensors: Sequence[Any]) -> Any:
        return torch.block_diag(*tensors)


class CartesianProd(Composed):
    """Every combination of one element of each vector, as rows; of a single vector itself."""

    torch = "torch.cartesian_prod"
    examples = (
        "cartesian_prod([float32[N], float32[3]]) -> float32[3 * N, 2]",
        "cartesian_prod([int64[2], int64[S], int64[2]]) -> int64[4 * S, 3]",
        "cartesian_prod([float16[S]]) -> float16[S]",
    )
    variadic = "tensors"

    def compose(self, emit: Emit, tensors: Sequence[Part]) -> Part:
        for tensor in tensors:
            if tensor.rank != 1:
                raise Refused(f"cartesian_prod needs vectors, not tensors of rank {tensor.rank}", "tensors")
            if tensor.dtype is not tensors[0].dtype:
                text = f"cartesian_prod needs one dtype, but has {tensors[0].dtype} and {tensor.dtype}"
                raise Refused(text, "tensors")
        if len(tensors) == 1:
            return tensors[0]
        grid = tuple(tensor.shape[0] for tensor in tensors)
        columns: list[Part] = []
        for axis, tensor in enumerate(tensors):
            along = tuple(size if index == axis else 1 for index, size in enumerate(grid))
            every = emit(Expand(grid), emit(Reshape(along), tensor))
            columns.append(emit(Reshape((product(grid), 1)), every))
        return emit(Cat(dim=1), columns)

    def reference(self, torch: Any, tensors: Sequence[Any]) -> Any:
        return torch.cartesian_prod(*tensors)


class Combinations(Composed):
    """Every choice of ``r`` elements of a vector, as rows, in the order of their places."""

    torch = "torch.combinations"
    examples = (
        "combinations(float32[4]) -> float32[6, 2]",
        "combinations(3, true)(int64[3]) -> int64[10, 3]",
        "combinations(r = 1)(float16[5]) -> float16[5, 1]",
    )

    r: int = 2
    with_replacement: bool = False

    def compose(self, emit: Emit, input: Part) -> Part:
        if input.rank != 1:
            raise Refused(f"combinations needs a vector, not a tensor of rank {input.rank}", "input")
        if self.r < 1:
            raise Refused(f"combinations of {self.r} elements", "r")
        size = static(input.shape[0], "the number of elements that are combined", "input")
        count = math.comb(size + self.r - 1, self.r) if self.with_replacement else math.comb(size, self.r)
        if count * self.r > _MOST_PLACES:
            raise Refused(f"there are {count} combinations, {_MOST_PLACES // self.r} at most fit here", "r")
        choose = itertools.combinations_with_replacement if self.with_replacement else itertools.combinations
        places: Any = tuple(itertools.chain.from_iterable(choose(range(size), self.r)))
        if not places:
            return emit(Reshape((0, self.r)), emit(Slice(0, 0, 0), input))
        return emit(Reshape((count, self.r)), emit(IndexSelect(0), input, emit(Listed(places))))

    def reference(self, torch: Any, input: Any) -> Any:
        # Combine positions, not values: some releases of PyTorch lose the shape of an empty result.
        places = torch.combinations(torch.arange(len(input)), self.r, self.with_replacement)
        return input.index_select(0, places.flatten().to(input.device)).reshape(places.shape)


_MOST_PLACES = 1 << 16
"""Places of a constant that ``combinations`` makes, at most."""
