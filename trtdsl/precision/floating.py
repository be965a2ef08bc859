"""What stays float32 where a model is computed in float16 or bfloat16: the policy, a row at a time.

In: a graph whose masks the type holds, the type, and what the user and data say.  Out: for each operator
that stays, why.  Rows are tried in their order; `keep` and `allow` are patterns over labels and names of
operators, and count more than any row.

TensorRT's own list of kernels says what a row costs. A cast before a softmax, a sum or an exponential rides
in the same kernel, and attention that is written out stays one kernel around a softmax in float32. Layer
norm and its relatives are computed in float32 inside whatever their type is, so that no row names them. Nor
does one name averages, which cannot exceed the largest of their numbers; TensorRT chooses the type in which
they accumulate, as it does for products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.ir import Graph, Node, Value, Weight, graphs
from trtdsl.ops.base import Op
from trtdsl.ops.batch_norm import LocalResponseNorm
from trtdsl.ops.computed_wide import COMPUTED_WIDE
from trtdsl.ops.cumulative import Cumprod, Logcumsumexp
from trtdsl.ops.distance import Cdist, CosineSimilarity, Dist, PairwiseDistance
from trtdsl.ops.pointwise import Mul, Pow
from trtdsl.ops.reduction import Cumsum, Prod, Sum
from trtdsl.ops.rules import wrap_dim
from trtdsl.ops.sampling import AffineGrid, GridSample
from trtdsl.ops.softmax import LogSoftmax, Softmax, Softmin
from trtdsl.ops.statistics import Nansum, Renorm
from trtdsl.ops.unary import Cos, Cosh, Exp, Expm1, Sin, Sinh, Square, Tan
from trtdsl.precision.known import Known, describe, numbers_of
from trtdsl.precision.labels import matching
from trtdsl.types import Dim, DType, SymbolicDim, bounds

LONG_SUM = 64
"""Terms beyond which a sum is long: those of as many roundings lose a bit in the mean, and three at worst."""


@dataclass(frozen=True)
class Row:
    """A kind of operator that stays float32, and why. ``holds`` says of which nodes; with ``arguments`` its
    inputs are computed in float32 too, back to the nearest products."""

    operators: tuple[type[Op], ...]
    why: str
    holds: Callable[[Node], bool] = lambda node: True
    arguments: bool = False

    def names(self, node: Node) -> bool:
        return isinstance(node.op, self.operators) and self.holds(node)


def _terms(node: Node) -> int:
    """How many numbers one number of the result is made of, at the largest sizes."""
    before, after = list(node.operands[0].type.shape), list(node.result.type.shape)
    for dim in [*after]:
        if dim in before:
            before.remove(dim)
            after.remove(dim)
    return max(_count(before, 1) // max(_count(after, 0), 1), 1)


def _count(shape: Sequence[Dim], end: int) -> int:
    count = 1
    for dim in shape:
        count *= bounds(dim)[end] if isinstance(dim, SymbolicDim) else dim
    return count


def _steps(node: Node) -> int:
    """How many numbers stand along the dimension that an operator runs along, at most."""
    shape, op = node.operands[0].type.shape, node.op
    dim: Any = getattr(op, "dim", -1)
    return _count([shape[wrap_dim(dim, len(shape))]], 1) if shape else 1


def _is_square(node: Node) -> bool:
    return node.operands[0] is node.operands[1]


POLICY: tuple[Row, ...] = (
    Row(
        (Softmax, Softmin, LogSoftmax),
        f"it adds up more than {LONG_SUM} exponentials",
        lambda n: _steps(n) > LONG_SUM,
    ),
    Row(
        (Exp, Expm1, Sinh, Cosh),
        "an exponential leaves float16's range from 11.1 on, and multiplies the error of what it reads",
    ),
    Row((Pow, Square), "a power leaves float16's range soon, a square at 256 and below 0.008"),
    Row((Mul,), "a square leaves float16's range at 256 and below 0.008", _is_square),
    Row(
        (Cumsum, Cumprod, Logcumsumexp),
        f"it adds up more than {LONG_SUM} terms",
        lambda n: _steps(n) > LONG_SUM,
    ),
    Row((Sum, Nansum, Prod), f"it adds up more than {LONG_SUM} terms", lambda n: _terms(n) > LONG_SUM),
    Row((Renorm, LocalResponseNorm), "it divides by a sum of squares"),
    Row((CosineSimilarity, PairwiseDistance, Dist, Cdist), "it sums squares"),
    Row(
        (Sin, Cos, Tan), "its angle may be large, and 11 bits of 2048 leave out whole radians", arguments=True
    ),
    Row((GridSample, AffineGrid), "11 bits do not place a point within a pixel", arguments=True),
)
"""What stays float32 whatever the numbers are."""

NEEDED = tuple(row for row in POLICY if row.arguments)
"""Those without which a result can be wrong, not merely less exact, where TensorRT chooses the types."""


@dataclass(frozen=True)
class FloatingPolicy:
    """What the user says: patterns over labels and operators that stay float32, or that no row is for."""

    keep: Sequence[str] = ()
    allow: Sequence[str] = ()

    def kept(self, node: Node) -> str | None:
        return matching((node.scope, node.op.name), self.keep)

    def allowed(self, node: Node) -> bool:
        return matching((node.scope, node.op.name), self.allow) is not None

    def is_about(self, node: Node) -> bool:
        """Whether the user says in which type a node is computed."""
        return self.kept(node) is not None or self.allowed(node)


def reasons(
    graph: Graph,
    dtype: DType,
    policy: FloatingPolicy,
    found: Known,
    ranges: Mapping[Value, str],
    rows: Sequence[Row] = POLICY,
) -> dict[Node, str]:
    """Why nodes stay float32, by what was asked for, rows of the policy, the model's own numbers, and data.

    ``ranges`` says of values why the type does not hold them.
    """
    stay: dict[Node, str] = {}
    for each in graphs(graph):
        for node in each.nodes:
            if _is_wide(node) and (why := _reason(node, dtype, policy, found, ranges, rows)):
                stay[node] = why
    return stay


def _is_wide(node: Node) -> bool:
    """Whether a node makes or reads float32."""
    return any(value.type.dtype is DType.FLOAT32 for value in (*node.operands, *node.results))


def _reason(
    node: Node,
    dtype: DType,
    policy: FloatingPolicy,
    found: Known,
    ranges: Mapping[Value, str],
    rows: Sequence[Row],
) -> str | None:
    if pattern := policy.kept(node):
        return f"it matches `{pattern}` in `--keep`"
    if policy.allowed(node):
        return None
    if row := next((row for row in rows if row.names(node)), None):
        return row.why
    return next(iter((*_by_data(node, ranges), *_by_numbers(node, dtype, found))), None)


def _by_data(node: Node, ranges: Mapping[Value, str]) -> Iterator[str]:
    yield from (f"its result {ranges[value]}" for value in node.results if value in ranges)
    for slot, value in zip(node.slots, node.operands, strict=True):
        if value in ranges and not takes_cut_off(node, slot):
            yield f"what it reads {ranges[value]}"


def _by_numbers(node: Node, dtype: DType, found: Known) -> Iterator[str]:
    if not node.tensors and not node.weights:
        return
    for slot, value in zip(node.slots, node.operands, strict=True):
        if takes_cut_off(node, slot):
            continue
        what = f"`{value.key}`" if isinstance(value, Weight) else "what it reads"
        if value in found.beyond:
            yield f"{what} reaches {describe(found.beyond[value])}, beyond {dtype}'s {dtype.largest:.6g}"
        elif value in found.small and not _is_added(slot):
            yield f"{what} has numbers below {describe(dtype.smallest_normal)}, of which {dtype} loses digits"
    for name, number in numbers_of(node):
        if number and abs(number) < dtype.smallest_normal and node.op.name not in COMPUTED_WIDE:
            yield f"its `{name}` {describe(number)} is below what {dtype} holds with all digits"


def _is_added(slot: str) -> bool:
    """Whether an operand is added to products of others, beside which what it loses of small numbers is
    nothing."""
    return "bias" in slot


def takes_cut_off(node: Node, slot: str) -> bool:
    """Whether an operand may be cut off to the narrow type's range: a mask of attention may."""
    return slot == "attn_mask"
