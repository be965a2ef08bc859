"""Expressions as text.

In: an expression, the names of values, and the expressions written where they are read.  Out: its text, with
parentheses where what is around binds tighter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trtdsl.importers.sketch import (
    Apply,
    Choice,
    Cut,
    Expression,
    Infix,
    Items,
    Literal,
    Subscript,
    Text,
    Use,
    uses,
    walk,
)
from trtdsl.ir.show import show_label
from trtdsl.ops.text import literal
from trtdsl.types import SymbolicDim

_LEVELS = {
    "->": 0, "if": 1, "or": 2, "and": 3, "not": 4, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5, "+": 6,
    "-": 6, "*": 7, "/": 7, "//": 7, "%": 7, "@": 7, "neg": 8, "**": 9,
}  # fmt: skip
_ATOM = 10

_NAMELESS = frozenset({
    "adaptive_avg_pool2d", "avg_pool2d", "cat", "clamp", "dropout", "einsum", "elu", "expand", "flatten",
    "gelu", "hardswish", "hardtanh", "interpolate", "leaky_relu", "matmul", "max_pool2d", "mish", "movedim",
    "pad", "permute", "relu", "relu6", "reshape", "roll", "silu", "squeeze", "stack", "to", "transpose",
    "unflatten", "unsqueeze", "where",
})  # fmt: skip
"""Functions whose names say nothing of what they make: it is called x, or y where x is taken."""

_SCALED = frozenset({"quantize", "dequantize"})
"""Functions of a tensor and its scale: after an arrow the scale is an argument."""


class Expressions:
    """Writes the expressions of one block."""

    def __init__(self, names: dict[str, str] | None = None, absorbed: Mapping[str, Expression] = {}) -> None:
        self.names: dict[str, str] = {} if names is None else names
        """of values"""
        self.absorbed: dict[str, Expression] = dict(absorbed)
        """what is written where a value is read, in place of a name"""

    def width(self, expression: Expression) -> int:
        """About how many characters an expression takes."""
        return sum(_length(each) + 4 for each in walk(expression)) + sum(
            self.width(self.absorbed[value]) for value in uses(expression) if value in self.absorbed
        )

    def text(self, expression: Expression, level: int) -> str:
        """An expression where what binds less than the level stands in parentheses."""
        text, own = self._levelled(expression)
        return f"({text})" if own < level else text

    def _levelled(self, expression: Expression) -> tuple[str, int]:
        match expression:
            case Use(value):
                return (
                    self._levelled(self.absorbed[value])
                    if value in self.absorbed
                    else (self.names[value], _ATOM)
                )
            case Literal(value):
                text = literal(value)
                if isinstance(value, SymbolicDim):
                    return text, _ATOM if text.isidentifier() else _ATOM - 4
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                return text, 8 if is_number and text.startswith("-") else _ATOM
            case Text(text):
                return text, _ATOM if re.fullmatch(r"[\w.]+", text) else 6
            case Items(items, brackets):
                inner = ", ".join(self.text(each, 1) for each in items)
                comma = "," if len(items) == 1 and not brackets else ""
                return (f"[{inner}]" if brackets else f"({inner}{comma})"), _ATOM
            case Infix():
                return self._infix(expression)
            case Subscript(value, items):
                return f"{self.text(value, _ATOM)}[{', '.join(map(self._index, items))}]", _ATOM
            case Cut():
                return self._index(expression), _ATOM
            case Choice(condition, then, otherwise):
                level = _LEVELS["if"]
                chosen = f"{self.text(then, level + 1)} if {condition} else {self.text(otherwise, level)}"
                return chosen, level
            case Apply():
                return self._applied(expression)

    def _infix(self, expression: Infix) -> tuple[str, int]:
        if expression.left is None:
            if expression.operator == "not":
                return f"not {self.text(expression.right, _LEVELS['not'])}", _LEVELS["not"]
            return f"-{self.text(expression.right, _LEVELS['neg'])}", _LEVELS["neg"]
        level = _LEVELS[expression.operator]
        closed = level == 5
        left = self.text(expression.left, level + (1 if closed or expression.operator == "**" else 0))
        right = self.text(expression.right, level + (0 if expression.operator == "**" else 1))
        return f"{left} {expression.operator} {right}", level

    def _index(self, item: Expression) -> str:
        if isinstance(item, Cut):
            parts = [self.text(each, 1) if each is not None else "" for each in (item.start, item.stop)]
            step = f":{self.text(item.step, 1)}" if item.step is not None else ""
            return f"{parts[0]}:{parts[1]}{step}"
        return self.text(item, 1)

    def _applied(self, apply: Apply) -> tuple[str, int]:
        stages: list[str] = []
        current: Expression = apply
        while isinstance(current, Apply):
            inner = head(current)
            if inner is None:
                if not current.is_module or not current.tensors:
                    break
                stages.append(self._stage(current))
                current = Items(current.tensors)
                break
            stages.append(self._stage(current))
            current = self.absorbed.get(inner, Use(inner))
        if not stages:
            return self._call(apply), 0 if apply.label is not None else _ATOM
        if len(stages) == 1 and not apply.is_module:
            return self._call(apply), _ATOM
        return " -> ".join([self.text(current, 2), *reversed(stages)]), 0

    def _stage(self, apply: Apply) -> str:
        """The call without its first tensor, as it stands after an arrow."""
        arguments = apply.arguments if apply.is_module else apply.arguments[1:]
        positional = apply.positional - (not apply.is_module)
        inner = self._arguments(arguments, positional)
        label = f"{apply.label}: " if _is_number_path(apply.label) else _label(apply)
        named = ", ".join(self._argument(name, value) for name, value in apply.named_tensors)
        call = f"{label}{apply.function}{f'({inner})' if inner or named else ''}"
        return f"{call}({named})" if named else call

    def _call(self, apply: Apply) -> str:
        return f"{_label(apply)}{apply.function}({self._arguments(apply.arguments, apply.positional)})"

    def _arguments(self, arguments: Sequence[tuple[str, Expression]], positional: int) -> str:
        return ", ".join(
            self._argument("" if number < positional else name, value)
            for number, (name, value) in enumerate(arguments)
        )

    def _argument(self, name: str, value: Expression) -> str:
        text = self.text(value, 1)
        return f"{name} = {text}" if name else text


def head(expression: Expression) -> str | None:
    """The value that may be piped into an expression."""
    if isinstance(expression, Use):
        return expression.value
    if not isinstance(expression, Apply):
        return None
    if expression.is_module:
        (first, *others) = expression.tensors or (None,)
        return first.value if isinstance(first, Use) and not others else None
    if not expression.arguments:
        return None
    if len(uses(expression)) != 1 and expression.function not in _SCALED:
        return None
    name, value = expression.arguments[0]
    by_position = expression.positional > 0 or not name
    return value.value if by_position and isinstance(value, Use) else None


def _is_number_path(label: object) -> bool:
    """Whether a label begins with a number, which after an arrow needs no quotes."""
    return isinstance(label, str) and re.fullmatch(r"\d+(\.\w+)*", label, re.ASCII) is not None


def _length(expression: Expression) -> int:
    names = [name for name, _ in expression.named_tensors] if isinstance(expression, Apply) else []
    return len(word(expression)) + sum(len(name) + 3 for name in names)


def is_stage(expression: Expression) -> bool:
    """Whether it is written after an arrow."""
    if not isinstance(expression, Apply):
        return False
    return head(expression) is not None or (expression.is_module and bool(expression.tensors))


def _label(apply: Apply) -> str:
    match apply.label:
        case None:
            return ""
        case Text(text):
            return f'"{text}": '
        case "":
            return "_: "
        case label:
            return f"{show_label(label)}: "


def name_for(expression: Expression) -> str:
    """What a value is called that the source gives no name: after what makes it, if that says something."""
    if isinstance(expression, Apply):
        name = expression.function
        is_layer = expression.is_module and ("Norm" in name or name.startswith("Conv"))
        if word(expression) in (name, name.lower()) and (name in _NAMELESS or is_layer):
            return "x"
    return word(expression)


def word(expression: Expression) -> str:
    """A name for what an expression makes."""
    match expression:
        case Apply(label=str(label) | Text(label)) if label:
            last = [part for part in label.split(".") if not part.isdigit() and "{" not in part]
            return last[-1] if last else expression.function.lower()
        case Apply():
            return expression.function.lower() if expression.is_module else expression.function
        case Subscript():
            return "part"
        case Literal(value):
            return literal(value)
        case _:
            return "x"
