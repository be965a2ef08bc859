"""The names every file knows: dtypes, operators and functions over compile-time values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from trtdsl.elaborate.values import Builtin, OperatorRef, in_words, is_tensor
from trtdsl.ops.base import OPERATORS, SPELLINGS
from trtdsl.syntax.build_expressions import LONGEST_STRING
from trtdsl.syntax.parser import LONGEST_LIST
from trtdsl.types import Dim, DType, SymbolicDim, Undecided, maximum, minimum, product

"""Characters; with the limit on lists, elaboration always ends soon."""


_MOST_DIGITS = 300


class Unsuitable(Exception):
    """A compile-time function or operator cannot take these values: why, and what to write instead."""

    def __init__(self, reason: str, *help: str) -> None:
        super().__init__(reason)
        self.help = help


def unanswered(undecided: Undecided) -> Unsuitable:
    """That a comparison has no answer while the text is read, and what to write instead."""
    first = undecided.symbols[0]
    sizes = " and ".join(f"`{each.name}` in {each.minimum} .. {each.maximum}" for each in undecided.symbols)
    return Unsuitable(
        str(undecided),
        undecided.help
        or f"the text is read once, for every {sizes}: narrow the range, fix the size (`dim {first.name} ="
        f" {first.optimum}`), or let a parameter of the model decide (`-D`)",
        f"while the engine runs `cond` and `where` choose; `full((), {first.name})` is the size as a tensor",
    )


def bounded(value: Any) -> Any:
    """A list, tuple or string as it is, if it is not too long; raises :class:`Unsuitable`."""
    if isinstance(value, str):
        if len(value) > LONGEST_STRING:
            raise Unsuitable(f"the string is too long: it has more than {LONGEST_STRING} characters")
        return value
    count = 0
    waiting = [value] if isinstance(value, (list, tuple)) else []
    while waiting:
        items = waiting.pop()
        count += len(items)
        if count > LONGEST_LIST:
            raise Unsuitable(f"the list is too long: it holds more than {LONGEST_LIST} elements")
        if not {*map(type, items)}.isdisjoint((list, tuple)):
            waiting += [item for item in items if isinstance(item, (list, tuple))]
    return value


def _range(*bounds: int) -> list[int]:
    values = range(*bounds)
    if len(values) > LONGEST_LIST:
        raise Unsuitable(f"would be {len(values)} numbers, too many to unroll")
    return list(values)


def _extreme(of_dims: Callable[[Any, Any], Any], function: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        items = list(values[0]) if len(values) == 1 else list(values)
        if not any(isinstance(item, SymbolicDim) for item in items):
            return function(items)
        result = items[0]
        for item in items[1:]:
            result = of_dims(result, item)
        return result

    return call


def _sum(values: Iterable[Any], start: Any = 0) -> Any:
    total = start
    for value in values:
        total = total + value
    return total


def _enumerate(values: Iterable[Any], start: int = 0) -> list[tuple[int, Any]]:
    return list(enumerate(values, start))


def _zip(*values: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*values, strict=False))


def _reversed(values: Any) -> list[Any]:
    return list(values)[::-1]


def _integer(value: Any) -> int:
    if isinstance(value, str):
        raise Unsuitable("takes a number, not a string")
    return int(value)


def _round(value: Any, ndigits: int | None = None) -> Any:
    if ndigits is not None and abs(ndigits) > _MOST_DIGITS:
        raise Unsuitable(f"takes at most {_MOST_DIGITS} digits")
    return round(value, ndigits)


def _size(tensor: Any, dim: Any = None) -> Any:
    shape = _shape(tensor)
    if dim is None:
        return shape
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise Unsuitable(f"takes a whole number for its dimension, not {in_words(dim)}")
    if not -len(shape) <= dim < len(shape):
        raise Unsuitable(f"has no dimension {dim}: the tensor is of rank {len(shape)}")
    return shape[dim]


def _numel(input: Any) -> Any:
    return product(_shape(input))


def _shape(tensor: Any) -> tuple[Dim, ...]:
    if not is_tensor(tensor):
        raise Unsuitable(f"takes a tensor, not {in_words(tensor)}")
    return tuple(tensor.type.shape)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": len,
    "range": _range,
    "enumerate": _enumerate,
    "zip": _zip,
    "min": _extreme(minimum, min),
    "max": _extreme(maximum, max),
    "sum": _sum,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": _round,
    "sqrt": math.sqrt,
    "int": _integer,
    "list": list,
    "reversed": _reversed,
    "size": _size,
    "numel": _numel,
}


@lru_cache(maxsize=1)
def prelude() -> Mapping[str, Any]:
    """Every predefined name with its value."""
    names: dict[str, Any] = {str(dtype): dtype for dtype in DType} | {"inf": math.inf, "nan": math.nan}
    names |= {name: OperatorRef(op, name) for name, op in OPERATORS.items()}
    names |= {name: OperatorRef(op, name, spelling) for name, (op, spelling) in SPELLINGS.items()}
    for name, function in FUNCTIONS.items():
        names[name] = Builtin(name, function, names.get(name))
    return names
