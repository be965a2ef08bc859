"""Operators on compile-time values: plain Python arithmetic on numbers, lists and dimensions.

Tensors never get here; `trtdsl.elaborate.expressions` turns operators on them into graph nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtdsl.elaborate.builtins import LONGEST_STRING, Unsuitable, bounded, unanswered
from trtdsl.elaborate.values import in_words, is_tensor
from trtdsl.syntax.parser import LONGEST_LIST
from trtdsl.types import SymbolicDim, Undecided, equal, greater, greater_equal, less, less_equal

TENSOR_OPERATORS: Mapping[str, str] = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floor_divide",
    "%": "remainder",
    "**": "pow",
    "@": "matmul",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "logical_and",
    "or": "logical_or",
    "not": "logical_not",
    "unary -": "neg",
}
"""The operator of `trtdsl.ops` that each symbol means on tensors."""

_LARGEST_BITS = 4096
_MOST_TERMS = 64
"""Terms of a dimension's polynomial; real sizes have two or three."""


def binary(symbol: str, left: Any, right: Any) -> Any:
    """``left symbol right``; raises :class:`Unsuitable` with the reason."""
    try:
        return _binary(symbol, left, right)
    except ZeroDivisionError as error:
        raise Unsuitable("division by zero") from error
    except OverflowError as error:
        raise Unsuitable("the result is too large") from error
    except Undecided as undecided:
        raise unanswered(undecided) from undecided


def _binary(symbol: str, left: Any, right: Any) -> Any:
    if symbol in ("==", "!="):
        return _same(left, right) is (symbol == "==")
    if symbol in _COMPARISONS:
        return _compare(symbol, left, right)
    if symbol == "+" and _sequences(left, right):
        return _joined(left, right)
    if symbol == "*" and isinstance(left, (list, tuple)) and _is_integer(right):
        return _repeated(left, right)
    if not (_is_number(left) and _is_number(right)):
        raise Unsuitable(f"`{symbol}` does not take {_operand(left)} and {_operand(right)}")
    if {type(left), type(right)} == {float, SymbolicDim}:
        raise Unsuitable(f"`{symbol}` on a dynamic dimension takes whole numbers, not {in_words(right)}")
    result = _ARITHMETIC[symbol](left, right)
    if isinstance(result, int) and result.bit_length() > _LARGEST_BITS:
        raise Unsuitable("the result is too large")
    return result


def contains(symbol: str, item: Any, values: Any) -> bool:
    """``item in values`` or ``item not in values``; raises :class:`Unsuitable` with the reason."""
    if is_tensor(item):
        raise Unsuitable(f"`{symbol}` looks for a compile-time value, not for {in_words(item)}")
    if isinstance(item, str) and isinstance(values, str):
        return (item in values) is (symbol == "in")
    if not isinstance(values, (list, tuple)):
        raise Unsuitable(f"`{symbol}` looks into a list or tuple, not into {in_words(values)}")
    try:
        found = any(_same(item, each) for each in values)
    except Undecided as undecided:
        raise unanswered(undecided) from undecided
    return found is (symbol == "in")


def _operand(value: Any) -> str:
    """A value in words, a tuple of tensors as one."""
    words = in_words(value)
    return f"a tuple of {words}" if isinstance(value, tuple) and words[:1].isdigit() else words


def negated(value: Any) -> Any:
    """Unary minus."""
    if not _is_number(value):
        raise Unsuitable(f"unary `-` does not take {in_words(value)}")
    return -value


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, SymbolicDim) or isinstance(right, SymbolicDim):
        left, right = _whole(left), _whole(right)
        return _is_dim(left) and _is_dim(right) and equal(left, right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        left, right = list(left), list(right)
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def _compare(symbol: str, left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return bool(_COMPARISONS[symbol](left, right))
    if not (_is_number(left) and _is_number(right)):
        raise Unsuitable(f"`{symbol}` does not compare {in_words(left)} with {in_words(right)}")
    if isinstance(left, SymbolicDim) or isinstance(right, SymbolicDim):
        left, right = _whole(left), _whole(right)
        if not (_is_dim(left) and _is_dim(right)):
            raise Unsuitable(f"`{symbol}` compares a dynamic dimension with whole numbers")
        return _DIM_COMPARISONS[symbol](left, right)
    return bool(_COMPARISONS[symbol](left, right))


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, SymbolicDim):
        raise Unsuitable("`**` does not take a dynamic dimension as its exponent")
    if isinstance(base, SymbolicDim):
        return _dim_power(base, exponent)
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _LARGEST_BITS:
        raise Unsuitable("the result is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise Unsuitable("the result is not a real number")
    return result


def _dim_power(base: SymbolicDim, exponent: Any) -> Any:
    if not _is_integer(exponent) or not 0 <= exponent <= 8:
        raise Unsuitable("a dynamic dimension is raised to whole powers from 0 to 8 only")
    result: Any = 1
    for _ in range(exponent):
        result = _dim_product(base, result)
    return result


def _dim_product(left: SymbolicDim, right: Any) -> Any:
    if isinstance(right, SymbolicDim) and len(left.by_monomial) * len(right.by_monomial) > _MOST_TERMS:
        raise Unsuitable("the result is too long an expression")
    return left * right


def _true_divide(left: Any, right: Any) -> Any:
    if isinstance(left, SymbolicDim) or isinstance(right, SymbolicDim):
        raise Unsuitable("`/` gives a fraction and a dynamic dimension has none; `//` divides it")
    return left / right


def _product(left: Any, right: Any) -> Any:
    if isinstance(left, SymbolicDim) and isinstance(right, SymbolicDim):
        return _dim_product(left, right)
    return left * right


def _matmul(left: Any, right: Any) -> Any:
    raise Unsuitable("`@` multiplies tensors, not compile-time values")


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": _product,
    "/": _true_divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": _power,
    "@": _matmul,
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_DIM_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": less,
    "<=": less_equal,
    ">": greater,
    ">=": greater_equal,
}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, SymbolicDim)) and not isinstance(value, bool)


def _whole(value: Any) -> Any:
    """A float without a fraction as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_dim(value: object) -> bool:
    return isinstance(value, SymbolicDim) or _is_integer(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sequences(left: object, right: object) -> bool:
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in (list, tuple, str))


def _joined(left: Any, right: Any) -> Any:
    _require_short(len(left) + len(right), left)
    return bounded(left + right)


def _repeated(values: Sequence[Any], count: int) -> Any:
    _require_short(len(values) * count, values)
    return bounded(values * count)  # pyright: ignore[reportOperatorIssue]


def _require_short(length: int, values: Sequence[Any]) -> None:
    """What is too long is not even made."""
    if isinstance(values, str) and length > LONGEST_STRING:
        raise Unsuitable(f"the string is too long: it has more than {LONGEST_STRING} characters")
    if length > LONGEST_LIST:
        raise Unsuitable(f"the list is too long: it holds more than {LONGEST_LIST} elements")
