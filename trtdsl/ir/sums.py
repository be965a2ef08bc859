"""Which values are sums of products.

In: a graph.  Out: its values that are made by matrix products, sums and moves of them.  None of these is an
infinity, unless a factor is one or a number overflows: as a mask they hide nothing.
"""

from __future__ import annotations

from trtdsl.ir.graph import Graph, Value
from trtdsl.ops.einsum import Einsum
from trtdsl.ops.linear import Linear
from trtdsl.ops.matrix import Bmm, Matmul, Mm
from trtdsl.ops.pointwise import Add

_PRODUCTS = (Bmm, Einsum, Linear, Matmul, Mm)


def sums_of_products(graph: Graph) -> set[Value]:
    """Those of its own nodes, without what is in bodies."""
    found: set[Value] = set()
    for node in graph.nodes:
        keeps = node.op.moves or isinstance(node.op, Add)
        if isinstance(node.op, _PRODUCTS) or (keeps and node.operands and found.issuperset(node.operands)):
            found.update(node.results)
    return found
