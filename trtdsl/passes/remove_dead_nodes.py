"""Nodes whose results no output depends on go away."""

from __future__ import annotations

from trtdsl.ir import Graph, Node, map_graphs
from trtdsl.passes.declare import graph_pass


@graph_pass(after=["fold_constants", "merge_common_subexpressions", "fold_batch_norm"], why="it sweeps up")
def remove_dead_nodes(graph: Graph) -> Graph:
    """Keep only what the outputs depend on.

    before::

        model example() {
          input x: float32[4]
          unused = exp(x)
          y = relu(x)
          output y = y
        }

    after::

        model example() {
          input x: float32[4]
          y = relu(x)
          output y = y
        }
    """
    return map_graphs(_swept, graph)


def _swept(graph: Graph) -> Graph:
    # One sweep is enough, since nodes stand in topological order.
    needed = set(graph.output_values)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.results):
            continue
        needed.update(node.operands)
        kept.append(node)
    return graph if len(kept) == len(graph.nodes) else graph.replace(nodes=tuple(reversed(kept)))
