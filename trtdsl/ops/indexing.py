"""Parts of a tensor: select, slice and gather, and the plan for PyTorch's ``x[…]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtdsl.ops.base import Function, Op
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.positions import require_index
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, wrap_dim
from trtdsl.ops.shape import Unsqueeze
from trtdsl.types import Dim, SymbolicDim, TensorType, Undecided, less, less_equal, maximum, minimum
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
                f"a slice's step must be at least 1, not {self.step} (PyTorch has no negative steps)", "step"
            )
        start = _clamped(0 if self.start is None else self.start, size, "start")
        end = _clamped(size if self.end is None else self.end, size, "end")
        count = (end - start + self.step - 1) // self.step
        try:
            return start, (0 if less_equal(end, start) else count)
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


class IndexSelect(Function):
    """The slices of dimension ``dim`` that the 1-D integer tensor ``index`` names, in its order."""

    torch = "torch.index_select"
    examples = ("index_select(dim = 1)(float32[N, 8], int64[3]) -> float32[N, 3]",)
    order = ("input", "dim", "index")

    dim: int

    def infer(self, input: TensorType, index: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank)
        if index.rank > 1:
            raise Refused(f"index_select needs an index of rank 1, not {index.rank}", "index")
        require_index(index, "index")
        count = index.shape[0] if index.rank else 1
        if count != 0:
            require_elements(input, (dim,), "index_select")
        return input.with_shape((*input.shape[:dim], count, *input.shape[dim + 1 :]))

    def lower(self, net: Network, input: Tensor, index: Tensor) -> Tensor:
        return net.gather(input, net.to_rank(index, 1), wrap_dim(self.dim, input.rank))


def plan_index(type: TensorType, subscripts: Sequence[object]) -> list[Op]:
    """The operators that ``x[subscripts]`` is made of, each applied to the one before.

    A tensor among the subscripts is given by its type and becomes an ``index_select``, the only
    operator here with a second operand.
    """
    plan: list[Op] = []
    axis = 0
    for subscript in _without_ellipsis(type, subscripts):
        if subscript is None:
            plan.append(Unsqueeze(axis))
            axis += 1
        elif isinstance(subscript, slice):
            plan += [] if subscript == slice(None) else [_sliced(axis, subscript)]
            axis += 1
        elif isinstance(subscript, TensorType):
            plan.append(_gathered(axis, subscript, plan))
            axis += 1
        else:
            plan.append(_selected(axis, subscript))
    return plan


def _sliced(axis: int, subscript: slice) -> Op:
    step = 1 if subscript.step is None else subscript.step
    if not isinstance(step, int):
        raise Refused(f"a slice's step must be known at compile time, not `{step}`")
    return Slice(axis, subscript.start, subscript.stop, step)


def _gathered(axis: int, index: TensorType, plan: Sequence[Op]) -> Op:
    if any(isinstance(op, IndexSelect) for op in plan):
        raise Refused("only one subscript can be a tensor")
    if index.rank != 1:
        raise Refused(
            f"a tensor subscript must have rank 1, not {index.rank}: {index}",
            help="flatten it first, and reshape the result",
        )
    return IndexSelect(axis)


def _selected(axis: int, subscript: object) -> Op:
    if isinstance(subscript, int) and not isinstance(subscript, bool):
        return Select(axis, subscript)
    if isinstance(subscript, SymbolicDim):
        raise Refused(
            f"an index must be known at compile time, not `{subscript}`", help="slice instead: `x[i : i + 1]`"
        )
    raise Refused("an index holds integers, slices, `none`, `...` or an integer tensor")


def _without_ellipsis(type: TensorType, subscripts: Sequence[object]) -> list[object]:
    """The subscripts with ``...`` spelled out; refused if there are more than dimensions."""
    taken = sum(s is not None and s is not ... for s in subscripts)
    if taken > type.rank:
        raise Refused(f"{taken} subscripts for a tensor of rank {type.rank}: {type}")
    dots = [i for i, s in enumerate(subscripts) if s is ...]
    if len(dots) > 1:
        raise Refused("an index holds at most one `...`")
    if not dots:
        return list(subscripts)
    missing = [slice(None)] * (type.rank - taken)
    return [*subscripts[: dots[0]], *missing, *subscripts[dots[0] + 1 :]]
