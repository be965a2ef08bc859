"""Values given to an operator's parameters, held against the annotations of its fields.

In: ``"3"`` for ``stride: int | tuple[int, int]``.  Out: the value in the field's form, or
:class:`Unfit` with what the field wants, in words.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar, Literal, Union

from trtdsl.types import Dim, DType, SymbolicDim


class Form:
    """The annotation, ``Annotated[tuple[int, ...], Form]``, of values that have a form of their own: what it
    is in words, for one and for several, and how a value gets it."""

    words: ClassVar[tuple[str, str]]

    @classmethod
    def fit(cls, value: object) -> tuple[bool, Any]:
        """Whether a value has the form, or can be given it, and the value in it."""
        raise TypeError(f"{cls.__name__} states no form")


class Nested(Form):
    """The annotation of numbers in nested tuples of one depth: ``((1, 2), (3, 4))``, or one number."""

    words = ("numbers, nested in lists", "numbers")

    @classmethod
    def fit(cls, value: object) -> tuple[bool, Any]:
        return _fit_nested(value)


class Unfit(Exception):
    """The value is not of the parameter's type; the argument says in words what is wanted."""


@cache
def hints(cls: type[Any]) -> dict[str, Any]:
    """The resolved annotation of every parameter."""
    found = typing.get_type_hints(cls, include_extras=True).items()
    return {name: _form(hint) for name, hint in found if name in cls.parameters}


def _form(hint: Any) -> Any:
    """The form that an annotation states beside a type, or the type itself."""
    return next(iter(getattr(hint, "__metadata__", ())), hint)


def coerce(value: object, hint: Any) -> Any:
    """``value`` in the form the annotation asks for; lists become tuples, integers floats."""
    found, fitted = _fit(value, hint)
    if not found:
        raise Unfit(hint_in_words(hint))
    return fitted


def _fit(value: object, hint: Any) -> tuple[bool, Any]:
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, Form):
        return hint.fit(value)
    if origin in (Union, types.UnionType):
        attempts = (_fit(value, option) for option in typing.get_args(hint))
        return next((attempt for attempt in attempts if attempt[0]), (False, None))
    if origin is Literal:
        return value in typing.get_args(hint) and isinstance(value, str), value
    if origin is tuple:
        return _fit_tuple(value, typing.get_args(hint))
    if hint is float:
        return _fit_float(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


def _fit_float(value: object) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _LARGEST_FLOAT:
        return isinstance(value, float), value
    return True, float(value)


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


def _fit_nested(value: object, depth: int = 0) -> tuple[bool, Any]:
    if isinstance(value, (bool, int, float)):
        return True, value
    if not isinstance(value, (list, tuple)) or depth == _DEEPEST:
        return False, None
    fitted = [_fit_nested(item, depth + 1) for item in value]
    return all(ok for ok, _ in fitted), tuple(item for _, item in fitted)


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "booleans"),
    str: ("a string", "strings"),
    type(None): ("none", "nones"),
    DType: ("a dtype", "dtypes"),
    SymbolicDim: ("a dimension", "dimensions"),
}
_LARGEST_FLOAT = sys.float_info.max
_DEEPEST = 8
"""Dimensions that a tensor has at most."""
_LONGEST_TEXT = 40
_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 6: "six"}


def hint_in_words(hint: Any, plural: bool = False) -> str:
    """An annotation in words: "an integer or a tuple of two integers"."""
    origin = typing.get_origin(hint)
    if hint == Dim:
        return "dimensions" if plural else "a dimension"
    if origin in (Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not SymbolicDim]
        literals = [
            text for option in options if typing.get_origin(option) is Literal for text in _quoted(option)
        ]
        others = [option for option in options if typing.get_origin(option) is not Literal]
        return _alternatives(
            dict.fromkeys([*(hint_in_words(option, plural) for option in others), *literals])
        )
    if origin is Literal:
        return _alternatives(_quoted(hint))
    if origin is tuple:
        items = typing.get_args(hint)
        many = "" if items[-1] is Ellipsis else f"{_COUNTS.get(len(items), len(items))} "
        return f"{'tuples' if plural else 'a tuple'} of {many}{hint_in_words(items[0], True)}"
    return (hint.words if isinstance(hint, type) and issubclass(hint, Form) else _WORDS[hint])[plural]


def items_wanted(hint: Any) -> str:
    """What the items of a tuple annotated ``tuple[X, ...]`` must be, in words; "" for other annotations."""
    items = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
    return hint_in_words(items[0], plural=True) if items and items[-1] is Ellipsis else ""


def strings_in(hint: Any) -> tuple[str, ...]:
    """The strings that an annotation allows one of; none where any will do."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return options
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(text for option in options for text in strings_in(option))
    return ()


def _quoted(literal: Any) -> list[str]:
    return [f'"{option}"' for option in typing.get_args(literal)]


def _alternatives(options: Iterable[str]) -> str:
    """ "a, b or c"."""
    *rest, last = options
    return f"{', '.join(rest)} or {last}" if rest else last


def describe_value(value: object) -> str:
    """What a compile-time value is, in words, for "…, not a string"."""
    if value is None or isinstance(value, bool):
        return _literal(value)
    if isinstance(value, (int, float)):
        return f"`{value}`" if isinstance(value, float) or abs(value) < 10**12 else "a large number"
    if isinstance(value, str):
        return f"the string {_literal(value)}"
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        text = _literal(value)
        return f"the {kind} {text}" if text else f"a {kind}"
    if isinstance(value, SymbolicDim):
        return f"the dynamic dimension `{value}`"
    if isinstance(value, DType):
        return f"the dtype {value}"
    return "something else"


def _literal(value: Any, depth: int = 0) -> str:
    """A compile-time value as the language writes it; "" for a list that is long or holds other things."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 3] + "..."}"'
    if isinstance(value, (int, float)):
        return str(value) if isinstance(value, float) or abs(value) < 10**12 else ""
    if isinstance(value, (SymbolicDim, DType)):
        return str(value)
    if not isinstance(value, (list, tuple)) or len(value) > _LONGEST_TEXT // 3 or depth == _DEEPEST:
        return ""
    items = [_literal(item, depth + 1) for item in value]
    text = ", ".join(items)
    if len(text) > _LONGEST_TEXT or not all(items):
        return ""
    return f"[{text}]" if isinstance(value, list) else f"({text}{',' if len(items) == 1 else ''})"
