"""Which nodes compute the same, whatever their results are called.

In: a node and what it is applied to.  Out: a key that equal computations of equal operands have alone::

    a = exp(x)      # one key
    b = exp(x)      # the same
    c = exp(a)      # another
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.ir.graph import Graph, Node, Value


def computation_key(node: Node, operands: Sequence[Value]) -> tuple[object, ...]:
    """Equal for nodes that compute the same. Operators compare by their text too, because Python
    holds 1, 1.0 and true, or 0.0 and -0.0, for equal."""
    return *_computation(node), tuple(operands)


def twins(graph: Graph) -> dict[Value, Value]:
    """For each result that an earlier node of the graph has too, the first one's."""
    found: dict[Value, Value] = {}
    first: dict[tuple[object, ...], Node] = {}
    for node in graph.nodes:
        same = first.setdefault(computation_key(node, [found.get(v, v) for v in node.operands]), node)
        if same is not node:
            found.update(zip(node.results, same.results, strict=True))
    return found


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
