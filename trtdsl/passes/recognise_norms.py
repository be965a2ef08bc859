"""Layer and RMS normalisations that are written out are found again.

``d / sqrt(mean(d * d) + eps)`` over the last dimensions is an RMS normalisation of ``d``, and where
``d = x - mean(x)`` a layer normalisation of ``x``. The weight and bias that follow join it.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
from trtdsl.ops.division import Div
from trtdsl.ops.layer_norm import LayerNorm, RMSNorm
from trtdsl.ops.pointwise import Add, Mul, Sub
from trtdsl.ops.reduction import Mean, Var
from trtdsl.ops.unary import Rsqrt, Sqrt
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import at_key, is_constant, made_by, product, product_of, with_number
from trtdsl.types import DType


@graph_pass(
    tolerance=1e-6,
    after=["fold_constants", "merge_common_subexpressions"],
    before=["remove_dead_nodes"],
    why="a mean that is computed twice is then the same value",
)
def recognise_norms(graph: Graph) -> Graph:
    """Find LayerNorm and RMSNorm in the operators that compute them.

    Only in float32: in half precision the parts round where the operators do not.

    before::

        model example() {
          input x: float32[4, 8]
          variance = mean(pow(x, full((), 2.0)), -1, keepdim = true)
          normal = mul(x, rsqrt(add(variance, full((), 1e-06))))
          y = mul(w: Parameter(8), normal)
          output y = y
        }

    after::

        model example() {
          input x: float32[4, 8]
          y = RMSNorm(8, eps = 1e-06)(x, weight = w: Parameter(8))
          output y = y
        }
    """
    return rewrite(graph, _recognised)


def _recognised(node: Node, around: Surroundings) -> Outcome:
    if not isinstance(node.op, Mul | Div | Add) or node.result.type.dtype is not DType.FLOAT32:
        return None
    found = None if isinstance(node.op, Add) else _normalised(node, around)
    return found or _with_weight(node, around)


# --- The statistics ---------------------------------------------------------------------------------------


def _normalised(node: Node, around: Surroundings) -> Outcome:
    for numerator, sum in _quotients(node, around):
        parts = with_number(sum, around)
        if parts is None or parts[1] <= 0:
            continue
        spread, eps = parts
        if numerator.type != node.result.type:
            continue  # a sum with an epsilon of a larger shape, say
        if (count := _mean_of_squares(spread, numerator, around)) is not None:
            return _placed(node, numerator, count, eps, around)
        if (found := _centred(numerator, around)) and _variance(spread, found[0], found[1], around):
            return _layer_norm(node, *found, eps)
    return None


def _quotients(node: Node, around: Surroundings) -> Iterator[tuple[Value, Node]]:
    """Each ``(a, b)`` for which the node may be ``a / sqrt(b)``."""
    if isinstance(node.op, Div):
        root = made_by(node.operands[1], around, Sqrt) if node.op.rounding_mode is None else None
        if root and (inner := made_by(root.operands[0], around)):
            yield node.operands[0], inner
        return
    whole = product_of(node, around)
    if len(whole.factors) != 2 or whole.number != 1:
        return
    for numerator, other in (whole.factors, whole.factors[::-1]):
        root = made_by(other, around, Rsqrt)
        if root and (inner := made_by(root.operands[0], around)):
            yield numerator, inner


def _mean_of_squares(spread: Value, x: Value, around: Surroundings) -> int | None:
    """Over how many last dimensions it is the mean of the squares of ``x``."""
    mean = made_by(spread, around, Mean)
    if mean is None:
        return None
    squares = product(mean.operands[0], around)
    return _last_dims(mean, x) if squares.number == 1 and squares.factors == (x, x) else None


def _centred(value: Value, around: Surroundings) -> tuple[Value, int] | None:
    """``x`` and the number of dimensions, if the value is ``x - mean(x)``."""
    maker = around.producer(value)
    if maker is None or not isinstance(maker.op, Sub) or maker.op.alpha != 1:
        return None
    x, other = maker.operands
    mean = around.producer(other)
    if mean is None or not isinstance(mean.op, Mean) or mean.operands != (x,):
        return None
    count = _last_dims(mean, x)
    return (x, count) if count else None


def _variance(spread: Value, x: Value, count: int, around: Surroundings) -> bool:
    maker = made_by(spread, around, Var)
    if maker is None or maker.operands != (x,) or _last_dims(maker, x) != count:
        return False
    return maker.op.unbiased is False or (maker.op.unbiased is None and maker.op.correction == 0)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _last_dims(node: Node, x: Value) -> int | None:
    """How many last dimensions, of known sizes, a reduction is over that keeps them, in the type of ``x``."""
    op = node.op
    assert isinstance(op, Mean | Var)
    if not op.keepdim or op.dim is None or node.result.type.dtype is not x.type.dtype:
        return None
    rank = x.type.rank
    dims = sorted(dim % rank for dim in (op.dim if isinstance(op.dim, tuple) else (op.dim,)))
    is_last = dims == list(range(rank - len(dims), rank))
    static = all(isinstance(x.type.shape[dim], int) for dim in dims)
    return len(dims) if is_last and static and dims else None


def _placed(node: Node, x: Value, count: int, eps: float, around: Surroundings) -> Outcome:
    """A layer normalisation where the mean was taken off before, else an RMS normalisation."""
    centred = _centred(x, around)
    if centred and centred[1] == count:
        return _layer_norm(node, *centred, eps)
    op = RMSNorm(_normalized_shape(x, count), eps, elementwise_affine=False)
    return node.replace(op=op, operands=(x,), slots=("input",))


def _layer_norm(node: Node, x: Value, count: int, eps: float) -> Node:
    op = LayerNorm(_normalized_shape(x, count), eps, elementwise_affine=False)
    return node.replace(op=op, operands=(x,), slots=("input",))


def _normalized_shape(x: Value, count: int) -> int | tuple[int, ...]:
    sizes = tuple(size for size in x.type.shape[-count:] if isinstance(size, int))
    return sizes[0] if count == 1 else sizes


# --- The weight and the bias ------------------------------------------------------------------------------


def _with_weight(node: Node, around: Surroundings) -> Outcome:
    """The normalisation before a product with a constant, or a sum with one, that has its shape."""
    left, right = node.operands if len(node.operands) == 2 else (None, None)
    if left is None or right is None:
        return None
    for value, constant in ((left, right), (right, left)):
        norm = made_by(value, around, LayerNorm, RMSNorm)
        if norm and is_constant(constant, around) and _fits(norm, constant):
            return _joined(norm, constant, node, around)
    return None


def _fits(norm: Node, constant: Value) -> bool:
    op = norm.op
    assert isinstance(op, LayerNorm | RMSNorm)
    shape = (op.normalized_shape,) if isinstance(op.normalized_shape, int) else op.normalized_shape
    return constant.type.shape == shape and constant.type.dtype is norm.result.type.dtype


def _joined(norm: Node, constant: Value, node: Node, around: Surroundings) -> Outcome:
    match node.op, norm.op:
        case Mul(), LayerNorm(elementwise_affine=False):
            op, slot = norm.op.replace(elementwise_affine=True, bias=False), "weight"
        case Mul(), RMSNorm(elementwise_affine=False):
            op, slot = norm.op.replace(elementwise_affine=True), "weight"
        case Add(alpha=1), LayerNorm(elementwise_affine=True, bias=False):
            op, slot = norm.op.replace(bias=True), "bias"
        case _:
            return None
    given = at_key(constant, around, op.key(slot, node.scope))
    return node.replace(op=op, operands=(*norm.operands, given), slots=(*norm.slots, slot))
