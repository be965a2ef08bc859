"""Compile-time values and names as the language and its messages write them."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.types import DType, TensorType


def literal(value: object) -> str:
    """A compile-time value as the language writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, TensorType):
        return f"({value.dtype}, [{', '.join(map(str, value.shape))}])"
    if isinstance(value, tuple):
        items = [literal(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        if value and isinstance(value[0], TensorType):
            return f"[{', '.join(items)}]"
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if isinstance(value, DType):
        return str(value)
    return str(value)


def _number(value: float) -> str:
    """A float that reads back as the same float."""
    return repr(value)


def in_a_row(names: Sequence[str]) -> str:
    """ "`a`, `b` and `c`"."""
    *rest, last = (f"`{name}`" for name in names)
    return f"{', '.join(rest)} and {last}" if rest else last


def quoted(text: str) -> str:
    for char, escape in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\t", "\\t"),
        ("{", "{{"),
        ("}", "}}"),
    ):
        text = text.replace(char, escape)
    return f'"{text}"'
