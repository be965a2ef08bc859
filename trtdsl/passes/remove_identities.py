"""Nodes that return their input unchanged go away: dropout, a reshape to the same shape."""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Outcome, Surroundings, rewrite
from trtdsl.passes.declare import graph_pass


@graph_pass(
    before=["fold_batch_norm"], why="a dropout between a convolution and its normalisation hides the pair"
)
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
    return rewrite(graph, _passed_through)


def _passed_through(node: Node, around: Surroundings) -> Outcome:
    """The operand that the node returns as it is, or None."""
    if len(node.results) != 1 or len(node.operands) != 1 or node.weights or node.bodies:
        return None
    (source,) = node.operands
    keeps = node.op.is_identity(source.type)
    return source if keeps and source.type == node.result.type else None
