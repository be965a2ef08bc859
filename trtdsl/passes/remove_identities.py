"""Nodes that return their input unchanged go away: dropout, a reshape to the same shape."""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Value, rebuild


def remove_identities(graph: Graph) -> Graph:
    """Let the users of an identity read its input.

    before::

        model example() {
          input x: float32[4, 3]
          dropped = dropout(x)
          same = reshape(dropped, (4, 3))
          y = relu(same)
          output y = y
        }

    after::

        model example() {
          input x: float32[4, 3]
          y = relu(x)
          output y = y
        }
    """
    replaced: dict[Value, Value] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        source = _passed_through(node)
        if source is None:
            kept.append(node)
        else:
            replaced[node.result] = source
    return rebuild(graph, kept, replaced) if replaced else graph


def _passed_through(node: Node) -> Value | None:
    """The operand that the node returns as it is, or None."""
    if len(node.results) != 1 or len(node.operands) != 1 or node.weights:
        return None
    (source,) = node.operands
    keeps = node.op.is_identity(source.type)
    return source if keeps and source.type == node.result.type else None
