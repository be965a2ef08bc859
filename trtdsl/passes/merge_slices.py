"""Slices of slices become one, and slices of what was joined are taken from what they lie in.

TensorRT's slice layer cuts every dimension at once. A ``select`` is a slice of one element whose dimension
goes. A cat of a cat joins all of them in one layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
from trtdsl.ops.base import Op
from trtdsl.ops.indexing import Select, Slice, within
from trtdsl.ops.joining import Cat, Stack
from trtdsl.ops.refused import Refused
from trtdsl.ops.shape import Reshape
from trtdsl.ops.strided_slice import StridedSlice
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import made_by
from trtdsl.types import Dim, Undecided, less_equal, surely


@graph_pass(
    after=["merge_common_subexpressions", "recognise_rotary"],
    before=["merge_moves"],
    why="the other passes know single slices, and a slice that leaves a dimension ends in a reshape",
)
def merge_slices(graph: Graph) -> Graph:
    """Merge slices of slices, take slices of joined tensors from what was joined, and join at once.

    before::

        model example() {
          input x: float32[4, 6, 8]
          rows = slice(x, 1, 0, none, 2)
          y = slice(rows, 2, 1, none, 2)
          output y = y
        }

    after::

        model example() {
          input x: float32[4, 6, 8]
          y = strided_slice(x, (1, 2), (0, 1), (5, 8), (2, 2))
          output y = y
        }
    """
    return rewrite(graph, _merged)


def _merged(node: Node, around: Surroundings) -> Outcome:
    if isinstance(node.op, Cat):
        return _joined_at_once(node, around)
    if not isinstance(node.op, Slice | Select | StridedSlice):
        return None
    try:
        return _from_joined(node, around) or _of_slice(node, around)
    except (Refused, Undecided):  # where it lies depends on a size
        return None


# --- Slices of joined tensors -----------------------------------------------------------------------------


def _from_joined(node: Node, around: Surroundings) -> Outcome:
    """The part that the node takes, of the one tensor in which it lies whole."""
    joined = around.producer(node.operands[0])
    if joined is None or not isinstance(joined.op, Cat | Stack) or isinstance(node.op, StridedSlice):
        return None
    op, rank = node.op, joined.result.type.rank
    assert isinstance(op, Slice | Select)
    dim = op.dim % rank
    if dim != joined.op.dim % rank:
        return None
    part = _range_of(op, joined.result.type.shape[dim])
    offset: Dim = 0
    for value in joined.operands:
        size = 1 if isinstance(joined.op, Stack) else value.type.shape[dim]
        if _lies_within(part, offset, offset + size):
            return _taken(node, value, part._replace(start=part.start - offset), dim, joined)
        offset = offset + size
    return None


class _Range(NamedTuple):
    """Positions along a dimension: the first, how many, and how far apart."""

    start: Dim
    length: Dim
    step: int

    @property
    def end(self) -> Dim:
        """Behind the last; of none the start, for what is before it may count from the end."""
        return self.start if self.length == 0 else self.start + (self.length - 1) * self.step + 1


def _range_of(op: Slice | Select, size: Dim) -> _Range:
    if isinstance(op, Select):
        return _Range(within(op.index, size, "index"), 1, 1)
    start, count = op.bounds(size)
    return _Range(start, count, op.step)


def _lies_within(part: _Range, first: Dim, behind: Dim) -> bool:
    return surely(less_equal, first, part.start) and surely(less_equal, part.end, behind)


def _taken(node: Node, value: Value, part: _Range, dim: int, joined: Node) -> Outcome:
    if value.type.dtype is not node.result.type.dtype:
        return None
    if isinstance(joined.op, Stack):
        # The dimension is the stack's own: what a select leaves is what was stacked.
        return value if isinstance(node.op, Select) else None
    if isinstance(node.op, Select):
        if not isinstance(part.start, int):
            return None
        return node.replace(op=Select(dim, part.start), operands=(value,))
    if value.type == node.result.type:
        return value
    return node.replace(op=Slice(dim, part.start, part.end, part.step), operands=(value,))


# --- Slices of slices -------------------------------------------------------------------------------------


@dataclass
class _Cut:
    """What slices one after another take of a tensor: a range of each dimension, and which of these stay."""

    ranges: list[_Range]
    left: list[int]

    def by(self, op: Slice | Select | StridedSlice) -> None:
        """Cut what is left again."""
        parts: Iterable[Slice | Select] = op.slices(len(self.left)) if isinstance(op, StridedSlice) else [op]
        for part in parts:
            axis = self.left[part.dim % len(self.left)]
            have = self.ranges[axis]
            new = _range_of(part, have.length)
            self.ranges[axis] = _Range(have.start + new.start * have.step, new.length, have.step * new.step)
            if isinstance(part, Select):
                self.left.remove(axis)


def _of_slice(node: Node, around: Surroundings) -> Outcome:
    """One slice in place of two, a reshape after it where they select."""
    before = around.producer(node.operands[0])
    if before is None or not isinstance(before.op, Slice | Select | StridedSlice):
        return None
    (source,) = before.operands
    shape = source.type.shape
    cut = _Cut([_Range(0, size, 1) for size in shape], list(range(source.type.rank)))
    for each in (before, node):
        assert isinstance(each.op, Slice | Select | StridedSlice)
        cut.by(each.op)
    op = _as_one(cut.ranges, shape)
    build = around.builder()
    keeps_rank = len(cut.left) == source.type.rank
    if not keeps_rank and not around.is_read_once(before.result):
        # The reshape would come on top of the one that stays. Where keys and values of a layer are selected
        # from its part of a cache, TensorRT-RTX had a kernel more for each layer.
        return None
    if keeps_rank:
        build.place(op, source, scope=node.scope, origins=node.origins, results=node.results)
        return build.nodes
    part = build.value(op, source, name=f"{node.result.name}_part", scope=node.scope, origins=node.origins)
    reshape = Reshape(node.result.type.shape)
    build.place(reshape, part, scope=node.scope, origins=node.origins, results=node.results)
    return build.nodes


def _as_one(ranges: Sequence[_Range], shape: Sequence[Dim]) -> Op:
    """The operator that takes these of a tensor of this shape."""
    cut = [(axis, each) for axis, each in enumerate(ranges) if each != _Range(0, shape[axis], 1)]
    if len(cut) == 1:
        ((axis, only),) = cut
        return Slice(axis, only.start, only.end, only.step)
    dims = tuple(axis for axis, _ in cut)
    starts, ends = tuple(each.start for _, each in cut), tuple(each.end for _, each in cut)
    return StridedSlice(dims, starts, ends, tuple(each.step for _, each in cut))


# --- Joined at once ---------------------------------------------------------------------------------------


def _joined_at_once(node: Node, around: Surroundings) -> Outcome:
    """A cat that reads what the cats before it join, where nothing else reads these."""
    op = node.op
    assert isinstance(op, Cat)
    operands: list[Value] = []
    for value in node.operands:
        inner = made_by(value, around, Cat)
        operands += inner.operands if inner and _joins_alike(inner, node) else [value]
    if len(operands) == len(node.operands):
        return None
    return node.replace(operands=tuple(operands), slots=(node.slots[0],) * len(operands))


def _joins_alike(inner: Node, outer: Node) -> bool:
    """Whether both join along one dimension, in one type: what is cast twice may round twice."""
    assert isinstance(inner.op, Cat) and isinstance(outer.op, Cat)
    rank = outer.result.type.rank
    same = inner.op.dim % rank == outer.op.dim % rank
    return same and inner.result.type.dtype is outer.result.type.dtype
