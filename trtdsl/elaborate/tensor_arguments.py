"""How tensors are given: several in a tuple, some in a tuple of their own, many as a list.

In: what is piped into a callee, or given to it.  Out: its arguments one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from trtdsl.diagnostics import Span
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.values import Argument, Builtin, Configured, OperatorRef, is_tensor
from trtdsl.ops.base import Op


def spread(piped: Argument, stage: Span, callee: Any) -> list[Argument]:
    """The piped value as leading arguments: a tuple of tensors, and of `none` for those left out, is several.

    What is wrong with a tensor is shown at the stage, whose note says what is piped in.
    """
    values: Any = piped.value
    nests = _nests(callee)
    if (
        isinstance(values, tuple)
        and values
        and is_tensor(values[0])
        and all(_is_optional_tensor(value) or (nests and _is_nested(value)) for value in values[1:])
    ):
        return [Argument(value, stage) for value in values]
    return [Argument(values, stage)] if is_tensor(values) else [piped]


def _nests(callee: Any) -> bool:
    """Whether PyTorch takes some tensors of a module in a tuple."""
    module = callee.callee if isinstance(callee, Configured) else callee
    return isinstance(module, OperatorRef) and bool(module.op.tuple_operands)


def _is_nested(value: object) -> bool:
    values: Any = value
    return isinstance(values, tuple) and all(map(is_tensor, values))


def out_of_tuples(op: Op, tensors: Sequence[Argument]) -> Sequence[Argument]:
    """The tensors one by one, those that stand in a tuple as PyTorch takes them."""
    if not op.tuple_operands:
        return tensors
    found: list[Argument] = []
    for argument in tensors:
        apart = argument.name is None and _is_nested(argument.value)
        found += [Argument(each, argument.span) for each in argument.value] if apart else [argument]
    return found


def _is_optional_tensor(value: object) -> bool:
    return value is None or is_tensor(value)


def may_be_tensors(value: object) -> bool:
    """Whether a value may stand where tensors do: a tensor, several of them, or none."""
    return _is_optional_tensor(value) or isinstance(value, (list, tuple))


def gathered(callee: Any, tensors: list[Argument]) -> list[Argument]:
    """Tensors piped into a function that takes a list, such as ``cat``, as that list.

    It is given by name where something else comes first, as ``einsum``'s equation does.
    """
    operator = callee.operator if isinstance(callee, Builtin) else callee
    if not isinstance(operator, OperatorRef) or not all(is_tensor(each.value) for each in tensors):
        return tensors
    operands, order = operator.op.operands, operator.op.order
    if not operands or not operands[0].variadic:
        return tensors
    name = operands[0].name if order and order[0] != operands[0].name else None
    return [Argument([argument.value for argument in tensors], tensors[0].span, name)]


def lacking(
    callee: str, name: str, needed: Sequence[str], given: Collection[str], span: Span, otherwise: str = ""
) -> Mistake:
    """That a module or block was not given the tensor ``name``; and all that it ``needed`` where it was given
    some of those, or else what to write ``otherwise``."""
    if {*given} & {*needed}:
        otherwise = f"it takes the tensors `({', '.join(needed)})`, which may be the same one"
    return mistake(f"`{callee}` needs the tensor `{name}`", span, "", otherwise)
