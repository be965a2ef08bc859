"""Activation functions that are written out are found again.

Files without an operator of that name have them so, and older models: GELU by ``erf`` and by ``tanh``, SiLU,
Hardswish and Mish are all products of ``x`` with something of ``x``.
"""

from __future__ import annotations

import math
from collections import Counter

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
from trtdsl.ops.activation import Gelu, Mish, Sigmoid, Silu, Softplus, Tanh
from trtdsl.ops.base import Op
from trtdsl.ops.division import Div
from trtdsl.ops.piecewise_linear import Hardsigmoid, Hardswish, Hardtanh
from trtdsl.ops.pointwise import Add, Clamp, Mul
from trtdsl.ops.unary import Erf
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Product, is_near, made_by, product, product_of, with_number


@graph_pass(
    tolerance=1e-6,  # of the functions themselves, which round otherwise than their parts
    after=["fold_constants", "merge_common_subexpressions"],
    before=["remove_dead_nodes"],
    why="two sigmoids of one value are then the same one",
)
def recognise_activations(graph: Graph) -> Graph:
    """Find GELU, SiLU, Hardswish and Mish in the operators that compute them.

    before::

        model example() {
          input x: float32[4]
          inner = add(erf(div(x, full((), 1.4142135623730951))), full((), 1.0))
          y = mul(mul(x, inner), full((), 0.5))
          output y = y
        }

    after::

        model example() {
          input x: float32[4]
          y = gelu(x)
          output y = y
        }
    """
    return rewrite(graph, _recognised)


def _recognised(node: Node, around: Surroundings) -> Outcome:
    if not isinstance(node.op, Mul | Div) or not node.result.type.dtype.is_floating:
        return None
    whole = product_of(node, around)
    if len(whole.factors) != 2:
        return None
    for x, other in (whole.factors, whole.factors[::-1]):
        op = _of(x, other, whole.number, around)
        if op is not None and x.type == node.result.type:
            return node.replace(op=op, operands=(x,), slots=("input",))
    return None


def _of(x: Value, other: Value, number: float, around: Surroundings) -> Op | None:
    """The function that is ``number * x * other``."""
    maker = around.producer(other)
    if maker is None or not around.is_read_once(other):
        return None
    match maker.op:
        case Sigmoid() if is_near(number, 1) and maker.operands[0] is x:
            return Silu()
        case Hardsigmoid() if is_near(number, 1) and maker.operands[0] is x:
            return Hardswish()
        case Hardtanh() | Clamp() if is_near(number, 1 / 6) and _is_hard(maker, x, around):
            return Hardswish()
        case Tanh() if is_near(number, 1) and _is_softplus(maker.operands[0], x, around):
            return Mish()
        case _:
            return _gelu(x, maker, number, around)


def _is_hard(maker: Node, x: Value, around: Surroundings) -> bool:
    """Whether it is ``clamp(x + 3, 0, 6)``."""
    match maker.op:
        case Hardtanh(min_val=0, max_val=6) | Clamp(min=0, max=6):
            return with_number(made_by(maker.operands[0], around), around) == (x, 3)
        case _:
            return False


def _is_softplus(value: Value, x: Value, around: Surroundings) -> bool:
    inner = made_by(value, around, Softplus)
    return inner is not None and inner.op == Softplus() and inner.operands[0] is x


def _gelu(x: Value, maker: Node, number: float, around: Surroundings) -> Op | None:
    """GELU, if the other factor is ``1 + erf(…)`` or ``1 + tanh(…)``."""
    inner = with_number(maker, around)
    if inner is None or not is_near(number * inner[1], 0.5) or inner[1] != 1:
        return None
    if erf := made_by(inner[0], around, Erf):
        found = product(erf.operands[0], around)
        return Gelu() if found.factors == (x,) and is_near(found.number, math.sqrt(0.5)) else None
    if tanh := made_by(inner[0], around, Tanh):
        return Gelu("tanh") if _is_cubic(product(tanh.operands[0], around), x, around) else None
    return None


_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _is_cubic(inner: Product, x: Value, around: Surroundings) -> bool:
    """Whether it is ``sqrt(2 / pi) * (x + 0.044715 * x ** 3)``, or the same with ``x`` taken out."""
    if not is_near(inner.number, _SCALE):
        return False
    sums = [factor for factor in inner.factors if factor is not x]
    outside = inner.factors.count(x)
    maker = made_by(sums[0], around) if len(sums) == 1 else None
    if maker is None:
        return False
    if outside:
        parts = with_number(maker, around)
        return parts is not None and parts[1] == 1 and outside == 1 and _is_power(parts[0], x, 2, around)
    return _is_sum(maker, x, around)


def _is_sum(maker: Node, x: Value, around: Surroundings) -> bool:
    if not isinstance(maker.op, Add) or maker.op.alpha != 1:
        return False
    left, right = maker.operands
    return any(one is x and _is_power(other, x, 3, around) for one, other in ((left, right), (right, left)))


def _is_power(value: Value, x: Value, exponent: int, around: Surroundings) -> bool:
    found = product(value, around)
    return is_near(found.number, _CUBIC) and Counter(found.factors) == {x: exponent}
