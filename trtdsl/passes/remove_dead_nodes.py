"""Nodes whose results no output depends on go away."""

from __future__ import annotations

from trtdsl.ir import Graph


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
    view = graph.networkx()
    makers = {graph.producers[output.value] for output in graph.outputs if output.value in graph.producers}
    reverse = view.reverse(copy=False)
    import networkx

    needed = makers | {vertex for maker in makers for vertex in networkx.descendants(reverse, maker)}
    if all(node in needed for node in graph.nodes):
        return graph
    return graph.replace(nodes=tuple(node for node in graph.nodes if node in needed))
