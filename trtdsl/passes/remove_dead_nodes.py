"""Nodes whose results no output depends on go away."""

from __future__ import annotations

from trtdsl.ir import Graph, Node


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
    # One sweep is enough, since nodes stand in topological order; importing networkx for it would
    # take longer than all passes together.
    needed = set(graph.output_values)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.results):
            continue
        needed.update(node.operands)
        kept.append(node)
    return graph if len(kept) == len(graph.nodes) else graph.replace(nodes=tuple(reversed(kept)))
