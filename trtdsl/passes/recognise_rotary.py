"""Rotary embeddings that are written out are found again.

``x * cos + rotated(x) * sin``, where ``rotated`` is the second half of a head's numbers, negated, before the
first, turns every pair of numbers by an angle. TensorRT has a layer for it, which takes each cosine and sine
once, where models lay them out twice, ``cat([angles, angles])``.
"""

from __future__ import annotations

from trtdsl.ir import Builder, Graph, Node, Outcome, Refusal, Surroundings, Value, rewrite
from trtdsl.ops.base import Op
from trtdsl.ops.indexing import Slice
from trtdsl.ops.joining import Cat
from trtdsl.ops.logic import To
from trtdsl.ops.pointwise import Add, Mul
from trtdsl.ops.rotary import RotaryEmbedding
from trtdsl.ops.shape import Expand, Reshape, Unsqueeze
from trtdsl.ops.unary import Cos, Neg, Sin
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import made_by, number_of
from trtdsl.types import Dim


@graph_pass(
    tolerance=1e-6,
    after=["merge_common_subexpressions", "simplify_arithmetic"],
    before=["merge_moves"],
    why="one table of angles is then the same for all layers",
)
def recognise_rotary(graph: Graph) -> Graph:
    """Find rotary embeddings of `[N, heads, S, width]` in the operators that compute them.

    before::

        model example() {
          input x: float32[2, 3, 5, 8]
          angles = mul(arange(5) -> to(float32) -> unsqueeze(1), full((4,), 0.5))
          twice = cat([angles, angles], -1) -> unsqueeze(0) -> unsqueeze(0)
          c = cos(twice)
          s = sin(twice)
          rotated = cat([neg(slice(x, 3, 4)), slice(x, 3, 0, 4)], -1)
          y = add(mul(x, c), mul(rotated, s))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 3, 5, 8]
          angles = mul(arange(5) -> to(float32) -> unsqueeze(1), full((4,), 0.5))
          twice = cat([angles, angles], -1) -> unsqueeze(0) -> unsqueeze(0)
          c = cos(twice)
          s = sin(twice)
          c_part = slice(c, 3, 0, 4)
          c_rows = reshape(c_part, (1, 5, 4))
          c_half = expand(c_rows, (2, 5, 4))
          s_part = slice(s, 3, 0, 4)
          s_rows = reshape(s_part, (1, 5, 4))
          s_half = expand(s_rows, (2, 5, 4))
          y = rotary_embedding(x, c_half, s_half)
          output y = y
        }
    """
    return rewrite(graph, _Recognise)


class _Recognise:
    """Remembers the tables that were halved."""

    def __init__(self) -> None:
        self._halves: dict[tuple[Value, Dim], Value] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if not isinstance(node.op, Add) or node.op.alpha != 1:
            return None
        products = [made_by(value, around, Mul) for value in node.operands]
        for plain, mixed in (products, products[::-1]):
            found = _parts(plain, mixed, around) if plain and mixed else None
            if found is not None:
                return self._placed(node, *found, around)
        return None

    def _placed(self, node: Node, x: Value, cosine: Value, sine: Value, around: Surroundings) -> Outcome:
        batch, _, length, width = x.type.shape
        if x.type != node.result.type or not isinstance(width, int):
            return None
        for table in (cosine, sine):
            if table.type.dtype is not x.type.dtype or not _is_table(table, (batch, length, width)):
                return Refusal(f"the angles are {table.type} for numbers {x.type}")
            if not _is_doubled(table, around):
                return Refusal("it cannot be seen that both halves of a head turn by the same angles")
        build = around.builder()
        halves = [self._half(build, table, x, node) for table in (cosine, sine)]
        build.place(
            RotaryEmbedding(), x, *halves, scope=node.scope, origins=node.origins, results=node.results
        )
        return build.nodes

    def _half(self, build: Builder, table: Value, x: Value, node: Node) -> Value:
        """``[N, S, width / 2]`` of a table ``[N or 1, 1, S, width]``."""
        batch, _, length, width = x.type.shape
        assert isinstance(width, int)
        if (table, batch) not in self._halves:
            half = table
            ops: list[Op] = [Slice(3, 0, width // 2), Reshape((table.type.shape[0], length, width // 2))]
            if table.type.shape[0] != batch:
                ops.append(Expand((batch, length, width // 2)))
            for op, name in zip(ops, ("part", "rows", "half"), strict=False):
                name = f"{table.name}_{name}"
                half = build.value(op, half, name=name, scope=node.scope, origins=node.origins)
            self._halves[table, batch] = half
        return self._halves[table, batch]


def _parts(plain: Node, mixed: Node, around: Surroundings) -> tuple[Value, Value, Value] | None:
    """``x``, the cosines and the sines of ``x * cos + rotated(x) * sin``."""
    for rotated, sine in (mixed.operands, mixed.operands[::-1]):
        x = _rotated(rotated, around)
        if x is not None and x.type.rank == 4 and x in plain.operands:
            left, right = plain.operands
            return x, right if left is x else left, sine
    return None


def _rotated(value: Value, around: Surroundings) -> Value | None:
    """``x``, if the value is ``cat([-x[…, half:], x[…, :half]], -1)``."""
    joined = made_by(value, around, Cat)
    if joined is None or len(joined.operands) != 2 or joined.op.dim % value.type.rank != value.type.rank - 1:  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return None
    negative = made_by(joined.operands[0], around, Neg)
    second = made_by(negative.operands[0], around, Slice) if negative else None
    first = made_by(joined.operands[1], around, Slice)
    if first is None or second is None or first.operands[0] is not second.operands[0]:
        return None
    x = first.operands[0]
    width = x.type.shape[-1]
    if not isinstance(width, int) or width % 2:
        return None
    wanted = ((0, width // 2), (width // 2, width // 2))
    return x if tuple(_bounds(part, x) for part in (first, second)) == wanted else None


def _bounds(part: Node, x: Value) -> tuple[Dim, Dim] | None:
    """The first position and the number of elements of a slice of the last dimension."""
    op = part.op
    assert isinstance(op, Slice)
    is_last = op.dim % x.type.rank == x.type.rank - 1 and op.step == 1
    return op.bounds(x.type.shape[-1]) if is_last else None


def _is_table(table: Value, sizes: tuple[Dim, Dim, int]) -> bool:
    batch, length, width = sizes
    shape = table.type.shape
    return len(shape) == 4 and shape[0] in (1, batch) and shape[1:] == (1, length, width)


def _is_doubled(value: Value, around: Surroundings) -> bool:
    """Whether the second half of the last dimension is the first again."""
    maker = around.producer(value)
    if maker is None:
        return False
    last = value.type.rank - 1
    match maker.op:
        case Cat(dim=dim):
            left, *rest = maker.operands
            return dim % value.type.rank == last and rest == [left]
        case Cos() | Sin() | To():
            return _is_doubled(maker.operands[0], around)
        case Unsqueeze(dim=dim):
            return dim % value.type.rank != last and _is_doubled(maker.operands[0], around)
        case Mul():
            left, right = maker.operands
            known = [number_of(each, around) is not None for each in (left, right)]
            return (known[1] and _is_doubled(left, around)) or (known[0] and _is_doubled(right, around))
        case _:
            return False
