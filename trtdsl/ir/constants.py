"""Values of operands that are known before anything runs, and cannot be used.

In: a graph, its weights bound as far as they are.  Out: each node with such an operand, and what is wrong::

    the scale `fc.input_scale` is 0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtdsl.ir.graph import Graph, Node, Value, graphs
from trtdsl.ops.base import Op


def unusable(graph: Graph) -> Iterator[tuple[Node, str]]:
    """The first node with an operand that its operator cannot use, and why, for each such operand."""
    for each in graphs(graph):
        seen: set[Value] = set()
        for node in each.nodes:
            if type(node.op).unusable is Op.unusable:
                continue
            for slot, value in node.tensors:
                producer = each.producers.get(value)
                if producer and value not in seen and (problem := _problem(node.op, slot, producer, value)):
                    seen.add(value)
                    yield node, problem


def _problem(op: Op, slot: str, producer: Node, value: Value) -> str | None:
    array = _constant(producer)
    found = None if array is None else op.unusable(slot, array)
    if found is None:
        return None
    place = f"[{', '.join(map(str, found.place))}]" if found.place else ""
    return f"the {slot} `{_name(producer, value)}{place}` {found.problem}"


def _constant(node: Node) -> Any:
    """The array that a node makes of weights alone, or of nothing; None where it is not known."""
    arrays = {slot: weight.data for slot, weight in node.weights.items()}
    if len(arrays) < len(node.operands) or any(array is None for array in arrays.values()) or node.bodies:
        return None
    return node.op.fold(**arrays)


def _name(node: Node, value: Value) -> str:
    """What a constant is called: its key, or where it was computed its name in the text."""
    keys = [weight.key for weight in node.weights.values()]
    return value.name if not keys or keys[0] == f"folded.{value.name}" else keys[0]
