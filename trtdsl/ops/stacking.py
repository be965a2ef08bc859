"""Tensors joined after they are given the dimensions they lack: ``hstack``, ``vstack``, ``dstack``."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.joining import Cat
from trtdsl.ops.views import at_least


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
