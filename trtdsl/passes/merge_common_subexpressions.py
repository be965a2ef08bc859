"""Nodes that compute the same from the same operands become one."""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
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
        return self._first.setdefault(_key(node), node)


def _key(node: Node) -> tuple[object, ...]:
    """Equal for nodes that compute the same. Operators compare by their text too, because Python
    holds 1, 1.0 and true, or 0.0 and -0.0, for equal."""
    return *_computation(node), node.operands


def _computation(node: Node) -> tuple[object, ...]:
    types = tuple(result.type for result in node.results)
    return type(node.op), repr(node.op), node.slots, types, tuple(map(_body_key, node.bodies))


def _body_key(body: Graph) -> tuple[object, ...]:
    """Equal for bodies that compute the same, whatever their values are called."""
    numbers: dict[Value, object] = {value: number for number, value in enumerate(body.inputs)}
    keys: list[object] = [value.type for value in body.inputs]
    for node in body.nodes:
        keys.append((*_computation(node), tuple(numbers.get(value, value) for value in node.operands)))
        for result in node.results:
            numbers[result] = len(numbers)
    return (*keys, tuple(numbers.get(output.value, output.value) for output in body.outputs))
