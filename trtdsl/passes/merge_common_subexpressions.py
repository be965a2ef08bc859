"""Nodes that compute the same from the same operands become one."""

from __future__ import annotations

import dataclasses

from trtdsl.ir import Graph, Node, Value, rebuild


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
    first: dict[tuple[object, ...], int] = {}
    kept: list[Node] = []
    replaced: dict[Value, Value] = {}
    for node in graph.nodes:
        operands = tuple(replaced.get(value, value) for value in node.operands)
        key = _key(node, operands)
        if key not in first:
            first[key] = len(kept)
            kept.append(node)
            continue
        index = first[key]
        same = kept[index]
        kept[index] = dataclasses.replace(same, origins=same.origins + node.origins)
        replaced.update(zip(node.results, same.results, strict=True))
    return rebuild(graph, kept, replaced) if replaced else graph


def _key(node: Node, operands: tuple[Value, ...]) -> tuple[object, ...]:
    """Equal for nodes that compute the same. Operators compare by their text too, because Python
    holds 1, 1.0 and true, or 0.0 and -0.0, for equal."""
    types = tuple(result.type for result in node.results)
    return type(node.op), repr(node.op), operands, node.slots, types, node.bodies
