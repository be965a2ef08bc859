"""Whether two graphs compute the same, whatever their values are called.

In: two graphs, such as those of a text with blocks and of one without.  Out: in words where they part; ""
where they do not::

    difference(elaborate_text(whole), elaborate_text(flat))
"""

from __future__ import annotations

from typing import Any

from trtdsl.ir.graph import Graph, Value


def difference(left: Graph, right: Graph) -> str:
    """Where two graphs part: each output is to be made by the same operators from the same operands.

    Nodes that compute the same count as one, inputs and weights are told by their names and keys.
    """
    table: dict[Any, int] = {}
    ours, theirs = _numbered(left, table), _numbered(right, table)
    if len(ours) != len(theirs):
        return f"{len(ours)} outputs and {len(theirs)}"
    for (name, number), (other, at) in zip(ours, theirs, strict=True):
        if name != other:
            return f"the output `{name}` is called `{other}`"
        if number != at:
            return f"the output `{name}` is computed otherwise"
    return ""


def _numbered(graph: Graph, table: dict[Any, int]) -> list[tuple[str, int]]:
    """The outputs by name, each with the number that what computes it has in the table."""
    numbers: dict[Value, int] = {}

    def number(*parts: Any) -> int:
        return table.setdefault(parts, len(table))

    for place, value in enumerate(graph.inputs):
        numbers[value] = number("input", place, str(value.type))
    for weight in graph.weights:
        numbers[weight] = number("weight", weight.key, weight.constant, str(weight.type))
    for node in graph.nodes:
        operands = tuple(numbers[each] for each in node.operands)
        bodies = tuple(tuple(_numbered(body, table)) for body in node.bodies)
        made = number("node", repr(node.op), node.slots, operands, bodies)
        for place, value in enumerate(node.results):
            numbers[value] = number("result", made, place, str(value.type))
    return [(each.name, numbers[each.value]) for each in graph.outputs]
