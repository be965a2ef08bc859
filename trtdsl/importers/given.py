"""A block's items with what a use gives it in the place of its parameters.

In: items whose expressions have texts such as ``4 * dim``, and what stands for ``dim``.  Out: the items
without the parameter: ``4 * dim`` is ``1536`` where ``dim`` is 384, and ``4 * planes`` where it is another
block's ``planes``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from trtdsl.importers.sketch import (
    WORD,
    Apply,
    Branch,
    Expression,
    Item,
    Literal,
    Loop,
    Statement,
    Text,
    replaced,
)
from trtdsl.ops.text import literal

_CALCULATED: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def with_given(items: Iterable[Item], given: Mapping[str, Expression]) -> tuple[Item, ...] | None:
    """The items with the expressions in the place of the names; None where they cannot stand there."""
    try:
        return tuple(_item(each, given) for each in items)
    except _Ambiguous:
        return None


class _Ambiguous(Exception):
    """A name would be another's."""


def _item(item: Item, given: Mapping[str, Expression]) -> Item:
    match item:
        case Statement():
            return msgspec.structs.replace(item, expression=_expression(item.expression, given))
        case Branch():
            inner = tuple(_item(each, given) for each in item.items)
            return msgspec.structs.replace(item, condition=_text(item.condition, given), items=inner)
        case Loop():
            words = {word for each in given.values() for word in _words(each)}
            if not {*WORD.findall(item.targets)}.isdisjoint(words | {*given}):
                raise _Ambiguous
            inner = tuple(_item(each, given) for each in item.items)
            return msgspec.structs.replace(item, over=_expression(item.over, given), items=inner)


def _expression(expression: Expression, given: Mapping[str, Expression]) -> Expression:
    def change(each: Expression) -> Expression | None:
        match each:
            case Text(text) if text in given:
                return given[text]
            case Text(text):
                return _calculated(_text(text, given))
            case Apply(function=function) if function in given:
                name = _as_text(given[function])
                return replaced(msgspec.structs.replace(each, function=name), change)
            case _:
                return None

    return replaced(expression, change)


def _text(text: str, given: Mapping[str, Expression]) -> str:
    """A text with others in the place of names, in parentheses where they are more than a word."""

    def word(match: re.Match[str]) -> str:
        if match[0] not in given:
            return match[0]
        found = _as_text(given[match[0]])
        return found if re.fullmatch(r"[\w.]+", found) or found == text else f"({found})"

    return WORD.sub(word, text)


def _as_text(expression: Expression) -> str:
    match expression:
        case Text(text):
            return text
        case Literal(value):
            return literal(value)
        case _:
            raise _Ambiguous


def _words(expression: Expression) -> list[str]:
    return WORD.findall(expression.text) if isinstance(expression, Text) else []


def _calculated(text: str) -> Expression:
    """A number where nothing but numbers are left in a text."""
    if WORD.search(text):
        return Text(text)
    return Literal(_value(ast.parse(text, mode="eval").body))


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=calculation, right=right) if type(calculation) in _CALCULATED:
            return _CALCULATED[type(calculation)](_value(left), _value(right))
        case _:
            raise _Ambiguous
