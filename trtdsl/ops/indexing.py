"""Parts of a tensor: select and slice, and the plan for PyTorch's ``x[…]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.ops.base import Function, Op
from trtdsl.ops.gathering import Index
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.positions import require_index
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim, wrap_dim
from trtdsl.ops.shape import Unsqueeze
from trtdsl.types import (
    Dim,
    DType,
    SymbolicDim,
    TensorType,
    Undecided,
    less,
    less_equal,
    maximum,
    minimum,
    surely,
)
from trtdsl.types.arrays import np


def within(position: Dim, size: Dim, about: str) -> Dim:
    """A position counted from the front; refused out of ``[-size, size)``."""
    try:
        fits = less(position, size) and less_equal(-size, position)
        negative = less(position, 0)
    except Undecided as undecided:
        raise Refused(
            f"whether position {position} lies inside a dimension of {size} is not sure", about
        ) from undecided
    if not fits:
        raise Refused(f"position {position} is out of range in a dimension of {size}", about)
    return position + size if negative else position


class Select(Function):
    """The slice at ``index`` of dimension ``dim``, which disappears."""

    torch = "torch.select"
    moves = True
    examples = (
        "select(1, 0)(float32[N, S, 3]) -> float32[N, 3]",
        "select(1, -1)(float32[N, S, 3]) -> float32[N, 3]",
        "select(0, 2)(int64[4]) -> int64[]",
    )

    dim: int
    index: int

    def infer(self, input: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            raise Refused("a tensor of rank 0 has nothing to select", "dim")
        within(self.index, input.shape[dim], "index")
        return input.with_shape((*input.shape[:dim], *input.shape[dim + 1 :]))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        index = within(self.index, input.shape[dim], "index")
        start = tuple(index if axis == dim else 0 for axis in range(input.rank))
        shape = tuple(1 if axis == dim else size for axis, size in enumerate(input.shape))
        return net.reshape(net.slice(input, start, shape), net.result.shape)

    def fold(self, input: Array) -> Array:
        return np.take(input, self.index, axis=self.dim)


class Slice(Function):
    """Elements ``start`` to ``end`` (exclusive) of ``dim``, every ``step``-th; bounds as in Python."""

    torch = "torch.ops.aten.slice"
    moves = True
    examples = (
        "slice(1, 1, 3)(float32[N, 8]) -> float32[N, 2]",
        "slice(1, none, -1)(float32[N, 8]) -> float32[N, 7]",
        "slice(2, 0, none, 2)(float32[N, 3, H]) -> float32[N, 3, (H + 1) // 2]",
        "slice(1, 1)(float32[N, S, 3]) -> float32[N, S - 1, 3]",
        "slice(1, 0, 100)(float32[N, 8]) -> float32[N, 8]",
    )

    dim: int = 0
    start: Dim | None = None
    end: Dim | None = None
    step: int = 1

    def bounds(self, size: Dim) -> tuple[Dim, Dim]:
        """First position and number of elements in a dimension of ``size``."""
        if self.step < 1:
            raise Refused(
                f"a slice's step must be at least 1, not {self.step} (PyTorch has no negative steps)",
                "step",
                help="`flip` reverses a dimension" if self.step < 0 else None,
            )
        start = _clamped(0 if self.start is None else self.start, size, "start")
        end = _clamped(size if self.end is None else self.end, size, "end")
        count = (end - start + self.step - 1) // self.step
        try:
            return start, count if surely(less_equal, start, end) or not less_equal(end, start) else 0
        except Undecided as undecided:
            raise Refused(
                f"whether the slice from {start} to {end} is empty depends on the input's size"
            ) from undecided

    def infer(self, input: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank)
        if input.rank == 0:
            raise Refused("a tensor of rank 0 has nothing to slice", "dim")
        _, count = self.bounds(input.shape[dim])
        return input.with_shape((*input.shape[:dim], count, *input.shape[dim + 1 :]))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        dim = wrap_dim(self.dim, input.rank)
        first, _ = self.bounds(input.shape[dim])
        start = tuple(first if axis == dim else 0 for axis in range(input.rank))
        stride = tuple(self.step if axis == dim else 1 for axis in range(input.rank))
        return net.slice(input, start, net.result.shape, stride)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        bounds = (self.start, self.end)
        if any(isinstance(bound, SymbolicDim) for bound in bounds):
            return None
        index = [slice(None)] * input.ndim
        index[self.dim] = slice(*bounds, self.step)
        return input[tuple(index)]

    def reference(self, torch: Any, input: Any) -> Any:
        return torch.ops.aten.slice(input, self.dim, self.start, self.end, self.step)


def _clamped(position: Dim, size: Dim, about: str) -> Dim:
    """A slice's bound as Python reads it: negative from the end, cut to ``[0, size]``."""
    try:
        if less(position, 0):
            return maximum(position + size, 0)
        return minimum(position, size)
    except Undecided as undecided:
        raise Refused(
            f"where {position} lies in a dimension of {size} depends on the input's size", about
        ) from undecided


@dataclass(frozen=True)
class Step:
    """One operator of an index: ``indices`` are the subscripts, by their places, that it takes as tensors."""

    op: Op
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class MaskColumn:
    """An index tensor that is made of a mask known at compile time, and the size that it covers."""

    type: TensorType
    size: int


def plan_index(type: TensorType, subscripts: Sequence[object]) -> list[Step]:
    """The operators that ``x[subscripts]`` is made of, each applied to the one before.

    A tensor among the subscripts is given by its type. As in PyTorch integers, and tensors of rank 0, select
    first; all other tensors index at once, at the dimensions that are left.
    """
    plan: list[Step] = []
    waiting: list[tuple[int, int]] = []
    axis = source = 0
    for place, subscript in _without_ellipsis(type, subscripts):
        if subscript is None:
            plan.append(Step(Unsqueeze(axis)))
            axis += 1
            continue
        if isinstance(subscript, slice):
            plan += [] if subscript == slice(None) else [Step(_sliced(axis, subscript))]
            axis += 1
        elif not isinstance(subscript, (TensorType, MaskColumn)):
            plan.append(Step(_selected(axis, subscript)))
        elif _index_type(subscript, type.shape[source]).rank == 0:
            plan.append(Step(Index((axis,)), (place,)))
        else:
            waiting.append((axis, place))
            axis += 1
        source += 1
    if waiting:
        dims, places = zip(*waiting, strict=True)
        plan.append(Step(Index(dims), places))
    return plan


def _index_type(subscript: TensorType | MaskColumn, size: Dim) -> TensorType:
    """The type of an index tensor in a dimension of this size; refused where it is none."""
    if isinstance(subscript, MaskColumn):
        if not same_dim(subscript.size, size, "a mask covers whole dimensions"):
            raise Refused(f"the mask has {subscript.size} elements for a dimension of {size}")
        return subscript.type
    if subscript.dtype in (DType.BOOL, DType.UINT8):
        raise Refused(
            f"how many elements a {subscript.dtype} mask keeps depends on its values, and sizes must follow "
            "from those of the inputs",
            help="keep the shape, `where(mask, x, 0)` or `masked_fill(x, not mask, 0)`; "
            "a mask that is a constant, `tensor([true, false])`, may index",
        )
    require_index(subscript, "index")
    return subscript


def _sliced(axis: int, subscript: slice) -> Op:
    step = 1 if subscript.step is None else subscript.step
    if not isinstance(step, int):
        raise Refused(f"a slice's step must be known at compile time, not `{step}`")
    return Slice(axis, subscript.start, subscript.stop, step)


def _selected(axis: int, subscript: object) -> Op:
    if isinstance(subscript, int) and not isinstance(subscript, bool):
        return Select(axis, subscript)
    if isinstance(subscript, SymbolicDim):
        raise Refused(
            f"an index must be known at compile time, not `{subscript}`", help="slice instead: `x[i : i + 1]`"
        )
    raise Refused("an index holds integers, slices, `none`, `...` or integer tensors")


def _without_ellipsis(type: TensorType, subscripts: Sequence[object]) -> list[tuple[int, object]]:
    """The subscripts with their places and ``...`` spelled out; refused if there are more than dimensions."""
    placed = list(enumerate(subscripts))
    taken = sum(s is not None and s is not ... for s in subscripts)
    if taken > type.rank:
        raise Refused(f"{taken} subscripts for a tensor of rank {type.rank}: {type}")
    dots = [i for i, s in enumerate(subscripts) if s is ...]
    if len(dots) > 1:
        raise Refused("an index holds at most one `...`")
    if not dots:
        return placed
    missing: list[tuple[int, object]] = [(dots[0], slice(None))] * (type.rank - taken)
    return [*placed[: dots[0]], *missing, *placed[dots[0] + 1 :]]
