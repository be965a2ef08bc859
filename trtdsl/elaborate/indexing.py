"""Indexing: items of lists and strings, and PyTorch's ``x[…]`` on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtdsl.diagnostics import Span
from trtdsl.elaborate.mistakes import mistake
from trtdsl.elaborate.placing import Place, Placer, Use
from trtdsl.elaborate.values import in_words, is_tensor, types_in_words
from trtdsl.ir import Value
from trtdsl.ops.creation import Listed
from trtdsl.ops.indexing import MaskColumn, plan_index
from trtdsl.ops.refused import Refused
from trtdsl.syntax import tree
from trtdsl.types import DType, SymbolicDim
from trtdsl.types.arrays import np


def bound(value: Any, span: Span) -> Any:
    """A slice's bound: an integer, a dimension or nothing."""
    if value is None or (isinstance(value, (int, SymbolicDim)) and not isinstance(value, bool)):
        return value
    raise mistake(f"a slice takes integers, not {in_words(value)}", span)


def item_of(value: Any, subscripts: Sequence[Any], expr: tree.Index) -> Any:
    """``value[subscripts]`` of a list, tuple or string."""
    if not isinstance(value, (list, tuple, str)):
        raise mistake(f"{in_words(value)} cannot be indexed", expr.value.span)
    what = "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "a tuple"
    place = expr.subscripts[0].span
    (subscript, *more) = subscripts
    if more or (not isinstance(subscript, slice) and type(subscript) is not int):
        wanted = f"one integer, not {len(subscripts)}" if more else f"an integer, not {in_words(subscript)}"
        raise mistake(f"{what} is indexed by {wanted}", place, *_held(value, expr))
    try:
        return value[subscript]
    except IndexError as error:
        count = len(value)
        text = f"there is no item {place.text} in {what} of {count}"
        raise mistake(text, place) from error
    except ValueError as error:
        raise mistake("a slice's step cannot be 0", place) from error
    except TypeError as error:
        raise mistake("a list is not sliced at a dynamic dimension", place) from error


def _held(value: Any, expr: tree.Index) -> tuple[str, str]:
    """What a list or tuple of tensors holds, which may have been taken for one tensor, and what to write."""
    types, name = types_in_words(value), expr.value.span.text
    if not types or not isinstance(expr.value, tree.Path):
        return "", ""
    kind = "list" if isinstance(value, list) else "tuple"
    return f"`{name}` is a {kind} of {types}", f"take one of them, `{name}[0]`, or name each: `a, b = …`"


def index_tensor(
    placer: Placer,
    value: Value,
    subscripts: Sequence[Any],
    expr: tree.Index,
    place: Place,
    hints: Sequence[str],
) -> Value:
    """``value[subscripts]`` of a tensor, as the nodes that PyTorch's rules make of it."""
    name = expr.value.span.text
    note = f"`{name}` is {value.type}" if isinstance(expr.value, tree.Path) else f"indexed is {value.type}"
    try:
        spread = [
            column
            for subscript, part in zip(subscripts, expr.subscripts, strict=True)
            for column in _columns(placer, subscript, part.span, place)
        ]
        plan = plan_index(value.type, [described for described, _ in spread])
    except Refused as refusal:
        raise mistake(refusal.message, expr.span, note, refusal.help or "") from refusal
    for number, step in enumerate(plan):
        slots = [operand.name for operand in step.op.operands]
        given = [("indices", tensor) for index in step.indices if (tensor := spread[index][1])]
        wish = hints if number == len(plan) - 1 else ()
        use = Use(step.op, [(slots[0], value), *given], expr.span, place, hints=wish, note=note)
        (value,) = placer.apply(use)
    return value


def _columns(placer: Placer, subscript: Any, span: Span, place: Place) -> list[tuple[Any, Value | None]]:
    """What a subscript is for the plan, with its tensor if it is one; a known mask has several."""
    mask = placer.constant(subscript) if is_tensor(subscript) else _listed(subscript)
    if mask is None or mask.dtype.kind != "b" or mask.ndim == 0:
        if mask is not None and isinstance(subscript, list):
            subscript = _constant(placer, mask, span, place)
        return [(subscript.type, subscript) if is_tensor(subscript) else (subscript, None)]
    columns = [_constant(placer, positions, span, place) for positions in mask.nonzero()]
    sized = zip(mask.shape, columns, strict=True)
    return [(MaskColumn(column.type, size), column) for size, column in sized]


def _listed(subscript: Any) -> Any:
    """The array of a list of integers or booleans, None for anything else."""
    if not isinstance(subscript, list):
        return None
    array = Listed(_nested(subscript)).array() if subscript else np.zeros(0, np.int64)
    if array.dtype.kind not in "bi":
        raise Refused("a list among subscripts holds integers or booleans")
    return array


def _nested(value: Any) -> Any:
    """Lists as tuples; refused where they hold anything but numbers."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_nested, value))
    if not isinstance(value, (bool, int, float)):
        raise Refused(f"a list among subscripts holds integers or booleans, not {in_words(value)}")
    return value


def _constant(placer: Placer, array: Any, span: Span, place: Place) -> Value:
    """Positions as a tensor."""
    constant = Listed(_nested(array.tolist()), None if array.size else DType.INT64)
    return placer.apply(Use(constant, (), span, place))[0]
