"""Whether two ways to say something compute the same: both as expressions in which it is said one way.

In: operations of a program, by PyTorch's names.  Out: an :class:`Expression` for each value; two are equal
where operations that only move elements, spellings and defaults are all that differs::

    transpose(x, 1, 2)                     permute(x, (0, 2, 1, 3))
    view(x, (N, S, -1, 16))                reshape(x, (N, S, 4, 16))
    add.Tensor(x, y, alpha = 1)            add(y, x)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from trtdsl.importers.fx_calls import defaults_of
from trtdsl.importers.program import Argument, Array, Operation, Ref
from trtdsl.types import Dim, DType, TensorType, shortest


class Expression(NamedTuple):
    """A value: what makes it of which others, and its type."""

    name: str
    operands: Any
    """expressions and arguments, hashable"""
    type: TensorType

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape


Results: TypeAlias = tuple[Expression, ...]


class Unclear(Exception):
    """What an operation gives cannot be said here."""


class Canonical:
    """Expressions of a program's values; those outside of some operations are what they are."""

    def __init__(
        self,
        types: Mapping[str, TensorType],
        constants: Mapping[str, Array],
        inside: Mapping[str, Operation] = {},
        weights: Mapping[str, Array] = {},
    ) -> None:
        self._types = types
        self._constants = constants
        self._inside = inside
        self._weights = weights
        self._known: dict[str, Expression] = {}

    def value(self, name: str) -> Expression:
        """The expression of a value."""
        if name not in self._known:
            operation = self._inside.get(name)
            if operation is not None:
                types = tuple(self._types[each] for each in operation.results)
                found = self.results(operation, types)
                self._known |= zip(operation.results, found, strict=True)
            else:
                self._known[name] = self._leaf(name)
        return self._known[name]

    def _leaf(self, name: str) -> Expression:
        array = self._constants.get(name)
        if array is None:
            return Expression("value", name, self._types[name])
        if array.size == 1:
            return number(array.reshape(-1)[0].item())
        return Expression("constant", np.ascontiguousarray(array).tobytes(), self._types[name])

    def elements(self, name: str) -> Expression:
        """The expression of a weight or a constant by its values; raises :class:`Unclear` for others."""
        array = self._weights.get(name, self._constants.get(name))
        if array is None:
            raise Unclear(name)
        return Expression("constant", np.ascontiguousarray(array).tobytes(), self._types[name])

    def results(self, operation: Operation, types: Sequence[TensorType]) -> Results:
        """The expressions of what an operation gives; raises :class:`Unclear`."""
        rule = RULES.get(operation.base)
        call = Call(self, operation, types)
        if rule is None:
            return call.plain(_SYNONYMS.get(operation.base, operation.base))
        found = rule(call)
        return (found,) if isinstance(found, Expression) else found

    def argument(self, value: Argument) -> Any:
        """An argument as something that can be compared."""
        if isinstance(value, Ref):
            return self.value(value.value)
        if isinstance(value, tuple):
            return tuple(map(self.argument, value))
        return rounded(value)


def rounded(value: Any) -> Any:
    """A number as float32 has it, so that 0.1 of a file is 0.1 of a program; whole ones as integers."""
    if isinstance(value, (bool, DType)) or not isinstance(value, (int, float)):
        return value
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int):
        return value
    with np.errstate(over="ignore"):
        found = shortest(np.float32(value))
    return int(found) if math.isfinite(found) and found.is_integer() and abs(found) < 2**53 else found


def number(value: Any) -> Expression:
    return Expression("number", rounded(value), TensorType(DType.FLOAT32, ()))


_UNSEEN = frozenset(
    {
        "check", "cudnn_enable", "cudnn_enabled", "device", "dtype", "generator", "half_to_float", "implicit",
        "layout", "memory_format", "momentum", "non_blocking", "output_size", "padding_idx", "pin_memory",
        "scale_grad_by_freq", "size", "sparse", "training", "unbiased",
    }
)  # fmt: skip
"""Arguments that the result's type says, or that change nothing in eval mode."""

_SYNONYMS: Mapping[str, str] = {
    "mm": "matmul", "bmm": "matmul", "__and__": "and", "bitwise_and": "and", "logical_and": "and",
    "__or__": "or", "bitwise_or": "or", "logical_or": "or", "bitwise_not": "not", "logical_not": "not",
    "_softmax": "softmax", "_log_softmax": "log_softmax",
}  # fmt: skip
_COMMUTES = frozenset({"add", "mul", "and", "or", "maximum", "minimum", "eq", "ne", "logical_xor"})
_FIRST = ("self", "input", "weight")


class Call:
    """An operation whose arguments are read as expressions."""

    def __init__(self, canonical: Canonical, operation: Operation, types: Sequence[TensorType]) -> None:
        self.operation = operation
        self.types = types
        self._canonical = canonical

    @property
    def type(self) -> TensorType:
        return self.types[0]

    def get(self, name: str, default: Any = None) -> Any:
        return self.operation.arguments.get(name, default)

    def tensor(self, name: str = "") -> Expression:
        """A tensor argument, the first by default."""
        given = self.operation.arguments
        found = given.get(name) if name else next(iter(given.values()), None)
        if not isinstance(found, Ref):
            raise Unclear(self.operation.name)
        return self._canonical.value(found.value)

    def values(self, arguments: Sequence[Argument]) -> list[Expression]:
        """Several tensors."""
        return [self._canonical.argument(each) for each in arguments]

    def elements(self, arguments: Sequence[Argument]) -> tuple[Expression, ...]:
        """Several weights by their values, which an exporter may have laid out anew."""
        return tuple(self._canonical.elements(each.value) for each in arguments if isinstance(each, Ref))

    def operand(self, name: str) -> Expression:
        """A tensor argument or a number, as a tensor of the result's type."""
        found = self.operation.arguments.get(name)
        if isinstance(found, Ref):
            return self._canonical.value(found.value)
        if found is None:
            raise Unclear(self.operation.name)
        return number(found)

    def dims(self, name: str = "dim", rank: int | None = None) -> tuple[int, ...]:
        """Dimensions, counted from the front."""
        found: Any = self.get(name)
        rank = len(self.tensor().shape) if rank is None else rank
        if found is None or found == ():
            return tuple(range(rank))
        return tuple(each % rank for each in (found if isinstance(found, tuple) else (found,)))

    def plain(self, name: str) -> Results:
        """By its name and arguments, without those that are defaults."""
        defaults = defaults_of(self.operation.base)
        kept: dict[str, Any] = {}
        positional: list[Any] = []
        for key, value in self.operation.arguments.items():
            is_default = any(_same(value, default) for default in defaults.get(key, ()))
            if value is None or key in _UNSEEN or (is_default and not isinstance(value, Ref)):
                continue
            found = self._canonical.argument(value)
            if isinstance(value, Ref) and (key in _FIRST or key in ("other", "mat2", "indices")):
                positional.append(found)
            elif key in ("self", "input", "other"):
                positional.append(number(value))
            else:
                kept[key] = self._dims_of(found) if key in ("dim", "dims") else _squared(key, found)
        operands: Any = tuple(positional)
        if name in _COMMUTES and len(positional) == 2:
            operands = frozenset(positional) if positional[0] != positional[1] else operands
        whole = (operands, frozenset(kept.items()))
        if len(self.types) == 1:
            return (Expression(name, whole, self.type),)
        return tuple(
            Expression("item", (name, whole, number), type) for number, type in enumerate(self.types)
        )

    def _dims_of(self, found: Any) -> Any:
        rank = (
            len(self.tensor().shape) if isinstance(next(iter(self.operation.arguments.values())), Ref) else 0
        )
        if not rank:
            return found
        given = found if isinstance(found, tuple) else (found,)
        return tuple(sorted(each % rank for each in given))


def _squared(key: str, value: Any) -> Any:
    """One number for a tuple of equal ones: a kernel of 3 is one of (3, 3)."""
    if isinstance(value, tuple) and value and len(set(value)) == 1 and key != "normalized_shape":
        return value[0]
    return value


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, bool) != isinstance(default, bool):
        return False
    return _squared("", value) == _squared("", default)


RULES: dict[str, Callable[[Call], Expression | Results]] = {}


def rule(*names: str) -> Callable[[Callable[[Call], Any]], Any]:
    def register(function: Callable[[Call], Any]) -> Any:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register
