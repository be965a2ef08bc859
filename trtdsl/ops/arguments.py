"""Values given to an operator's parameters, held against the annotations of its fields.

In: ``"3"`` for ``stride: int | tuple[int, int]``.  Out: the value in the field's form, or
:class:`Unfit` with what the field wants, in words.
"""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any, Literal, Union

from trtdsl.ops.base import Op
from trtdsl.types import Dim, DType, SymbolicDim


class Nested:
    """The annotation of numbers in nested tuples of one depth: ``((1, 2), (3, 4))``, or one number."""


class Unfit(Exception):
    """The value is not of the parameter's type; the argument says in words what is wanted."""


@cache
def hints(cls: type[Op]) -> dict[str, Any]:
    """The resolved annotation of every parameter."""
    return {name: hint for name, hint in typing.get_type_hints(cls).items() if name in cls.parameters}


def coerce(value: object, hint: Any) -> Any:
    """``value`` in the form the annotation asks for; lists become tuples, integers floats."""
    found, fitted = _fit(value, hint)
    if not found:
        raise Unfit(describe(hint))
    return fitted


def _fit(value: object, hint: Any) -> tuple[bool, Any]:
    origin = typing.get_origin(hint)
    if hint is Nested:
        return _fit_nested(value)
    if origin in (Union, types.UnionType):
        attempts = (_fit(value, option) for option in typing.get_args(hint))
        return next((attempt for attempt in attempts if attempt[0]), (False, None))
    if origin is Literal:
        return value in typing.get_args(hint) and isinstance(value, str), value
    if origin is tuple:
        return _fit_tuple(value, typing.get_args(hint))
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number, float(value) if number else None  # pyright: ignore[reportArgumentType]
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


def _fit_tuple(value: object, items: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, (list, tuple)):
        return False, None
    values: list[object] = list(value)
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(values)
    if len(items) != len(values):
        return False, None
    fitted = [_fit(item, hint) for item, hint in zip(values, items, strict=True)]
    return all(ok for ok, _ in fitted), tuple(item for _, item in fitted)


def _fit_nested(value: object) -> tuple[bool, Any]:
    if isinstance(value, (bool, int, float)):
        return True, value
    if not isinstance(value, (list, tuple)):
        return False, None
    fitted = [_fit_nested(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return all(ok for ok, _ in fitted), tuple(item for _, item in fitted)


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    Nested: ("numbers, nested in lists", "numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "booleans"),
    str: ("a string", "strings"),
    type(None): ("none", "nones"),
    DType: ("a dtype", "dtypes"),
    SymbolicDim: ("a dimension", "dimensions"),
}
_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 6: "six"}


def describe(hint: Any, plural: bool = False) -> str:
    """An annotation in words: "an integer or a tuple of two integers"."""
    origin = typing.get_origin(hint)
    if hint == Dim:
        return "dimensions" if plural else "a dimension"
    if origin in (Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not SymbolicDim]
        return " or ".join(dict.fromkeys(describe(option, plural) for option in options))
    if origin is Literal:
        return " or ".join(f'"{option}"' for option in typing.get_args(hint))
    if origin is tuple:
        items = typing.get_args(hint)
        many = "" if items[-1] is Ellipsis else f"{_COUNTS.get(len(items), len(items))} "
        return f"{'tuples' if plural else 'a tuple'} of {many}{describe(items[0], True)}"
    return _WORDS[hint][plural]


def describe_value(value: object) -> str:
    """What a compile-time value is, in words, for "…, not a string"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, (int, float)):
        return f"`{value}`" if abs(value) < 10**12 else "a number"
    if isinstance(value, str):
        return f'the string "{value if len(value) <= 40 else value[:37] + "..."}"'
    if isinstance(value, (list, tuple)):
        return "a list" if isinstance(value, list) else "a tuple"
    if isinstance(value, SymbolicDim):
        return f"the dynamic dimension `{value}`"
    if isinstance(value, DType):
        return f"the dtype {value}"
    return "something else"
