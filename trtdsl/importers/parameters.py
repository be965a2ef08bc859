"""Numbers that differ between the uses of a block, as expressions over its parameters and its tensors' sizes.

In: for each place of a block the values that its uses have there.  Out: an expression for each place, and the
block's parameters with the value that each use gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtdsl.importers.conditions import condition_of
from trtdsl.importers.holes import Function, Hole
from trtdsl.importers.names import numbered
from trtdsl.importers.program import ModuleFacts
from trtdsl.importers.sketch import Expression, Items, Literal, Text
from trtdsl.importers.variants import ANYTHING
from trtdsl.ir.names import NEVER_NAMES
from trtdsl.types import Dim, SymbolicDim, TensorType

_LETTERS: Mapping[int, tuple[str, ...]] = {
    0: (),
    1: ("C",),
    2: ("N", "C"),
    3: ("N", "L", "C"),
    4: ("N", "C", "H", "W"),
    5: ("N", "C", "D", "H", "W"),
}
"""What the dimensions of a block's tensor are called, by its rank."""

_MOST = 8
"""A multiple of a size that is written as one."""

_FEWEST_CHANNELS = 8
"""What is less than this is by accident a part of some size, where only one use has it."""

_WIDTHS = ("out_channels", "out_features", "num_features", "normalized_shape")
"""Parameters that are numbers of channels."""

_OF_WINDOWS = ("kernel_size", "stride", "padding", "dilation")
"""Parameters that no number of channels decides."""


@dataclass
class Instance:
    """One use of a block: the types of what it is given, and what is known of its module."""

    tensors: Sequence[TensorType | None]
    facts: ModuleFacts


@dataclass
class Inferred:
    """A block's expressions and parameters."""

    expressions: list[Expression] = field(default_factory=list[Expression])
    parameters: dict[str, list[Hole]] = field(default_factory=dict[str, list[Hole]])
    """the values of each in every use"""
    widths: dict[str, Sequence[Hole]] = field(default_factory=dict[str, Sequence[Hole]])
    """what the layers' channels are, by their texts, in every use"""
    inference: _Inference | None = None
    """what knows the sizes by name"""

    @property
    def headers(self) -> list[str]:
        """The type of each tensor as it is written, "" where nothing needs it."""
        return self.inference.headers() if self.inference else []

    def condition(self, has: Sequence[bool]) -> str | None:
        """When a use has an option, in words of the parameters and of the first tensor's channels."""
        return self.inference.condition(has) if self.inference else None


def infer(holes: Sequence[Sequence[Hole]], roles: Sequence[str], instances: Sequence[Instance]) -> Inferred:
    """The expressions for a block's places; ``holes`` has the values of each use in order."""
    return _Inference(instances).all(list(zip(*holes, strict=True)), roles)


class _Inference:
    def __init__(self, instances: Sequence[Instance]) -> None:
        self._instances = instances
        self._found = Inferred()
        self._sizes = list(_sizes(instances))
        self._named: set[tuple[int, int]] = set()
        self._kernel: tuple[Sequence[Hole], Expression] = ((), Literal(None))
        """the kernel size of the layer whose parameters are being explained"""
        self._taken = {name for name, _, _ in self._sizes} | {"i"} | NEVER_NAMES

    def all(self, columns: Sequence[Sequence[Hole]], roles: Sequence[str]) -> Inferred:
        # What nothing explains becomes a parameter, so that later places may be multiples of it; places that
        # some uses leave out may be what any other is.
        found: dict[int, Expression] = {}
        for number in sorted(range(len(columns)), key=lambda each: ANYTHING in columns[each]):
            found[number] = self._place(columns[number], roles[number])
        self._found.expressions = [found[number] for number in range(len(columns))]
        self._found.inference = self
        return self._found

    def _place(self, column: Sequence[Hole], role: str) -> Expression:
        found = self._half_of_kernel(column) if role == "padding" else None
        found = found or self._expression(column, role)
        if role == "kernel_size":
            self._kernel = column, found
        if role in _WIDTHS and isinstance(found, Text) and ANYTHING not in column:
            self._found.widths.setdefault(found.text, column)
        return found

    def condition(self, has: Sequence[bool]) -> str | None:
        for letter, place, values in self._sizes:
            if place[0] == 0 and self._is_channels(place):
                widths = {**self._found.widths, letter: values}
                found = condition_of(has, self._found.parameters, widths, letter)
                if found:
                    if re.search(rf"\b{letter}\b", found):
                        self._named.add(place)
                    return found
        return condition_of(has, self._found.parameters, {}, "")

    def _expression(self, column: Sequence[Hole], role: str) -> Expression:
        if any(each is ANYTHING for each in column):
            found = self._own_parameter(column, role)
            if found is not None:
                return found
            found = self._known_parameter(column)
            if found is not None and len({str(each) for each in column if each is not ANYTHING}) > 1:
                return found
            found = self._multiple_of_parameter(column) or self._product(column)
            if found is not None:
                return found
            # What a use leaves out says nothing: it may be what the first of the others is.
            column = _without_gaps(column, self._sizes)
        first = column[0]
        if all(_equal(each, first) for each in column) and not _is_symbolic(first):
            return Literal(first)
        found = self._attribute(column) or self._of_parameter(column) or self._size(column, role)
        found = found or self._product(column)
        if found is not None:
            return found
        if all(isinstance(each, tuple) and len(each) == len(first) for each in column):
            return Items(tuple(self._expression(part, role) for part in zip(*column, strict=True)))
        return self._symbolic(column, role) or self._parameter(role, column)

    # --- What may explain a value -------------------------------------------------------------------------

    def _attribute(self, column: Sequence[Hole]) -> Expression | None:
        """A parameter of the class's constructor that has these values."""
        if any(isinstance(each, (SymbolicDim, str, Function)) or each is None for each in column):
            return None
        facts = [each.facts for each in self._instances]
        for name in dict.fromkeys((*facts[0].defaults, *facts[0].parameters)):
            values = [_plain(each.parameters.get(name, each.attributes.get(name, _ABSENT))) for each in facts]
            if all(_equal(value, each) for value, each in zip(values, column, strict=True)):
                return self._given(name, values if all(value is not _ABSENT for value in values) else column)
        return None

    def _half_of_kernel(self, column: Sequence[Hole]) -> Expression | None:
        """``kernel_size // 2`` where that is the padding throughout, whatever the kernel size is."""
        kernels, expression = self._kernel
        if not isinstance(expression, Text) or len(kernels) != len(column):
            return None
        known = [(kernel, each) for kernel, each in zip(kernels, column, strict=True) if each is not ANYTHING]
        halved = all(type(kernel) is int and kernel // 2 == each for kernel, each in known)
        return Text(f"{expression.text} // 2") if halved and known else None

    def _product(self, column: Sequence[Hole]) -> Expression | None:
        """``expand_ratio * C``: a parameter of the class's constructor times a size."""
        known = [number for number, each in enumerate(column) if each is not ANYTHING]
        if not all(type(column[number]) is int and column[number] > 0 for number in known):
            return None
        facts = [each.facts for each in self._instances]
        for name in facts[0].parameters:
            factors = [each.parameters.get(name) for each in facts]
            if not all(type(each) is int and each > 0 for each in factors) or len(set(factors)) == 1:
                continue
            for letter, place, values in self._sizes:
                if not all(isinstance(each, int) for each in values) or not self._is_channels(place):
                    continue
                if all(column[number] == factors[number] * values[number] for number in known):  # pyright: ignore
                    given = self._given(name, factors)
                    assert isinstance(given, Text)
                    return Text(f"{given.text} * {self._dimension(letter, place).text}")
        return None

    def _size(self, column: Sequence[Hole], role: str) -> Expression | None:
        """A size of a tensor, or a multiple or part of one."""
        if not all(_is_size(each) for each in column):
            return None
        for name, place, values in self._sizes:
            if list(values) == list(column):
                return self._dimension(name, place)
        for name, place, values in self._sizes:
            ratio = _ratio(column, values)
            if ratio is not None and role not in _OF_WINDOWS and self._is_channels(place):
                return self._scaled(self._dimension(name, place), ratio)
        return None

    def _known_parameter(self, column: Sequence[Hole]) -> Expression | None:
        for name, values in self._found.parameters.items():
            if all(map(_equal, values, column)):
                return Text(name)
        return None

    def _own_parameter(self, column: Sequence[Hole], role: str) -> Expression | None:
        """Where uses leave a place out, the parameter of its name, or for channels one that is equal."""
        known = self._found.parameters.get(role)
        if known is not None and all(map(_equal, known, column)):
            return Text(role)
        wide = [each for each in column if each is not ANYTHING and type(each) is int]
        if role not in _WIDTHS or not wide or min(wide) < _FEWEST_CHANNELS:
            return None
        return self._known_parameter(column)

    def _of_parameter(self, column: Sequence[Hole]) -> Expression | None:
        known = self._known_parameter(column)
        if known is not None:
            return known
        return self._multiple_of_parameter(column)

    def _multiple_of_parameter(self, column: Sequence[Hole]) -> Expression | None:
        known = [number for number, each in enumerate(column) if each is not ANYTHING]
        if not all(_is_size(column[number]) for number in known):
            return None
        for name, values in self._found.parameters.items():
            if all(_is_size(each) for each in values):
                ratio = _ratio([column[number] for number in known], [values[number] for number in known])
                if ratio is not None:
                    return self._scaled(Text(name), ratio)
        return None

    def _symbolic(self, column: Sequence[Hole], role: str) -> Expression | None:
        """``64 * N`` where a tensor has the size ``N``: a factor, itself explained, times that size."""
        if not all(isinstance(each, SymbolicDim) for each in column):
            return None
        for name, place, values in self._sizes:
            factors = [_factor(each, size) for each, size in zip(column, values, strict=True)]
            if all(factor is not None for factor in factors) and all(map(_is_symbolic, values)):
                inner = self._expression(factors, role)
                left = (
                    inner.text
                    if isinstance(inner, Text)
                    else str(inner.value)
                    if isinstance(inner, Literal)
                    else ""
                )
                if left:
                    left = f"({left})" if " " in left else left
                    return Text(f"{left} * {self._dimension(name, place).text}")
        return None

    def _parameter(self, role: str, column: Sequence[Hole]) -> Expression:
        name = next(
            each for each in numbered(role) if each not in self._taken and each not in self._found.parameters
        )
        return self._given(name, column)

    def _given(self, name: str, column: Sequence[Hole]) -> Expression:
        known = self._found.parameters.get(name)
        if known is not None and not all(map(_equal, known, column)):
            return self._parameter(name, column)
        self._found.parameters[name] = list(column)
        return Text(name)

    # --- Headers ------------------------------------------------------------------------------------------

    def _is_channels(self, place: tuple[int, int]) -> bool:
        """Whether a size may be that of channels: the second, or the last."""
        tensor, position = place
        type = self._instances[0].tensors[tensor]
        return type is not None and type.rank > 1 and position in (1, type.rank - 1)

    def _dimension(self, name: str, place: tuple[int, int]) -> Text:
        self._named.add(place)
        return Text(name)

    def _scaled(self, base: Text, ratio: tuple[int, int]) -> Text:
        up, down = ratio
        text = f"{up} * {base.text}" if up > 1 else base.text
        return Text(f"{text} // {down}" if down > 1 else text)

    def headers(self) -> list[str]:
        found: list[str] = []
        for tensor, types in enumerate(zip(*(each.tensors for each in self._instances), strict=True)):
            known = [each for each in types if each is not None]
            if not known or not any(place[0] == tensor for place in self._named):
                found.append("")
                continue
            found.append(f"[{', '.join(_letters(known, tensor))}]")
        return found


def _without_gaps(column: Sequence[Hole], sizes: Sequence[Any]) -> list[Hole]:
    """A column with values where uses leave the place out: a size's where one explains the others."""
    known = [number for number, each in enumerate(column) if each is not ANYTHING]
    if all(_is_size(column[number]) and _is_few(column[number]) for number in known):
        sizes = ()
    for _, _, values in sizes:
        if all(_equal(values[number], column[number]) for number in known):
            return list(values)
        if not all(
            _is_size(each) and isinstance(each, int) for each in (*values, *(column[n] for n in known))
        ):
            continue
        ratio = _ratio([column[number] for number in known], [values[number] for number in known], one=True)
        if ratio is not None:
            return [value * ratio[0] // ratio[1] for value in values]
    return [column[known[0]] if each is ANYTHING else each for each in column]


def _sizes(instances: Sequence[Instance]) -> Iterator[tuple[str, tuple[int, int], list[Dim]]]:
    """Each size of each tensor, under the name it may have, with its values in every use."""
    for tensor, types in enumerate(zip(*(each.tensors for each in instances), strict=True)):
        known = [each for each in types if each is not None]
        if len(known) < len(types) or len({each.rank for each in known}) != 1:
            continue
        for position, name in enumerate(_letters(known, tensor)):
            yield name, (tensor, position), [each.shape[position] for each in known]


def _letters(types: Sequence[TensorType], tensor: int) -> tuple[str, ...]:
    """The dimensions of a tensor, whose types in all uses tell whether its channels come last."""
    rank = types[0].rank
    letters = _LETTERS.get(rank) or tuple(f"D{number}" for number in range(rank))
    is_square = rank == 4 and all(type.shape[1] == type.shape[2] for type in types)
    if is_square and any(type.shape[2] != type.shape[3] for type in types):
        letters = ("N", "H", "W", "C")
    return letters if tensor == 0 else tuple(f"{letter}{tensor + 1}" for letter in letters)


def _is_few(value: Any) -> bool:
    return isinstance(value, int) and value < _FEWEST_CHANNELS


def _ratio(column: Sequence[Any], values: Sequence[Any], one: bool = False) -> tuple[int, int] | None:
    """``(up, down)`` with ``column = values * up // down`` throughout."""
    if not all(isinstance(each, int) and each > 0 for each in (*column, *values)):
        return None
    value, base = column[0], values[0]
    if value % base == 0 and 1 < value // base <= _MOST:
        up, down = value // base, 1
    elif base % value == 0 and 1 < base // value <= _MOST:
        up, down = 1, base // value
    else:
        return None
    fits = all(each * down == size * up for each, size in zip(column, values, strict=True))
    return (up, down) if fits and (one or len(set(values)) > 1) else None


def _factor(value: Dim, size: Dim) -> int | None:
    """The number that makes one size of another, or None."""
    if not isinstance(value, SymbolicDim) or not isinstance(size, SymbolicDim):
        return None
    quotient = value // size
    return quotient if isinstance(quotient, int) and quotient * size == value else None


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_symbolic(each) for each in value)
    return isinstance(value, SymbolicDim)


def _is_size(value: Any) -> bool:
    return isinstance(value, SymbolicDim) or (
        isinstance(value, int) and not isinstance(value, bool) and value > 0
    )


def _equal(left: Any, right: Any) -> bool:
    if left is ANYTHING or right is ANYTHING:
        return True
    return type(left) is type(right) and left == right


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, tuple) and value and len(set(value)) == 1:
        return value[0]
    return value


_ABSENT = object()
