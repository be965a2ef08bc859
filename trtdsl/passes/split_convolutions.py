"""A 1 × 1 convolution of joined channels, most of them in their old places, becomes the sum of two.

A temporal shift hands a few channels to the frames before and after and joins them with the rest. TensorRT
copies the rest to join it: only what a layer computes is written straight into the joined tensor. A
convolution with zero weights for the moved channels reads the rest where it is; another convolves what was
moved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from trtdsl.ir import Builder, Graph, Node, Outcome, Refusal, Surroundings, Value, Weight, rewrite
from trtdsl.ops.convolution import Conv1d, Conv2d, Conv3d
from trtdsl.ops.indexing import Slice
from trtdsl.ops.joining import Cat, Chunk, Split
from trtdsl.ops.pad import Pad
from trtdsl.ops.pointwise import Add
from trtdsl.ops.shape import Reshape, Reshaping
from trtdsl.ops.strided_slice import StridedSlice
from trtdsl.passes.cutting import Edges, edges_of, pad_of
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Array, made_by, new_weight, obstacle_in_weights, reads_of_weights
from trtdsl.types import Dim, dimension_groups


@graph_pass(
    tolerance=1e-6,  # sums of products run in another order
    after=["fold_batch_norm", "fold_scales", "compose_convolutions", "merge_slices"],
    before=["merge_moves"],
    why="the convolution is then what it will be, what it reads is joined at once, and reshapes may cancel",
)
def split_convolutions(graph: Graph) -> Graph:
    """Convolve the channels that kept their places apart from those that were moved.

    This pays off if at least half of the channels kept their places and the convolution has no more outputs
    than that: it saves copying the channels and costs writing and reading the outputs once more. An infinity
    in a moved channel becomes NaN at its old position as well.

    before::

        model example() {
          input x: float32[2, 8, 4, 4]
          moved = roll(slice(x, 1, 0, 2), 1, 0)
          conv_sum = cat([moved, slice(x, 1, 2)], 1) -> conv: Conv2d(4, 1)
          output y = conv_sum
        }

    after::

        block Sum()(kept, moved) {
          sum = kept + moved
          return sum
        }

        model example() {
          input x: float32[2, 8, 4, 4]
          moved = roll(slice(x, 1, 0, 2), 1, 0)
          conv_kept = x -> conv.kept: Conv2d(4, 1)
          conv_moved = moved -> conv.moved: Conv2d(4, 1, bias = false)
          y = (conv_kept, conv_moved) -> conv: Sum()
          output y = y
        }
    """
    return rewrite(graph, _Apart(reads_of_weights(graph)), until_stable=True)


class _Apart:
    def __init__(self, reads: Counter[Weight]) -> None:
        self._reads = reads
        self._keys = {weight.key for weight in reads}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if not isinstance(node.op, Conv1d | Conv2d | Conv3d) or node.op.groups != 1:
            return None
        if math.prod(node.op.window.kernel) != 1:
            return None
        found = _find(node, node.op, around)
        if found is None:
            return None
        if why := obstacle_in_weights(node, self._reads):
            return Refusal(why, (found.joined,))
        return _split(node, node.op, found, around, self._unique(node.scope))

    def _unique(self, label: str) -> tuple[str, str]:
        """Labels below this one for layers whose weights have keys that no others have."""
        for number in ("", *range(2, len(self._keys) + 3)):
            kept, moved = f"{label}.kept{number}", f"{label}.moved{number}"
            keys = {f"{scope}.{slot}" for scope in (kept, moved) for slot in ("weight", "bias")}
            if not keys & self._keys:
                self._keys |= keys
                return kept, moved
        raise AssertionError("more labels were tried than there are keys")


class _Joined(NamedTuple):
    """What is joined along an axis, and the whole in which some of it lies at the same channels, ``stay``."""

    joined: Node
    axis: int
    whole: Value
    stay: range
    others: tuple[Value, ...]


def _find(node: Node, op: Conv1d | Conv2d | Conv3d, around: Surroundings) -> _Joined | None:
    source = node.operands[0]
    joined = made_by(source, around, Cat, Reshaping)
    if joined is not None and isinstance(joined.op, Reshaping):
        joined = made_by(joined.operands[0], around, Cat)
    if joined is None or not isinstance(joined.op, Cat):
        return None
    type = joined.result.type
    axis, channels = joined.op.dim % type.rank, source.type.rank + op.channel_dim
    apart = slice(axis, axis + 1), slice(channels, channels + 1)
    if apart not in dimension_groups(type.shape, source.type.shape):
        return None
    first = 0
    for index, part in enumerate(joined.operands):
        size = part.type.shape[axis]
        if not isinstance(size, int):
            return None
        whole = _cut_from(part, axis, first, around)
        most = 2 * size >= op.channels(source.type) > size and op.out_channels <= size
        if whole is not None and whole.type == type and most:
            others = joined.operands[:index] + joined.operands[index + 1 :]
            return _Joined(joined, axis, whole, range(first, first + size), others)
        first += size
    return None


def _cut_from(part: Value, axis: int, first: int, around: Surroundings) -> Value | None:
    """The tensor of which this is a part that begins there."""
    cut = around.producer(part)
    if cut is None or not isinstance(cut.op, Slice | Split | Chunk):
        return None
    (whole,) = cut.operands
    start: Dim | None = None
    if isinstance(cut.op, Slice):
        if edges := edges_of(cut):
            start = -edges.amounts[axis][0]
    else:
        dim, sizes = cut.op.pieces(whole.type)
        starts: Sequence[Dim] = [*accumulate(sizes, initial=0)]
        start = starts[cut.results.index(part)] if dim == axis else None
    return whole if start == first else None


def _shaped(build: Builder, value: Value, shape: Sequence[Dim], joined: Node) -> Value:
    if tuple(value.type.shape) == tuple(shape):
        return value
    (result,) = build.place(Reshape(tuple(shape)), value, scope=joined.scope, origins=joined.origins)
    return result


def _split(
    node: Node, op: Any, found: _Joined, around: Surroundings, labels: tuple[str, str]
) -> Sequence[Node]:
    """The sum of two convolutions with these labels, the first of which has the bias."""
    build, type, weight = around.builder(), node.operands[0].type, node.weights["weight"]
    kernel: Any = weight.data
    moved = np.array([channel not in found.stay for channel in range(kernel.shape[1])])
    masked = np.where(moved.reshape(1, -1, *(1,) * op.spatial), 0, kernel)
    whole = _shaped(build, found.whole, type.shape, found.joined)
    kept = _placed(build, node, op, whole, masked, labels[0])
    shape = [*type.shape]
    shape[op.channel_dim] = int(moved.sum())
    part = _shaped(build, _moved(build, whole, op, found, around), shape, found.joined)
    more = _placed(build, node, op.replace(bias=False), part, kernel[:, moved], labels[1])
    build.place(Add(), kept, more, scope=node.scope, origins=node.origins, results=node.results)
    return build.nodes


def _placed(build: Builder, node: Node, op: Any, source: Value, kernel: Array, label: str) -> Value:
    """The node's convolution with another kernel, its weights below this label."""
    given: dict[str, Any] = {}
    for slot, weight in node.weights.items():
        if slot == "weight" or op.bias:
            data: Any = kernel if slot == "weight" else weight.data
            given[slot] = new_weight(f"{label}.{slot}", weight.type.with_shape(data.shape), data)
    (result,) = build.place(op, source, scope=label, origins=node.origins, **given)
    return result


def _moved(build: Builder, whole: Value, op: Any, found: _Joined, around: Surroundings) -> Value:
    """The channels that were moved, joined.

    For a shape of more dimensions TensorRT 8.5 lays out all of a tensor anew, so that what is taken of one is
    taken of these channels alone.
    """
    joined, parts = found.joined, found.others
    cuts = [cut for part in parts if (cut := _cut_of(part, found, around))]
    if whole is not found.whole and len(cuts) == len(parts):
        parts = _narrowed(build, whole, op, found, cuts)
    if len(parts) == 1:
        return parts[0]
    (part,) = build.place(joined.op, parts, scope=joined.scope, origins=joined.origins)
    return part


class _Cut(NamedTuple):
    """A slice or pad that takes channels from ``start`` to ``end`` (exclusive)."""

    node: Node
    edges: Edges
    start: int
    end: int


def _cut_of(part: Value, found: _Joined, around: Surroundings) -> _Cut | None:
    node = made_by(part, around, Pad, Slice, StridedSlice)
    if node is None or node.operands[0] is not found.whole:
        return None
    edges = edges_of(node)
    if edges is None:
        return None
    start, end = edges.amounts[found.axis]
    size = found.whole.type.shape[found.axis]
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(size, int)) or max(start, end) > 0:
        return None
    return _Cut(node, edges, -start, size + end)


def _narrowed(
    build: Builder, whole: Value, op: Any, found: _Joined, cuts: Sequence[_Cut]
) -> tuple[Value, ...]:
    """The same of no more channels than all of them take."""
    start, end = min(cut.start for cut in cuts), max(cut.end for cut in cuts)
    joined, shape = found.joined, [*found.whole.type.shape]
    shape[found.axis] = end - start
    cut = Slice(whole.type.rank + op.channel_dim, start, end)
    (few,) = build.place(cut, whole, scope=joined.scope, origins=joined.origins)
    few = _shaped(build, few, shape, joined)
    parts: list[Value] = []
    for node, edges, first, last in cuts:
        amounts = [*edges.amounts]
        amounts[found.axis] = (start - first, last - end)
        pad = pad_of(edges._replace(amounts=tuple(amounts)))
        parts += build.place(pad, few, scope=node.scope, origins=node.origins)
    return tuple(parts)
