"""Items compared but for their numbers.

In: statements and loops whose values are known by local numbers.  Out: a skeleton, equal for two items that
differ in compile-time values only, and those values in a fixed order, its holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from trtdsl.importers.sketch import (
    Apply,
    Branch,
    Choice,
    Cut,
    Expression,
    Infix,
    Item,
    Items,
    Literal,
    Loop,
    Statement,
    Subscript,
    Text,
    Use,
)
from trtdsl.importers.spelling import default_of
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS

Skeleton: TypeAlias = Any
Hole: TypeAlias = Any
"""A compile-time value: a number, a dimension, a string, a tuple of them."""


ACTIVATIONS = frozenset(
    {
        "celu",
        "elu",
        "gelu",
        "hardsigmoid",
        "hardswish",
        "leaky_relu",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
    }
    | {"silu", "softplus", "tanh"}
)
"""Functions of one tensor that a block may be given as a parameter."""


class Function(msgspec.Struct, frozen=True):
    """An operator as a compile-time value."""

    name: str

    def __str__(self) -> str:
        return self.name


def completed(apply: Apply) -> Apply:
    """A call with every parameter, also those that are the operator's defaults."""
    if apply.function not in OPERATORS and apply.function not in SPELLINGS:
        return apply
    if any(not name for name, _ in apply.arguments):
        return apply
    op = OPERATORS[apply.function] if apply.function in OPERATORS else SPELLINGS[apply.function][0]
    given = {name for name, _ in apply.arguments}
    missing = [
        (name, Literal(default))
        for name in op.parameters
        if name not in given and (default := default_of(apply.function, name)) is not REQUIRED
    ]
    return msgspec.structs.replace(apply, arguments=(*apply.arguments, *missing)) if missing else apply


def pruned(apply: Apply) -> Apply:
    """A call without the parameters that are the operator's defaults."""
    if apply.function not in OPERATORS and apply.function not in SPELLINGS:
        return apply
    kept = [
        (name, value)
        for number, (name, value) in enumerate(apply.arguments)
        if number < apply.positional or not _is_default(apply.function, name, value)
    ]
    op = OPERATORS[apply.function] if apply.function in OPERATORS else SPELLINGS[apply.function][0]
    order = {name: number for number, name in enumerate(op.parameters)}
    named = sorted(kept[apply.positional :], key=lambda each: order.get(each[0], -1))
    return msgspec.structs.replace(apply, arguments=(*kept[: apply.positional], *named))


def activation_of(expression: Expression) -> Function | None:
    """The function that an expression applies to one tensor with its defaults, if a block may be given it."""
    if (
        not isinstance(expression, Apply)
        or expression.function not in ACTIVATIONS
        or expression.label is not None
    ):
        return None
    return Function(expression.function) if len(pruned(expression).arguments) == 1 else None


def _is_default(function: str, name: str, value: Expression) -> bool:
    if not isinstance(value, Literal) or not name:
        return False
    default = default_of(function, name)
    return type(default) is type(value.value) and default == value.value


def _order(apply: Apply) -> list[int]:
    """The numbers of a call's arguments: those by position first, then the others by name."""
    named = range(apply.positional, len(apply.arguments))
    return [*range(apply.positional), *sorted(named, key=lambda number: apply.arguments[number][0])]


def constant_of(expression: Expression) -> tuple[bool, Hole]:
    """Whether an expression is one compile-time value, and which."""
    if isinstance(expression, Literal):
        return True, expression.value
    if isinstance(expression, Items) and not expression.brackets:
        parts = [constant_of(each) for each in expression.items]
        if all(known for known, _ in parts):
            return True, tuple(value for _, value in parts)
    return False, None


def skeleton(item: Item, number: Callable[[str], object], holes: list[Hole]) -> Skeleton:
    """The item's skeleton; its compile-time values are put behind ``holes``."""
    match item:
        case Statement():
            shape = _expression(item.expression, number, holes)
            return (
                "statement",
                shape,
                tuple(None if each is None else number(each) for each in item.results),
            )
        case Loop():
            initials = tuple(number(initial) for *_, initial in item.carried)
            over = _expression(item.over, number, holes)
            starts = tuple(number(start) for _, start, _, _ in item.carried)
            inner = tuple(skeleton(each, number, holes) for each in item.items)
            ends = tuple((number(end), number(result)) for result, _, end, _ in item.carried)
            return ("loop", item.targets, over, initials, starts, inner, ends)
        case Branch():
            raise TypeError("a branch is made of items that were compared already")


def _expression(expression: Expression, number: Callable[[str], object], holes: list[Hole]) -> Skeleton:
    known, value = constant_of(expression)
    if known:
        holes.append(value)
        return "hole"
    activation = activation_of(expression)
    if activation:
        holes.append(activation)
        return "activation", *(_expression(each, number, holes) for each in _operands(expression))
    match expression:
        case Use(value):
            return number(value)
        case Apply():
            apply = completed(expression)
            ordered = [apply.arguments[each] for each in _order(apply)]
            tensors = tuple(_expression(each, number, holes) for each in apply.tensors)
            return (
                apply.function,
                apply.label,
                tensors,
                apply.positional,
                tuple((name, _expression(each, number, holes)) for name, each in ordered),
                tuple((name, _expression(each, number, holes)) for name, each in apply.named_tensors),
            )
        case Infix():
            left = None if expression.left is None else _expression(expression.left, number, holes)
            return expression.operator, left, _expression(expression.right, number, holes)
        case Subscript():
            value = _expression(expression.value, number, holes)
            return "subscript", value, tuple(_expression(each, number, holes) for each in expression.items)
        case Cut():
            parts = (expression.start, expression.stop, expression.step)
            return "cut", tuple(None if each is None else _expression(each, number, holes) for each in parts)
        case Items():
            inner = tuple(_expression(each, number, holes) for each in expression.items)
            return "items", expression.brackets, inner
        case Choice(condition, then, otherwise):
            sides = (_expression(then, number, holes), _expression(otherwise, number, holes))
            return "choice", condition, *sides
        case Text(text):
            return "text", text
        case Literal():
            raise TypeError("a literal is a hole")


def filled(item: Item, values: Iterator[Expression]) -> Item:
    """The item with other expressions in its holes, in the order in which :func:`skeleton` finds them."""
    match item:
        case Statement():
            return msgspec.structs.replace(item, expression=_filled(item.expression, values))
        case Loop():
            over = _filled(item.over, values)
            return msgspec.structs.replace(
                item, over=over, items=tuple(filled(each, values) for each in item.items)
            )
        case Branch():
            raise TypeError("a branch is made of items that were compared already")


def _filled(expression: Expression, values: Iterator[Expression]) -> Expression:
    if constant_of(expression)[0]:
        return next(values)
    if activation_of(expression):
        return _activated(next(values), [_filled(each, values) for each in _operands(expression)])
    match expression:
        case Apply():
            apply = completed(expression)
            tensors = tuple(_filled(each, values) for each in apply.tensors)
            new = {number: _filled(apply.arguments[number][1], values) for number in _order(apply)}
            given = tuple((name, new[number]) for number, (name, _) in enumerate(apply.arguments))
            others = tuple((name, _filled(each, values)) for name, each in apply.named_tensors)
            return msgspec.structs.replace(apply, tensors=tensors, arguments=given, named_tensors=others)
        case Infix():
            left = None if expression.left is None else _filled(expression.left, values)
            return Infix(expression.operator, left, _filled(expression.right, values))
        case Subscript():
            value = _filled(expression.value, values)
            return Subscript(value, tuple(_filled(each, values) for each in expression.items))
        case Cut():
            parts = (expression.start, expression.stop, expression.step)
            return Cut(*(None if each is None else _filled(each, values) for each in parts))
        case Items():
            return Items(tuple(_filled(each, values) for each in expression.items), expression.brackets)
        case Choice(condition, then, otherwise):
            return Choice(condition, _filled(then, values), _filled(otherwise, values))
        case _:
            return expression


def _operands(expression: Expression) -> list[Expression]:
    assert isinstance(expression, Apply)
    return [each for _, each in expression.arguments if not constant_of(each)[0]]


def _activated(function: Expression, operands: Sequence[Expression]) -> Apply:
    name = (
        function.text
        if isinstance(function, Text)
        else str(function.value)
        if isinstance(function, Literal)
        else ""
    )
    return Apply(name, tuple(("input", each) for each in operands), len(operands))


def roles(items: Sequence[Item]) -> list[str]:
    """A name for each hole: the parameter that it is given for."""
    found: list[str] = []
    for item in items:
        _roles_of_item(item, found)
    return found


def _roles_of_item(item: Item, found: list[str]) -> None:
    if isinstance(item, Statement):
        _roles(item.expression, "value", found)
    elif isinstance(item, Loop):
        _roles(item.over, "count", found)
        for each in item.items:
            _roles_of_item(each, found)


def _roles(expression: Expression, role: str, found: list[str]) -> None:
    if constant_of(expression)[0]:
        found.append(role)
        return
    if activation_of(expression):
        found.append("activation")
        for each in _operands(expression):
            _roles(each, role, found)
        return
    match expression:
        case Apply():
            apply = completed(expression)
            for each in apply.tensors:
                _roles(each, role, found)
            for number in _order(apply):
                name, each = apply.arguments[number]
                _roles(each, name or role, found)
            for _, each in apply.named_tensors:
                _roles(each, role, found)
        case Infix():
            if expression.left is not None:
                _roles(expression.left, "scale" if expression.operator == "*" else "value", found)
            _roles(expression.right, "scale" if expression.operator == "*" else "value", found)
        case Subscript():
            _roles(expression.value, role, found)
            for each in expression.items:
                _roles(each, "index", found)
        case Cut():
            for each, name in (
                (expression.start, "start"),
                (expression.stop, "stop"),
                (expression.step, "step"),
            ):
                if each is not None:
                    _roles(each, name, found)
        case Choice():
            for each in (expression.then, expression.otherwise):
                _roles(each, role, found)
        case Items():
            for each in expression.items:
                _roles(each, role, found)
        case _:
            pass
