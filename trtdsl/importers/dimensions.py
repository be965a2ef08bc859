"""Sizes that PyTorch computes with symbols, as the language's dimensions.

In: a SymInt such as ``64*s77`` and which of the language's symbols ``s77`` is.  Out: ``64 * N``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from trtdsl.importers.program import Argument
from trtdsl.importers.size_numbers import NotOfSizes, Operate, computed, rounded
from trtdsl.types import Dim, maximum, minimum


class Unwritable(Exception):
    """A size that the language cannot say; the argument says what it is."""


class Sizes:
    """Translates torch's sizes, given the dimension that each of its symbols is."""

    def __init__(self, dims: Mapping[str, Dim]) -> None:
        self._dims = dims
        self._known: dict[Any, Dim] = {}
        """the dimension of each expression that was met, which others have inside"""

    def dim(self, value: Any) -> Dim:
        """An int, a SymInt or a sympy expression as a dimension."""
        if isinstance(value, int):
            return value
        expression = value.node.expr if hasattr(value, "node") else value
        try:
            return self._expression(expression)
        except (Unwritable, ZeroDivisionError) as error:
            raise Unwritable(self._named(expression)) from error

    def number(self, value: Any, operate: Operate) -> Argument:
        """A SymFloat as what operations make of sizes."""
        try:
            return computed(value.node.expr, self._expression, operate)
        except (NotOfSizes, Unwritable, ZeroDivisionError) as error:
            raise Unwritable(self._named(value.node.expr)) from error

    def is_of_sizes(self, value: Any) -> bool:
        """Whether a SymInt or a SymFloat depends on sizes alone."""
        return all(str(each) in self._dims for each in value.node.expr.free_symbols)

    def _named(self, expression: Any) -> str:
        """An expression by the names of the language's dimensions, for people."""
        text = str(expression)
        for name, dim in self._dims.items():
            text = re.sub(rf"\b{name}\b", str(dim), text)
        return re.sub(r"\bToFloat\((\w+)\)", r"\1", text)

    def _expression(self, value: Any) -> Dim:
        if value.is_Integer:
            return int(value)
        if value.is_Symbol:
            if value.name not in self._dims:
                raise Unwritable(value.name)
            return self._dims[value.name]
        if value not in self._known:
            self._known[value] = self._computed(value)
        return self._known[value]

    def _computed(self, value: Any) -> Dim:
        whole = rounded(value, self._dims, self._expression)
        if whole is not None:
            return whole
        kind = type(value).__name__
        if kind == "Mul":
            parts = [self._fraction(each) for each in value.args]
            numerator = _product([up for up, _ in parts])
            denominator = math.prod(down for _, down in parts)
            return numerator if denominator == 1 else numerator // denominator
        dims = [self._expression(each) for each in value.args]
        match kind:
            case "Add":
                return reduce(lambda left, right: left + right, dims)
            case "Pow" if isinstance(dims[1], int) and dims[1] > 0:
                return _product([dims[0]] * dims[1])
            case "FloorDiv" | "CleanDiv" | "CeilDiv":
                return -(-dims[0] // dims[1]) if kind == "CeilDiv" else dims[0] // dims[1]
            case "Mod" | "PythonMod":
                return dims[0] % dims[1]
            case "Max":
                return reduce(maximum, dims)
            case "Min":
                return reduce(minimum, dims)
            case _:
                raise Unwritable(f"{value}")

    def _fraction(self, value: Any) -> tuple[Dim, int]:
        """A factor as a numerator and a denominator: ``s0/2`` is a product with one half."""
        if value.is_Rational and not value.is_Integer:
            return int(value.p), int(value.q)
        return self._expression(value), 1


def _product(dims: Sequence[Dim]) -> Dim:
    return reduce(lambda left, right: left * right, dims, 1)
