"""``softmax(q @ k.T * scale + mask) @ v`` becomes scaled dot-product attention, grouped heads too.

TensorRT has a layer for it, which need not write the scores to memory. A mask may be added, or choose between
them and minus infinity; keys and values that are repeated for several heads are given as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from trtdsl.ir import Graph, Node, Outcome, Refusal, Surroundings, Value, rewrite
from trtdsl.ops.attention import ScaledDotProductAttention
from trtdsl.ops.logic import Where
from trtdsl.ops.matrix import Bmm, Matmul
from trtdsl.ops.pointwise import Add
from trtdsl.ops.refused import Refused
from trtdsl.ops.shape import Expand, Permuting, Reshaping, Transpose
from trtdsl.ops.softmax import Softmax
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import made_by, number_of, product
from trtdsl.types import DType


@graph_pass(
    tolerance=1e-5,  # of the operator itself: sums run in another order
    after=["fold_constants", "merge_common_subexpressions", "recognise_linear"],
    before=["merge_moves"],
    why="it looks for products that are not layers, and for the transposes before they are merged",
)
def recognise_attention(graph: Graph) -> Graph:
    """Find scaled dot-product attention in the operators that compute it.

    A query that attends to nothing, all of whose row is minus infinity, has zeros where a softmax gives NaN.

    before::

        model example() {
          input x: float32[2, 3, 5, 4]
          scores = matmul(x, transpose(x, -2, -1))
          shares = softmax(div(scores, full((), 2.0)), -1)
          y = matmul(shares, x)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 3, 5, 4]
          y = scaled_dot_product_attention(x, x, x, scale = 0.5)
          output y = y
        }
    """
    return rewrite(graph, _recognised)


class _Scores(NamedTuple):
    """``query @ key * scale``, where ``key`` is turned already, and what is added or chosen."""

    query: Value
    key: Value
    scale: float
    mask: Value | None = None


def _recognised(node: Node, around: Surroundings) -> Outcome:
    if isinstance(node.op, ScaledDotProductAttention):
        return _grouped(node, around)
    if not isinstance(node.op, Matmul | Bmm):
        return None
    shares, value = node.operands
    softmax = made_by(shares, around, Softmax)
    if softmax is None or value.type.rank < 3 or not _is_along_keys(softmax):
        return None
    found = _masked(softmax.operands[0], around)
    if found is None:
        return Refusal("the scores are not a product of queries and keys with a mask added", (softmax,))
    build = around.builder()
    key = _turned_back(found.key, around)
    if key is None:
        turn = Transpose(-2, -1)
        key = build.value(turn, found.key, name="keys", scope=node.scope, origins=node.origins)
    op = ScaledDotProductAttention(scale=found.scale)
    operands = (found.query, key, value, *([found.mask] if found.mask else []))
    try:
        build.place(op, *operands, scope=node.scope, origins=node.origins, results=node.results)
    except (Refused, TypeError) as refused:
        return Refusal(f"the operator does not take these: {refused}", (softmax,))
    *before, attention = build.nodes
    grouped = _grouped(attention, around)
    return [*before, grouped or attention]


def _is_along_keys(softmax: Node) -> bool:
    op = softmax.op
    assert isinstance(op, Softmax)
    return op.dim % softmax.result.type.rank == softmax.result.type.rank - 1 and (
        softmax.result.type == softmax.operands[0].type
    )


def _masked(value: Value, around: Surroundings) -> _Scores | None:
    """The scores, with a mask if one is added to them, or chooses them over minus infinity."""
    maker = made_by(value, around, Add, Where)
    if maker is None or (isinstance(maker.op, Add) and maker.op.alpha != 1):
        return _scaled(value, around)
    pairs = list(zip(maker.operands, reversed(maker.operands), strict=True))
    if isinstance(maker.op, Add):
        # The operator chooses by a mask of bools, where a sum takes true for 1.
        pairs = [(scores, mask) for scores, mask in pairs if mask.type.dtype is not DType.BOOL]
    if isinstance(maker.op, Where):
        condition, scores, other = maker.operands
        pairs = [(scores, condition)] if number_of(other, around) == -math.inf else []
    for scores, mask in pairs:
        if scores.type == value.type and (found := _scaled(scores, around)):
            return found._replace(mask=mask)
    return None


def _scaled(value: Value, around: Surroundings) -> _Scores | None:
    whole = product(value, around)
    if len(whole.factors) != 1:
        return None
    maker = made_by(whole.factors[0], around, Matmul, Bmm)
    if maker is None or maker.operands[0].type.rank < 3 or maker.operands[1].type.rank < 3:
        return None
    query, key = (product(operand, around) for operand in maker.operands)
    scale = whole.number
    parts: list[Value] = []
    for part, given in zip((query, key), maker.operands, strict=True):
        alone = len(part.factors) == 1 and part.factors[0].type == given.type
        parts.append(part.factors[0] if alone else given)
        scale *= part.number if alone else 1.0
    return _Scores(parts[0], parts[1], scale) if math.isfinite(scale) else None


def _turned_back(key: Value, around: Surroundings) -> Value | None:
    """The keys before their last two dimensions were exchanged; None where they were not."""
    maker = around.producer(key)
    if maker is None or not isinstance(maker.op, Permuting):
        return None
    rank = key.type.rank
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    return maker.operands[0] if maker.op.permutation(rank) == swapped else None


# --- Grouped heads ----------------------------------------------------------------------------------------


def _grouped(node: Node, around: Surroundings) -> Node | None:
    """Attention to keys and values that are not repeated, each for its share of the heads."""
    query, key, value, *mask = node.operands
    op = node.op
    assert isinstance(op, ScaledDotProductAttention)
    sources = [_unrepeated(each, around) for each in (key, value)]
    if op.enable_gqa or sources[0] is None or sources[1] is None or query.type.rank != 4:
        return None
    if query.type.shape[1] != key.type.shape[1]:
        # A single head of queries is broadcast to all of the keys'.
        return None
    if sources[0].type.shape[:-1] != sources[1].type.shape[:-1]:
        return None
    return node.replace(op=op.replace(enable_gqa=True), operands=(query, *sources, *mask))


def _unrepeated(value: Value, around: Surroundings) -> Value | None:
    """``[N, heads, S, width]`` of what is each head several times over, one after another."""
    joined = around.producer(value)
    wide = around.producer(joined.operands[0]) if joined and isinstance(joined.op, Reshaping) else None
    single = around.producer(wide.operands[0]) if wide and isinstance(wide.op, Expand) else None
    if wide is None or single is None or not isinstance(single.op, Reshaping):
        return None
    source = single.operands[0]
    if source.type.rank != 4 or value.type.rank != 4:
        return None
    batch, heads, *rest = source.type.shape
    one, many = single.result.type.shape, wide.result.type.shape
    is_repeated = (
        one == (batch, heads, 1, *rest) and len(many) == 5 and many == (batch, heads, many[2], *rest)
    )
    return source if is_repeated and value.type.shape == (batch, heads * many[2], *rest) else None
