"""Of two convolutions that are added, the one with less work is the first operand.

TensorRT 8.5 adds in the kernel of the first. In a residual block that is better the shortcut's projection,
1 × 1, than a 3 × 3 convolution, whose fastest kernels cannot add.
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
    """Make of two convolutions that are added the one with less work the first operand.

    before::

        model example() {
          input x: float32[2, 4, 8, 8]
          main = x -> conv: Conv2d(8, 3, padding = 1)
          shortcut = x -> project: Conv2d(8, 1)
          output y = main + shortcut
        }

    after::

        model example() {
          input x: float32[2, 4, 8, 8]
          main = x -> conv: Conv2d(8, 3, padding = 1)
          shortcut = x -> project: Conv2d(8, 1)
          output y = shortcut + main
        }
    """
    return map_graphs(_ordered, graph)


def _ordered(graph: Graph) -> Graph:
    makers = {value: node for node in graph.nodes for value in node.results}
    readers, outputs = readers_of(graph), set(graph.output_values)
    turned: set[Node] = set()
    for node in graph.nodes:
        parts = [makers[value] for value in node.operands if value in makers]
        if not isinstance(node.op, Add) or node.op.alpha != 1 or len({*parts}) != 2:
            continue
        first, second = parts
        can_add = all(isinstance(part.op, CONVOLUTIONS) for part in parts) and all(
            len(readers[part.result]) == 1 and part.result not in outputs for part in parts
        )
        if can_add and _work(second) < _work(first):
            turned.add(node)
    if not turned:
        return graph
    nodes = (node.replace(operands=node.operands[::-1]) if node in turned else node for node in graph.nodes)
    return graph.replace(nodes=tuple(nodes))


def _work(convolution: Node) -> int:
    """How many products each element is the sum of."""
    op: Any = convolution.op
    return math.prod(op.window.kernel) * op.channels(convolution.operands[0].type) // op.groups
