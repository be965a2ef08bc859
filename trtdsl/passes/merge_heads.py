"""Queries, keys and values of attention are taken from one product, head by head.

One layer for all three that is cut along its outputs, or a layer for each, TensorRT computes in parts: three
kernels bring three tensors into the form ``[N, heads, S, width]``. Where the whole product comes into that
form, and its heads are taken apart, one kernel does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trtdsl.ir import (
    Builder,
    Graph,
    Node,
    Refusal,
    Value,
    ValueNames,
    Weight,
    map_graphs,
    merged_origins,
    refuse,
)
from trtdsl.ops.joining import Chunk, Split
from trtdsl.ops.linear import Linear
from trtdsl.ops.shape import Reshape
from trtdsl.ops.shuffle import Shuffle
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Array, new_weight, obstacle_in_weights, readers_of, reads_of_weights


@graph_pass(
    tolerance=1e-6,  # sums of products run in another order
    after=["fold_scales", "merge_moves"],
    before=["remove_dead_nodes"],
    why="a scale of queries alone is in their layer, and heads are made by one shuffle",
)
def merge_heads(graph: Graph) -> Graph:
    """Take the heads of queries, keys and values from one product.

    before::

        model example() {
          input x: float32[2, 5, 8]
          parts = x -> fc: Linear(24)
          q, k = chunk(parts, 2, -1)
          queries = shuffle(q, (0, 1, 2), (2, 5, 3, 4), (0, 2, 1, 3))
          keys = shuffle(k, (0, 1, 2), (2, 5, 3, 4), (0, 2, 1, 3))
          y = matmul(queries, transpose(keys, -2, -1))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 5, 8]
          parts = x -> fc: Linear(24)
          parts_heads = shuffle(parts, (0, 1, 2), (2, 5, 6, 4), (0, 2, 1, 3))
          queries, keys = split(parts_heads, (3, 3), 1)
          y = matmul(queries, transpose(keys, -2, -1))
          output y = y
        }
    """
    reads = reads_of_weights(graph)
    names = ValueNames.of(graph)

    def change(each: Graph) -> Graph:
        return _Merge(each, names, reads).graph()

    return map_graphs(change, graph)


class _Heads(NamedTuple):
    """What makes ``[N, heads, S, width]`` of ``[N, S, heads * width]``."""

    node: Node
    number: int
    width: int


class _Merge:
    """One graph, and what its nodes become."""

    def __init__(self, graph: Graph, names: ValueNames, reads: Counter[Weight]) -> None:
        self._graph = graph
        self._names = names
        self._reads = reads
        self._readers = readers_of(graph)
        self._outputs = set(graph.output_values)

    def graph(self) -> Graph:
        instead: dict[Node, list[Node]] = {}
        for node in self._graph.nodes:
            if node in instead:
                continue
            if isinstance(node.op, Split | Chunk):
                self._split(node, instead)
            elif isinstance(node.op, Linear):
                self._layers(node, instead)
        if not instead:
            return self._graph
        nodes = (new for node in self._graph.nodes for new in instead.get(node, [node]))
        return self._graph.replace(nodes=tuple(nodes))

    def _split(self, node: Node, instead: dict[Node, list[Node]]) -> None:
        """A product that is cut along its outputs."""
        (whole,) = node.operands
        assert isinstance(node.op, Split | Chunk)
        if whole.type.rank != 3 or node.op.pieces(whole.type)[0] != 2:
            return
        heads = self._alike(node.results)
        if heads is None:
            return
        build = Builder(self._names)
        self._place(build, whole, heads)
        instead |= {each.node: [] for each in heads}
        instead[node] = build.nodes

    def _layers(self, first: Node, instead: dict[Node, list[Node]]) -> None:
        """Layers of one input, each of whose outputs become heads."""
        source = first.operands[0]
        alike = [
            node
            for node in self._readers[source]
            if isinstance(node.op, Linear)
            and node.operands[0] is source
            and self._alike([first.result, node.result])
        ]
        heads = self._alike([node.result for node in alike])
        if len(alike) < 2 or heads is None:
            return
        for node in alike:
            if why := obstacle_in_weights(node, self._reads):
                refuse(node, Refusal(why, tuple(each for each in alike if each is not node)))
                return
        build = Builder(self._names)
        scope = "+".join(node.scope for node in alike)
        bias = any("bias" in node.weights for node in alike)
        given = {slot: _stacked(alike, slot, scope) for slot in ("weight", *(("bias",) if bias else ()))}
        op = Linear(sum(each.number * each.width for each in heads), bias)
        origins = merged_origins(alike)
        whole = build.value(op, source, name="heads", scope=scope, origins=origins, **given)
        self._place(build, whole, heads)
        instead |= {node: [] for node in (*(each.node for each in heads), *alike)}
        instead[first] = build.nodes

    def _place(self, build: Builder, whole: Value, heads: Sequence[_Heads]) -> None:
        """The whole product in heads, and these taken apart into what the single shuffles made."""
        total, width = sum(each.number for each in heads), heads[0].width
        batch, length, _ = whole.type.shape
        origins = merged_origins([each.node for each in heads])
        scope = heads[0].node.scope
        op = Shuffle((0, 1, 2), (batch, length, total, width), (0, 2, 1, 3))
        turned = build.value(op, whole, name=f"{whole.name}_heads", scope=scope, origins=origins)
        split = Split(tuple(each.number for each in heads), 1)
        results = [each.node.result for each in heads]
        build.place(split, turned, scope=scope, origins=origins, results=results)

    def _alike(self, parts: Sequence[Value]) -> list[_Heads] | None:
        """The heads of every part, if all are made alike and nothing else reads a part."""
        found = [self._heads(part) for part in parts]
        heads = [each for each in found if each is not None]
        if len(heads) != len(parts) or len({each.width for each in heads}) != 1:
            return None
        return heads

    def _heads(self, part: Value) -> _Heads | None:
        readers = self._readers[part]
        if part in self._outputs or len(readers) != 1 or part.type.rank != 3:
            return None
        (node,) = readers
        if not _turns(node):
            return None
        batch, heads, length, width = node.result.type.shape
        if (batch, length) != part.type.shape[:2] or not isinstance(heads, int) or not isinstance(width, int):
            return None
        return _Heads(node, heads, width)


def _turns(node: Node) -> bool:
    """Whether a node makes ``[N, heads, S, width]``; where S is 1 no permutation is needed for it."""
    if isinstance(node.op, Shuffle):
        return node.op.orders(3) == ((0, 1, 2), (0, 2, 1, 3))
    if not isinstance(node.op, Reshape):
        return False
    shape = node.result.type.shape
    return len(shape) == 4 and shape[2] == 1


def _stacked(layers: Sequence[Node], slot: str, scope: str) -> Weight:
    """The rows of the layers' weights, one below another; of a layer without a bias zeros."""
    data = np.concatenate([_rows(layer, slot) for layer in layers])
    return new_weight(f"{scope}.{slot}", layers[0].weights["weight"].type.with_shape(data.shape), data)


def _rows(layer: Node, slot: str) -> Array:
    data = {each: weight.data for each, weight in layer.weights.items() if weight.data is not None}
    return data[slot] if slot in data else np.zeros(len(data["weight"]), data["weight"].dtype)
