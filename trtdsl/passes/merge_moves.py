"""Reshapes and permutations after one another become as few as can be.

What moves elements without choosing any is a sequence of two kinds of steps: a permutation, and another shape
for the elements in order. Two neighbours of a kind are one, and a step that changes nothing goes. Where only
dimensions of size 1 change places a permutation is but another shape, and a shape can stand on either side of
a permutation that leaves together what it joins or divides. TensorRT's shuffle layer does a permutation, a
shape and a permutation at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, rewrite
from trtdsl.ops.base import Op
from trtdsl.ops.shape import Permute, Permuting, Reshape, Reshaping
from trtdsl.ops.shuffle import Shuffle
from trtdsl.passes.declare import graph_pass
from trtdsl.types import Dim, dimension_groups

Shape: TypeAlias = tuple[Dim, ...]


@graph_pass(
    after=["fold_constants", "merge_common_subexpressions", "fold_batch_norm"],
    before=["remove_dead_nodes"],
    why="the other passes know the operators that it merges",
)
def merge_moves(graph: Graph) -> Graph:
    """Merge reshapes and permutations after one another, or cancel them.

    A value that something else reads, too, is left as it is, unless all that follows it is undone.

    before::

        model example() {
          input x: float32[2, 5, 12]
          heads = reshape(x, (2, 5, 3, 4))
          y = transpose(heads, 1, 2)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 5, 12]
          y = shuffle(x, (0, 1, 2), (2, 5, 3, 4), (0, 2, 1, 3))
          output y = y
        }
    """
    return rewrite(graph, _merged)


class Turn(NamedTuple):
    """A permutation: which dimension each one of the result was."""

    order: tuple[int, ...]


class Form(NamedTuple):
    """Another shape for the elements in order."""

    shape: Shape


Step: TypeAlias = Turn | Form


def _merged(node: Node, around: Surroundings) -> Outcome:
    if not _is_move(node):
        return None
    (source,) = node.operands
    before = around.producer(source)
    if before is None or not _is_move(before):
        return None
    (origin,) = before.operands
    steps = shortest(origin.type.shape, [*_steps(before), *_steps(node)])
    if not steps and origin.type == node.result.type:
        return origin
    op = _as_one(origin, steps)
    if op is None or not around.is_read_once(source):
        return None
    return node.replace(op=op, operands=(origin,), slots=("input",))


def _is_move(node: Node) -> bool:
    return isinstance(node.op, Reshaping | Permuting | Shuffle)


def _steps(node: Node) -> Iterator[Step]:
    (source,) = node.operands
    shape, op = source.type.shape, node.op
    if isinstance(op, Permuting):
        yield Turn(op.permutation(len(shape)))
    elif isinstance(op, Shuffle):
        first, second = op.orders(len(shape))
        result = node.result.type.shape
        yield Turn(first)
        yield Form(tuple(result[second.index(axis)] for axis in range(len(second))))
        yield Turn(second)
    else:
        yield Form(node.result.type.shape)


def _as_one(origin: Value, steps: Sequence[Step]) -> Op | None:
    """The operator that takes these steps; None where no single one does."""
    rank = origin.type.rank
    match steps:
        case [Turn(order)]:
            return Permute(order)
        case [Form(shape)]:
            return Reshape(shape)
        case [Turn(first), Form(shape)]:
            return Shuffle(first, shape, tuple(range(len(shape))))
        case [Form(shape), Turn(second)]:
            return Shuffle(tuple(range(rank)), shape, second)
        case [Turn(first), Form(shape), Turn(second)]:
            return Shuffle(first, shape, second)
        case _:
            return None


# --- Steps ------------------------------------------------------------------------------------------------


def shortest(shape: Shape, steps: Sequence[Step]) -> list[Step]:
    """The same movement of a tensor of this shape, in the fewest steps that are found."""
    plain = _joined(shape, steps)
    others = [_joined(shape, _sorted(shape, plain, forms_first)) for forms_first in (True, False)]
    return min([plain, *others], key=len)


def _joined(shape: Shape, steps: Sequence[Step]) -> list[Step]:
    """The steps without those that change nothing, neighbours of a kind as one."""
    found: list[tuple[Step, Shape]] = []
    for step in steps:
        given = found[-1][0] if found else None
        start = found[-2][1] if len(found) > 1 else shape
        if isinstance(step, Turn) and isinstance(given, Turn):
            found.pop()
            step = Turn(tuple(given.order[axis] for axis in step.order))
        elif isinstance(step, Form) and isinstance(given, Form):
            found.pop()
        else:
            start = found[-1][1] if found else shape
        result = _result(start, step)
        if isinstance(step, Turn) and _keeps_order(start, step):
            # Only dimensions of size 1 change places: perhaps none, perhaps it joins the form before.
            step = Form(result)
            if found and isinstance(found[-1][0], Form):
                found.pop()
                start = found[-1][1] if found else shape
        if result != start or isinstance(step, Turn):
            found.append((step, result))
    again = [step for step, _ in found]
    return again if len(again) == len(steps) else _joined(shape, again)


def _sorted(shape: Shape, steps: Sequence[Step], forms_first: bool) -> list[Step]:
    """The steps, each form moved past the turn beside it where it can be."""
    found = list(steps)
    for place in range(len(found) - 1) if not forms_first else reversed(range(len(found) - 1)):
        start = shape
        for step in found[:place]:
            start = _result(start, step)
        one, other = found[place], found[place + 1]
        if forms_first and isinstance(one, Turn) and isinstance(other, Form):
            found[place : place + 2] = _form_first(start, one, other) or (one, other)
        elif not forms_first and isinstance(one, Form) and isinstance(other, Turn):
            found[place : place + 2] = _turn_first(start, one, other) or (one, other)
    return found


def _form_first(start: Shape, turn: Turn, form: Form) -> tuple[Form, Turn] | None:
    """A form, then a turn, that do the same; None where the form joins or divides what the turn parts."""
    before, after = _sized(start), _sized(form.shape)
    between = [axis for axis in turn.order if axis in before]
    groups = dimension_groups([start[axis] for axis in between], [form.shape[axis] for axis in after])
    made = _in_order(([before.index(axis) for axis in between[old]], after[new]) for old, new in groups)
    if made is None:
        return None
    single = iter(range(len(made), len(form.shape)))
    order = tuple(made.index(axis) if axis in made else next(single) for axis in range(len(form.shape)))
    ones = (1,) * (len(form.shape) - len(made))
    return Form((*(form.shape[axis] for axis in made), *ones)), Turn(order)


def _turn_first(start: Shape, form: Form, turn: Turn) -> tuple[Turn, Form] | None:
    """A turn, then a form, that do the same; None where the turn parts what the form joins or divides."""
    before, between = _sized(start), _sized(form.shape)
    after = [axis for axis in turn.order if axis in between]
    groups = dimension_groups([start[axis] for axis in before], [form.shape[axis] for axis in between])
    order = _in_order(([after.index(axis) for axis in between[new]], before[old]) for old, new in groups)
    if order is None:
        return None
    ones = (axis for axis in range(len(start)) if axis not in before)
    return Turn((*order, *ones)), Form(_result(form.shape, turn))


def _in_order(groups: Iterable[tuple[Sequence[int], Sequence[int]]]) -> list[int] | None:
    """The axes of all groups, each given as its places and its axes, by place; None where places of one do
    not follow one another."""
    ordered = sorted(groups)
    if any(one + 1 != other for places, _ in ordered for one, other in pairwise(places)):
        return None
    return [axis for _, axes in ordered for axis in axes]


def _result(shape: Shape, step: Step) -> Shape:
    return step.shape if isinstance(step, Form) else tuple(shape[axis] for axis in step.order)


def _sized(shape: Shape) -> list[int]:
    """The dimensions that are not of size 1."""
    return [axis for axis, size in enumerate(shape) if size != 1]


def _keeps_order(shape: Shape, turn: Turn) -> bool:
    order = [axis for axis in turn.order if shape[axis] != 1]
    return order == sorted(order)
