"""Nodes that compute the same from the same operands become one."""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Outcome, Surroundings, computation_key, rewrite
from trtdsl.passes.declare import graph_pass


@graph_pass(
    after=["fold_constants"],
    before=["fold_batch_norm"],
    why="equal constants are then equal values, and a convolution placed twice has one result, used twice",
)
def merge_common_subexpressions(graph: Graph) -> Graph:
    """Keep the first of equal nodes; it takes on the origins of all.

    before::

        model example() {
          input x: float32[4]
          a = exp(x)
          b = exp(x)
          y = add(a, b)
          output y = y
        }

    after::

        model example() {
          input x: float32[4]
          a = exp(x)
          y = add(a, a)
          output y = y
        }
    """
    return rewrite(graph, _Merge)


class _Merge:
    """Remembers the nodes of one graph."""

    def __init__(self) -> None:
        self._first: dict[tuple[object, ...], Node] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        return self._first.setdefault(computation_key(node, node.operands), node)
