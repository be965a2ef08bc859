"""Whether an attention adds a mask that TensorRT 8.5 joins with it only where sizes are dynamic.

In: a graph.  Out: whether it has an attention with a mask of bools that an input decides, with a row for each
query, or with biases that are products. Where 8.5.3 knows all sizes it makes the sum of scores and such a
mask a kernel between two regions, and has no region at all with such biases.
"""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Value, sums_of_products, walk
from trtdsl.ops.attention import ScaledDotProductAttention
from trtdsl.ops.multihead_attention import MultiheadAttention
from trtdsl.ops.softmax import Softmax
from trtdsl.passes import optimize
from trtdsl.types import DType

_ATTENTION = (ScaledDotProductAttention, MultiheadAttention)


def has_computed_masks(graph: Graph) -> bool:
    """Of the graph as the pipeline leaves it, which finds attention in what computes it."""
    attends = any(isinstance(node.op, (*_ATTENTION, Softmax)) for node in walk(graph))
    return attends and _has_computed_masks(optimize(graph))


def _has_computed_masks(graph: Graph) -> bool:
    products, decided = sums_of_products(graph), set(graph.inputs)
    for node in graph.nodes:
        mask = _mask_of(node)
        if mask in decided and (mask in products or mask.type.dtype is DType.BOOL):
            return True
        if any(map(_has_computed_masks, node.bodies)):
            return True
        if not decided.isdisjoint(node.operands):
            decided.update(node.results)
    return False


def _mask_of(node: Node) -> Value | None:
    """What an attention adds, unless all queries have the same."""
    mask = node.operand("attn_mask") if isinstance(node.op, _ATTENTION) else None
    return mask if mask is not None and mask.type.rank > 1 and mask.type.shape[-2] != 1 else None
