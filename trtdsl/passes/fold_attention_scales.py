"""The scale of an attention goes into the layer that makes its queries, or its keys.

``softmax(q @ k.T * scale)`` is ``softmax((scale q) @ k.T)``, and ``q`` is often made by a layer, or a part of
what one layer makes for queries, keys and values. Then only the outputs that become queries are scaled. Where
queries are read by more than the attention, as by biases that depend on them, it is those that become keys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from trtdsl.ir import Graph, Node, Refusal, Value, ValueNames, Weight, map_graphs, refuse
from trtdsl.ops.attention import ScaledDotProductAttention
from trtdsl.ops.indexing import Select, Slice
from trtdsl.ops.joining import Chunk, Split, Unbind
from trtdsl.ops.shape import Permuting, Reshaping
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.fold_scales import LAYERS, scaled_layer
from trtdsl.passes.matching import Array, obstacle_in_weights, readers_of, reads_of_weights
from trtdsl.types import Dim, dimension_groups

Shape = Sequence[Dim]

_MOVES = (Permuting, Reshaping, Select, Slice, Split, Chunk, Unbind)


@graph_pass(
    tolerance=1e-5,  # each weight is rounded once more
    after=["recognise_linear", "recognise_attention", "fold_batch_norm", "fold_scales"],
    before=["merge_slices", "merge_moves", "merge_heads"],
    why="the layers have their last weights, and moves are still told apart",
)
def fold_attention_scales(graph: Graph) -> Graph:
    """Scale the outputs of a layer that become an attention's queries or keys, in place of the queries.

    before::

        model example() {
          input x: float32[2, 5, 16]
          h = x -> fc: Linear(48)
          parts = h -> reshape(2, 5, 3, 2, 8) -> permute(2, 0, 3, 1, 4)
          q, k, v = unbind(parts)
          y = scaled_dot_product_attention(q, k, v)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 5, 16]
          h_1 = x -> "fc+y": Linear(48)
          reshape_1 = reshape(h_1, 2, 5, 3, 2, 8)
          parts_1 = permute(reshape_1, 2, 0, 3, 1, 4)
          q_1, k, v = unbind(parts_1)
          y = scaled_dot_product_attention(q_1, k, v, scale = 1.0)
          output y = y
        }
    """
    reads, names = reads_of_weights(graph), ValueNames.of(graph)
    return map_graphs(lambda each: _Fold(each, names, reads).graph(), graph)


class _Fold:
    """One graph, by what the outputs of its layers are scaled, and new names of what is scaled."""

    def __init__(self, graph: Graph, names: ValueNames, reads: Counter[Weight]) -> None:
        self._graph = graph
        self._names = names
        self._reads = reads
        self._makers = {value: node for node in graph.nodes for value in node.results}
        self._outputs = set(graph.output_values)
        self._readers = readers_of(graph)
        self._scales: dict[Node, Array] = {}
        self._takers: dict[Node, list[Node]] = defaultdict(list)
        self._fresh: dict[Value, Value] = {}

    def graph(self) -> Graph:
        for node in self._graph.nodes:
            if isinstance(node.op, ScaledDotProductAttention):
                self._attention(node, node.op.factor(node.operands[0].type))
        if not self._scales:
            return self._graph
        done = {node for takers in self._takers.values() for node in takers}
        return self._graph.replace(nodes=tuple(self._changed(node, done) for node in self._graph.nodes))

    def _attention(self, node: Node, factor: float) -> None:
        if factor in (0, 1):
            return
        found = self._made(node, node.operands[0]) or self._made(node, node.operands[1])
        if found is None:
            return
        layer, rows, way = found
        if why := obstacle_in_weights(layer, self._reads):
            refuse(node, Refusal(why, (layer,)))
            return
        self._scales.setdefault(layer, np.ones(rows.shape))[rows] *= factor
        self._takers[layer].append(node)
        for value in way:
            self._fresh.setdefault(value, Value(self._names.unique(value.name), value.type))

    def _changed(self, node: Node, done: set[Node]) -> Node:
        changed = node
        if node in self._scales:
            changed = scaled_layer(node, self._scales[node], np.zeros(()), self._takers[node])
        elif node in done:
            changed = node.replace(op=node.op.replace(scale=1.0))
        return changed.replace(
            operands=tuple(self._fresh.get(value, value) for value in changed.operands),
            results=tuple(self._fresh.get(value, value) for value in changed.results),
        )

    def _made(self, attention: Node, operand: Value) -> tuple[Node, Array, Collection[Value]] | None:
        """The layer that makes the queries, or keys, which of its outputs become that and nothing else, and
        the values on the way.
        """
        way: list[tuple[Value, Node]] = []
        reader, value = attention, operand
        while True:
            way.append((value, reader))
            maker = self._makers.get(value)
            if maker is None or not isinstance(maker.op, (*LAYERS, *_MOVES)):
                return None
            if isinstance(maker.op, LAYERS):
                break
            reader, value = maker, maker.operands[0]
        known = {value: _Channels.of(maker)}
        for (value, mover), (moved, _) in pairwise(reversed(way)):
            known |= _moved(mover, known[value])
            if moved not in known:
                return None
        rows = known[operand].rows
        on_way = [value for value, _ in way]
        for value, reader in way:
            others = [each for each in self._readers[value] if each is not reader]
            if value in self._outputs or any(_reads(each, known[value], rows) for each in others):
                return None
            if reader is not attention and _reads(reader, known[value], rows, besides=on_way):
                return None
        return (maker, rows, on_way) if attention.operands.count(operand) == 1 else None


@dataclass(frozen=True)
class _Channels:
    """From which output of a layer each element of a tensor comes.

    ``numbers`` has size 1 along the dimensions that do not carry any outputs: along those all is alike.
    """

    numbers: Array
    carries: tuple[bool, ...]
    count: int

    @classmethod
    def of(cls, layer: Node) -> _Channels:
        op: Any = layer.op
        shape = layer.result.type.shape
        axis = len(shape) + op.channel_dim
        count = int(shape[axis])  # pyright: ignore[reportArgumentType]
        sizes = [count if each == axis else 1 for each in range(len(shape))]
        return cls(np.arange(count).reshape(sizes), tuple(each == axis for each in range(len(shape))), count)

    @property
    def rows(self) -> Array:
        """Which outputs there are in it."""
        found = np.zeros(self.count, bool)
        found[self.numbers] = True
        return found

    def permuted(self, order: Sequence[int]) -> _Channels:
        carries = tuple(self.carries[axis] for axis in order)
        return replace(self, numbers=self.numbers.transpose(order), carries=carries)

    def cut(self, axis: int, part: int | slice) -> _Channels:
        """What a cut leaves; a single position takes the dimension away."""
        if not self.carries[axis]:
            part = 0 if isinstance(part, int) else slice(None)
        carries = self.carries if isinstance(part, slice) else _without(self.carries, axis)
        return replace(self, numbers=self.numbers[(slice(None),) * axis + (part,)], carries=carries)

    def reshaped(self, before: Shape, after: Shape) -> _Channels | None:
        """None where outputs are joined with, or divided by, a size that is not known."""
        whole: list[Any] = []
        made: list[Any] = []
        carries: list[bool] = []
        for old, new in dimension_groups(before, after):
            carrying = any(self.carries[old])
            if carrying and not all(isinstance(size, int) for size in (*before[old], *after[new])):
                return None
            whole += before[old] if carrying else self.numbers.shape[old]
            made += after[new] if carrying else (1,) * len(after[new])
            carries += (carrying,) * len(after[new])
        numbers = np.broadcast_to(self.numbers, whole).reshape(made)
        return replace(self, numbers=numbers, carries=tuple(carries))


def _without(items: tuple[bool, ...], index: int) -> tuple[bool, ...]:
    return (*items[:index], *items[index + 1 :])


def _moved(node: Node, channels: _Channels) -> dict[Value, _Channels]:
    """The results of a move, those of them that are known."""
    op, before = node.op, node.operands[0].type
    if isinstance(op, Permuting):
        return {node.result: channels.permuted(op.permutation(before.rank))}
    if isinstance(op, Reshaping):
        found = channels.reshaped(before.shape, node.result.type.shape)
        return {} if found is None else {node.result: found}
    axis, parts = _parts(node)
    if channels.carries[axis] and not all(map(_is_known, parts)):
        return {}
    return {result: channels.cut(axis, part) for result, part in zip(node.results, parts, strict=True)}


def _parts(node: Node) -> tuple[int, Sequence[int | slice]]:
    """Along which dimension a node cuts, and what each of its results is."""
    op, type = node.op, node.operands[0].type
    match op:
        case Select(dim=dim, index=index):
            return dim % type.rank, [index]
        case Unbind(dim=dim):
            return dim % type.rank, range(len(node.results))
        case Slice(dim=dim, step=step):
            start, count = op.bounds(type.shape[dim])
            return dim % type.rank, [slice(start, start + count * step, step)]
        case _:
            assert isinstance(op, Split | Chunk)
            dim, sizes = op.pieces(type)
            starts = accumulate(sizes, initial=0)
            return dim, [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]


def _is_known(part: int | slice) -> bool:
    return isinstance(part, int) or (isinstance(part.start, int) and isinstance(part.stop, int))


def _reads(reader: Node, channels: _Channels, rows: Array, besides: Collection[Value] = ()) -> bool:
    """Whether a node may read any of these outputs for a result, ``besides`` those that are named."""
    if not isinstance(reader.op, _MOVES):
        return True
    found = _moved(reader, channels)
    results = [result for result in reader.results if result not in besides]
    return any(result not in found or (found[result].rows & rows).any() for result in results)
