"""Which of the nodes that may be computed in either type stay wide: those with which casts are fewest.

In: a graph, nodes that must stay float32 and nodes that become narrow.  Out: all nodes that stay.  A value is
cast once for all that read it in the other type, so what is looked for is a cut through the graph that severs
the fewest values; among cuts of one size it is the one with most of the graph narrow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.passes.convert_precision import is_cast, is_converted_type
from trtdsl.types import DType

if TYPE_CHECKING:
    import networkx

_NARROW, _WIDE = "narrow", "wide"


def with_fewest_casts(
    graph: Graph, dtype: DType, wide: Collection[Node], narrow: Collection[Node], edges: bool = False
) -> frozenset[Node]:
    """The nodes of one graph, bodies left out, that stay wide.

    Its inputs and outputs keep their types, but with ``edges``. Where no node must stay, none does.
    """
    if not any(node in wide for node in graph.nodes):
        return frozenset()
    import networkx

    flow = _flow(graph, dtype, wide, narrow, edges)
    _, (_, staying) = networkx.minimum_cut(flow, _NARROW, _WIDE)
    return frozenset(each for each in staying if isinstance(each, Node))


def _flow(
    graph: Graph, dtype: DType, wide: Collection[Node], narrow: Collection[Node], edges: bool
) -> networkx.DiGraph[Any]:
    import networkx

    flow: networkx.DiGraph[Any] = networkx.DiGraph()
    flow.add_nodes_from((_NARROW, _WIDE))
    for node in graph.nodes:
        if node in wide:
            flow.add_edge(node, _WIDE)
        elif node in narrow:
            flow.add_edge(_NARROW, node)
    ends = _NARROW if edges else _WIDE
    for value, maker, readers in _uses(graph, dtype, ends):
        # Without a capacity an edge cannot be cut.
        flow.add_edge(maker, (value, _NARROW), capacity=1)
        flow.add_edge((value, _WIDE), maker, capacity=1)
        for reader in readers:
            flow.add_edge((value, _NARROW), reader)
            flow.add_edge(reader, (value, _WIDE))
    return flow


def _uses(graph: Graph, dtype: DType, ends: str) -> Iterator[tuple[Value, Node | str, list[Node | str]]]:
    """Each value that may be cast, what makes and what reads it; the model's own casts do not count."""
    roots: dict[Value, Value] = {}
    for node in graph.nodes:
        if is_cast(node):
            roots[node.result] = roots.get(node.operands[0], node.operands[0])
    readers: dict[Value, dict[Node | str, None]] = {}
    for node in graph.nodes:
        for value in () if is_cast(node) else node.operands:
            if not isinstance(value, Weight) and is_converted_type(value.type):
                readers.setdefault(roots.get(value, value), {})[node] = None
    for output in graph.outputs:
        if is_converted_type(output.value.type) and output.value.type.dtype is not dtype:
            readers.setdefault(roots.get(output.value, output.value), {})[ends] = None
    for value, found in readers.items():
        maker = graph.producers.get(value)
        if maker is not None or value.type.dtype is not dtype:
            yield value, maker or ends, [*found]
