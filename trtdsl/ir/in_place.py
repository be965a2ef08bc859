"""Operators that write into an operand's memory: what stands there must be the model's own.

In: a graph.  Out: what is wrong with its nodes of that kind, each with its node.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtdsl.ir.graph import Graph, Node, Value, graphs


def misplaced(graph: Graph) -> Iterator[tuple[Node, str]]:
    """Each node that works in place where it cannot, and why.

    What it writes into is an input of the model that nothing else writes into; what becomes of it an output.
    """
    outputs = {output.value for output in graph.outputs}
    written: set[Value] = set()
    for each in graphs(graph):
        for node in each.nodes:
            for slot, result in zip(node.op.in_place, node.results, strict=False):
                operand = node.operands[node.slots.index(slot)]
                name = f"`{node.op.name}`"
                if each is not graph:
                    yield node, f"{name} works in place, which nothing within a loop or a branch does"
                elif operand not in graph.inputs:
                    yield node, f"{name} writes into `{operand.name}`, which is not an input of the model"
                elif operand in written:
                    yield node, f"`{operand.name}` is written into twice"
                elif result not in outputs:
                    yield node, f"what {name} makes of `{operand.name}` must be an output of the model"
                written.add(operand)
