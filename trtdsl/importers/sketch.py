"""What will be written: statements of the language over values, before they have names.

In: translated operations.  Out: for ``structure`` and ``write``; an expression is a tree whose leaves are
values (:class:`Use`) and compile-time values (:class:`Literal`), so that two statements can be compared but
for numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from trtdsl.importers.program import Call, Frame

WORD = re.compile(r"[A-Za-z_]\w*")
"""A name in a text."""


class Use(msgspec.Struct, frozen=True):
    """A value."""

    value: str


class Literal(msgspec.Struct, frozen=True):
    """A number, string, dimension, dtype, truth value or nothing."""

    value: Any


class Text(msgspec.Struct, frozen=True):
    """A compile-time expression as it is written, such as a parameter's name or ``4 * C``."""

    text: str


class Items(msgspec.Struct, frozen=True):
    """A tuple, or with ``brackets`` a list."""

    items: tuple[Expression, ...]
    brackets: bool = False


class Apply(msgspec.Struct, frozen=True):
    """A function ``f(arguments)``, or a module ``label: Name(arguments)(tensors)``."""

    function: str
    arguments: tuple[tuple[str, Expression], ...] = ()
    """with their names, "" where it is not known"""
    positional: int = 0
    """how many of them are written by position"""
    is_module: bool = False
    label: str | Text | None = None
    tensors: tuple[Expression, ...] = ()
    """of a module by position"""
    named_tensors: tuple[tuple[str, Expression], ...] = ()


class Infix(msgspec.Struct, frozen=True):
    """``left operator right``; with no left side a prefix."""

    operator: str
    left: Expression | None
    right: Expression


class Cut(msgspec.Struct, frozen=True):
    """``start:stop:step`` in an index, with None for what is left out."""

    start: Expression | None = None
    stop: Expression | None = None
    step: Expression | None = None


class Subscript(msgspec.Struct, frozen=True):
    """``value[items]``."""

    value: Expression
    items: tuple[Expression, ...]


class Choice(msgspec.Struct, frozen=True):
    """``then if condition else otherwise``."""

    condition: str
    then: Expression
    otherwise: Expression


Expression: TypeAlias = Use | Literal | Text | Items | Apply | Infix | Cut | Subscript | Choice


class Statement(msgspec.Struct, frozen=True):
    """Values made by one expression; a result that nobody reads is ``None``."""

    results: tuple[str | None, ...]
    expression: Expression
    calls: tuple[Call, ...] = ()
    frames: tuple[Frame, ...] = ()


class Branch(msgspec.Struct, frozen=True):
    """``if condition { … }``: each ``(result, inner, before)`` is ``inner`` where it holds, else
    ``before``.
    """

    condition: str
    items: tuple[Item, ...]
    merges: tuple[tuple[str, str, str], ...]


class Loop(msgspec.Struct, frozen=True):
    """``for targets in over { … }``; each carried ``(result, start, end, initial)`` begins as ``initial``, is
    ``start`` in an iteration and ``end`` after it."""

    targets: str
    over: Expression
    items: tuple[Item, ...]
    carried: tuple[tuple[str, str, str, str], ...]


Item: TypeAlias = Statement | Branch | Loop


class Block(msgspec.Struct, frozen=True):
    """A block, or with ``inputs`` and ``outputs`` the model."""

    name: str
    parameters: tuple[tuple[str, Expression | None], ...]
    """each with its default, if it has one"""
    tensors: tuple[tuple[str, str], ...]
    """the values it is given, each with its type's text, "" where that is left out"""
    items: tuple[Item, ...]
    returns: tuple[str, ...]
    documentation: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """what the first of the tensors are called, "" where that is not known"""
    hints: Mapping[str, str] = {}
    """what the source calls a value"""


class Sketch(msgspec.Struct, frozen=True):
    """A whole text, values still without names."""

    model: Block
    blocks: tuple[Block, ...]
    heads: tuple[str, ...]
    """the model's lines for dimensions"""
    outputs: tuple[tuple[str, str], ...]
    """name and value"""


def children(expression: Expression) -> Sequence[Expression]:
    """The expressions right inside one, in the order in which they are written."""
    match expression:
        case Use() | Literal() | Text():
            return ()
        case Apply():
            named = (*expression.arguments, *expression.named_tensors)
            return (*expression.tensors, *[each for _, each in named])
        case Items():
            return expression.items
        case Infix():
            return (expression.right,) if expression.left is None else (expression.left, expression.right)
        case Cut():
            parts = (expression.start, expression.stop, expression.step)
            return [each for each in parts if each is not None]
        case Subscript():
            return (expression.value, *expression.items)
        case Choice():
            return (expression.then, expression.otherwise)


def walk(expression: Expression) -> Iterator[Expression]:
    """An expression and all inside it."""
    left = [expression]
    while left:
        each = left.pop()
        yield each
        if not isinstance(each, (Use, Literal, Text)):
            left += reversed(children(each))


def uses(expression: Expression) -> list[str]:
    """The values that an expression reads, as often as it does."""
    return [each.value for each in walk(expression) if isinstance(each, Use)]


def replaced(expression: Any, change: Callable[[Expression], Expression | None]) -> Any:
    """An expression in which what ``change`` gives something for is that; the outer first."""
    found = change(expression)
    if found is not None:
        return found
    match expression:
        case Items():
            return Items(tuple(replaced(each, change) for each in expression.items), expression.brackets)
        case Apply():
            return msgspec.structs.replace(
                expression,
                tensors=tuple(replaced(each, change) for each in expression.tensors),
                arguments=tuple((name, replaced(each, change)) for name, each in expression.arguments),
                named_tensors=tuple(
                    (name, replaced(each, change)) for name, each in expression.named_tensors
                ),
            )
        case Infix():
            left = None if expression.left is None else replaced(expression.left, change)
            return Infix(expression.operator, left, replaced(expression.right, change))
        case Cut():
            parts = (expression.start, expression.stop, expression.step)
            return Cut(*(None if each is None else replaced(each, change) for each in parts))
        case Subscript():
            items = tuple(replaced(each, change) for each in expression.items)
            return Subscript(replaced(expression.value, change), items)
        case Choice(condition, then, otherwise):
            return Choice(condition, replaced(then, change), replaced(otherwise, change))
        case _:
            return expression


def changed(item: Any, change: Callable[[Expression], Expression | None]) -> Any:
    """An item in whose expressions, those inside it too, what ``change`` gives something for is that."""
    if isinstance(item, Statement):
        return msgspec.structs.replace(item, expression=replaced(item.expression, change))
    inner = tuple(changed(each, change) for each in item.items)
    if isinstance(item, Loop):
        return msgspec.structs.replace(item, over=replaced(item.over, change), items=inner)
    return msgspec.structs.replace(item, items=inner)


def labels(item: Item) -> Iterator[str]:
    """The labels in an item, but for those that a loop's number makes."""
    match item:
        case Statement():
            for each in walk(item.expression):
                if isinstance(each, Apply) and isinstance(each.label, str):
                    yield each.label
        case Branch() | Loop():
            for each in item.items:
                yield from labels(each)


def words(item: Item) -> Iterator[str]:
    """The functions that an item calls and the words of its texts, where parameters' names may be."""
    if not isinstance(item, Statement):
        for each in item.items:
            yield from words(each)
    over = [item.over] if isinstance(item, Loop) else [item.expression] if isinstance(item, Statement) else []
    for expression in over:
        for each in walk(expression):
            if isinstance(each, Apply):
                yield each.function
            elif isinstance(each, Text):
                yield from WORD.findall(each.text)


def makes(item: Item) -> Iterator[str]:
    """The values that a statement or loop makes, also inside."""
    match item:
        case Statement():
            yield from (each for each in item.results if each)
        case Loop():
            for result, start, end, _ in item.carried:
                yield from (result, start, end)
            for each in item.items:
                yield from makes(each)
        case Branch():
            raise TypeError("a branch is made of items whose values are known")


def reads(item: Item) -> Iterator[str]:
    """The values that an item reads, also inside."""
    match item:
        case Statement():
            yield from uses(item.expression)
        case Branch():
            yield from (before for _, _, before in item.merges)
        case Loop():
            yield from (initial for *_, initial in item.carried)
    if not isinstance(item, Statement):
        for each in item.items:
            yield from reads(each)


def reading(item: Item, names: Mapping[str, str]) -> Item:
    """A statement or loop with other values in the place of those named."""

    def change(expression: Expression) -> Expression | None:
        return (
            Use(names[expression.value])
            if isinstance(expression, Use) and expression.value in names
            else None
        )

    match item:
        case Statement():
            return msgspec.structs.replace(item, expression=replaced(item.expression, change))
        case Loop():
            carried = tuple(
                (result, start, end, names.get(initial, initial))
                for result, start, end, initial in item.carried
            )
            inner = tuple(reading(each, names) for each in item.items)
            return msgspec.structs.replace(item, carried=carried, items=inner)
        case Branch():
            raise TypeError("a branch is made of items whose values are settled")
