"""Arithmetic that changes nothing goes away: ``x * 1``, ``x + 0``, two negations, a choice that is made.

So does an expansion before arithmetic, which repeats by itself what has size 1.
"""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
from trtdsl.ops.division import Div
from trtdsl.ops.linear import Linear
from trtdsl.ops.logic import Comparison, Logical, LogicalNot, To, Where
from trtdsl.ops.pointwise import Add, Binary, Mul, Pow, Sub
from trtdsl.ops.refused import Refused
from trtdsl.ops.shape import Expand
from trtdsl.ops.unary import Neg
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import array_of, number_of
from trtdsl.types import DType


@graph_pass(after=["fold_constants"], why="constants are then single numbers")
def simplify_arithmetic(graph: Graph) -> Graph:
    """Remove sums with 0, products with 1, double negations, choices by a constant, zero biases, expansions.

    Nothing goes away where the constant makes the result larger or another dtype. Of two casts the first goes
    if it loses nothing. Where -0.0 is added to 0 it stays -0.0. An expansion goes where arithmetic repeats
    its operand by itself.

    before::

        model example() {
          input x: float32[4]
          zero = full((), 0.0)
          one = full((), 1.0)
          same = add(mul(x, one), zero)
          y = exp(neg(neg(same)))
          output y = y
        }

    after::

        model example() {
          input x: float32[4]
          y = exp(x)
          output y = y
        }
    """
    return rewrite(graph, _simplified)


def _simplified(node: Node, around: Surroundings) -> Outcome:
    if isinstance(node.op, _BROADCASTING) and (found := _unexpanded(node, around)):
        return found
    match node.op:
        case Add() | Sub() | Mul() | Div() | Pow():
            source = _beside_neutral(node, around)
        case Neg() | LogicalNot():
            source = _within_the_same(node, around)
        case Where():
            source = _chosen(node, around)
        case To():
            return _cast_once(node, around)
        case Linear(bias=True):
            return _without_bias(node, around)
        case _:
            return None
    return source if source is not None and source.type == node.result.type else None


_BROADCASTING = (Binary, Comparison, Logical, Pow, Where)


def _unexpanded(node: Node, around: Surroundings) -> Node | None:
    """The node on what its operands were before they were expanded, as far as its result needs no more."""
    for place, value in enumerate(node.operands):
        maker = around.producer(value)
        if maker is None or not isinstance(maker.op, Expand):
            continue
        operands = (*node.operands[:place], maker.operands[0], *node.operands[place + 1 :])
        changed = node.replace(operands=operands)
        try:
            fits = changed.infer() == (node.result.type,)
        except Refused:  # sizes that are the same only by the expansion
            continue
        if fits:
            return _unexpanded(changed, around) or changed
    return None


def _beside_neutral(node: Node, around: Surroundings) -> Value | None:
    """The operand beside one that changes nothing."""
    left, right = node.operands
    first, second = number_of(left, around), number_of(right, around)
    match node.op:
        case Add(alpha=alpha):
            return left if second == 0 else right if first == 0 and alpha == 1 else None
        case Sub():
            return left if second == 0 else None
        case Mul():
            return left if second == 1 else right if first == 1 else None
        case Div(rounding_mode=None) | Pow():
            return left if second == 1 else None
        case _:
            return None


def _within_the_same(node: Node, around: Surroundings) -> Value | None:
    inner = around.producer(node.operands[0])
    return inner.operands[0] if inner and type(inner.op) is type(node.op) else None


def _chosen(node: Node, around: Surroundings) -> Value | None:
    condition, then, otherwise = node.operands
    known = number_of(condition, around)
    return None if known is None else then if known else otherwise


def _cast_once(node: Node, around: Surroundings) -> Outcome:
    """A cast of what the cast before had, if that lost nothing."""
    inner = around.producer(node.operands[0])
    if inner is None or not isinstance(inner.op, To) or not around.is_read_once(inner.result):
        return None
    (source,) = inner.operands
    if (source.type.dtype, inner.op.dtype) not in _LOSSLESS:
        return None
    if source.type == node.result.type:
        return source
    return node.replace(operands=(source,))


_LOSSLESS = {
    (DType.FLOAT16, DType.FLOAT32),
    (DType.BFLOAT16, DType.FLOAT32),
    (DType.INT32, DType.INT64),
    *((DType.BOOL, wide) for wide in (DType.INT32, DType.INT64, DType.FLOAT16, DType.FLOAT32)),
}
"""Pairs of which the second holds every number of the first."""


def _without_bias(node: Node, around: Surroundings) -> Outcome:
    """A linear layer without a bias whose numbers are all 0."""
    bias = node.operand("bias")
    array = array_of(bias, around) if bias is not None else None
    if array is None or array.any():
        return None
    kept = [(value, slot) for value, slot in zip(node.operands, node.slots, strict=True) if slot != "bias"]
    operands, slots = zip(*kept, strict=True)
    return node.replace(op=node.op.replace(bias=False), operands=operands, slots=slots)
