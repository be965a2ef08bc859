"""Of two convolutions that are added, the one with the smaller window stands last.

TensorRT adds in the kernel of the later one. In a residual block that is better the shortcut's
projection, 1 × 1, than a 3 × 3 convolution, whose fastest kernels cannot add.
"""

from __future__ import annotations

import math
from typing import Any

from trtdsl.ir import Graph, Node, map_graphs
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.pointwise import Add
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import readers_of


@graph_pass(
    after=["fold_batch_norm", "fold_scales", "merge_branches", "compose_convolutions"],
    before=["remove_dead_nodes"],
    why="a normalisation between the convolution and the sum is part of the convolution",
)
def order_sums(graph: Graph) -> Graph:
    """Put of two convolutions that are added the one with the smaller window last.

    before::

        model example() {
          input x: float32[2, 4, 8, 8]
          shortcut = x -> project: Conv2d(8, 1)
          main = x -> conv: Conv2d(8, 3, padding = 1)
          output y = main + shortcut
        }

    after::

        model example() {
          input x: float32[2, 4, 8, 8]
          main = x -> conv: Conv2d(8, 3, padding = 1)
          shortcut = x -> project: Conv2d(8, 1)
          output y = main + shortcut
        }
    """
    return map_graphs(_ordered, graph)


def _ordered(graph: Graph) -> Graph:
    makers = {value: node for node in graph.nodes for value in node.results}
    readers, outputs = readers_of(graph), set(graph.output_values)
    places = {node: number for number, node in enumerate(graph.nodes)}
    moved: dict[Node, Node] = {}
    for node in graph.nodes:
        parts = [makers[value] for value in node.operands if value in makers]
        if not isinstance(node.op, Add) or len({*parts}) != 2 or not all(map(_is_convolution, parts)):
            continue
        earlier, later = sorted(parts, key=places.__getitem__)
        is_read_once = len(readers[earlier.result]) == 1 and earlier.result not in outputs
        if is_read_once and _window(earlier) < _window(later):
            moved[node] = earlier
    if not moved:
        return graph
    late = {*moved.values()}
    nodes = (
        each
        for node in graph.nodes
        if node not in late
        for each in ([moved[node], node] if node in moved else [node])
    )
    return graph.replace(nodes=tuple(nodes))


def _is_convolution(node: Node) -> bool:
    return isinstance(node.op, CONVOLUTIONS)


def _window(convolution: Node) -> int:
    op: Any = convolution.op
    return math.prod(op.window.kernel)
