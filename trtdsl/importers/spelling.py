"""Arguments by name as the language writes them: what is required by position, what is a default left out.

In: an operator's name and PyTorch's arguments.  Out: the call, or in words why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtdsl.importers.program import Argument, Ref
from trtdsl.importers.sketch import Apply, Expression, Items, Literal, Use
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS, Op

_SIZES = frozenset({"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"})
"""Parameters for which one number stands for a tuple of equal ones."""

_UNDERSTOOD = frozenset({"dim", "dims", "start_dim"})
"""Parameters that may be left out and are understood without their names."""

_MEANINGLESS = frozenset(
    {"device", "layout", "pin_memory", "memory_format", "non_blocking", "implicit", "generator"}
)
"""ATen's arguments that no result depends on."""


def expression_of(argument: Argument) -> Expression:
    """An argument as an expression; a sequence as a tuple, or as a list where it holds tensors."""
    if isinstance(argument, Ref):
        return Use(argument.value)
    if isinstance(argument, tuple):
        items = tuple(expression_of(item) for item in argument)
        return Items(items, brackets=any(isinstance(item, Use) for item in items))
    return Literal(argument)


def apply_by_name(name: str, arguments: Mapping[str, Argument]) -> Expression | str:
    """The function of this name given these arguments, or why that cannot be written."""
    if name not in OPERATORS and name not in SPELLINGS:
        return "the language does not have it"
    op = OPERATORS[name] if name in OPERATORS else SPELLINGS[name][0]
    operands = [operand.name for operand in op.operands]
    own = {*operands, *op.parameters}
    given = dict(arguments)
    if "self" in given:
        given[_first(op, given)] = given.pop("self")
    for argument in list(given):
        value = given[argument]
        if argument not in own:
            if (
                argument not in _MEANINGLESS
                and argument not in op.ignored
                and value not in (None, False, 0, 1)
            ):
                return f"the language's `{name}` has no `{argument}`"
            del given[argument]
        elif value is None:
            del given[argument]
    order = dict.fromkeys((*(op.order or operands), *op.parameters))
    written, positional = _ordered(op, name, order, given)
    return Apply(name, tuple(written), positional)


def _first(op: type[Op], given: Mapping[str, Argument]) -> str:
    """What the operator calls ATen's ``self``."""
    names = [*(operand.name for operand in op.operands), *op.parameters]
    return next(name for name in names if name not in given)


def _ordered(
    op: type[Op], name: str, order: Mapping[str, Any], given: Mapping[str, Argument]
) -> tuple[list[tuple[str, Expression]], int]:
    """The arguments in order, and how many of them are written by position."""
    written: list[tuple[str, Expression]] = []
    defaults = SPELLINGS[name][1].defaults if name in SPELLINGS else {}
    positional, by_position = 0, True
    tensors = {operand.name for operand in op.operands}
    for parameter in order:
        if parameter not in given:
            by_position = by_position and parameter == op.variadic
            continue
        value = collapsed(parameter, given[parameter])
        default = REQUIRED if parameter in tensors else defaults.get(parameter, op.default(parameter))
        if default is not REQUIRED and _same(value, collapsed(parameter, default)):
            by_position = False
            continue
        by_position = by_position and (
            parameter in tensors or default is REQUIRED or parameter in _UNDERSTOOD
        )
        if by_position and parameter == op.variadic and isinstance(value, tuple) and len(value) > 1:
            written += [(parameter, expression_of(each)) for each in value]
            positional += len(value)
            by_position = False
            continue
        written.append((parameter, expression_of(value)))
        positional += by_position
    return written, positional


def default_of(function: str, parameter: str) -> Any:
    """What a parameter is where it is left out; :data:`~trtdsl.ops.base.REQUIRED` where it may not be."""
    if function in SPELLINGS:
        op, spelling = SPELLINGS[function]
        if parameter in spelling.defaults:
            return spelling.defaults[parameter]
    else:
        op = OPERATORS[function]
    return op.default(parameter) if parameter in op.parameters else REQUIRED


def collapsed(parameter: str, value: Any) -> Any:
    """One number in place of a tuple of equal ones, where the parameter takes either."""
    if parameter in _SIZES and isinstance(value, tuple) and value and len(set(value)) == 1:
        return value[0]
    if parameter == "dim" and isinstance(value, tuple) and len(value) == 1:
        return value[0]
    return value


def _same(left: Any, right: Any) -> bool:
    return (type(left) is type(right) and left == right) or (
        isinstance(left, (int, float))
        and isinstance(right, (int, float))
        and not isinstance(left, bool)
        and not isinstance(right, bool)
        and left == right
    )
