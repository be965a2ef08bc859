"""Compile-time values as the language writes them."""

from __future__ import annotations

from trtdsl.types import DType


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
    if isinstance(value, tuple):
        items = [literal(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if isinstance(value, DType):
        return str(value)
    return str(value)


def _number(value: float) -> str:
    """A float that reads back as the same float."""
    return repr(value)


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
