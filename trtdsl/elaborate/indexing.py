"""Indexing: items of lists and strings, and PyTorch's ``x[…]`` on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtdsl.diagnostics import Span
from trtdsl.elaborate.mistakes import mistake
from trtdsl.elaborate.placing import Place, Placer, Use
from trtdsl.elaborate.values import in_words, is_tensor
from trtdsl.ir import Value
from trtdsl.ops.indexing import plan_index
from trtdsl.ops.refused import Refused
from trtdsl.syntax import tree
from trtdsl.types import SymbolicDim


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
    if more:
        raise mistake(f"{what} is indexed by one integer, not {len(subscripts)}", place)
    if not isinstance(subscript, slice) and type(subscript) is not int:
        raise mistake(f"{what} is indexed by an integer, not {in_words(subscript)}", place)
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


def index_tensor(
    placer: Placer,
    value: Value,
    subscripts: Sequence[Any],
    expr: tree.Index,
    place: Place,
    hints: Sequence[str],
) -> Value:
    """``value[subscripts]`` of a tensor, as the nodes that PyTorch's rules make of it."""
    types = [item.type if is_tensor(item) else item for item in subscripts]
    name = expr.value.span.text
    note = f"`{name}` is {value.type}" if isinstance(expr.value, tree.Path) else f"indexed is {value.type}"
    try:
        plan = plan_index(value.type, types)
    except Refused as refusal:
        raise mistake(refusal.message, expr.span, note, refusal.help or "") from refusal
    indices = [item for item in subscripts if is_tensor(item)]
    for number, op in enumerate(plan):
        slots = [operand.name for operand in op.operands]
        operands = [value, *(indices if len(slots) > 1 else ())]
        wish = hints if number == len(plan) - 1 else ()
        slotted = list(zip(slots, operands, strict=True))
        (value,) = placer.apply(Use(op, slotted, expr.span, place, hints=wish, note=note))
    return value
