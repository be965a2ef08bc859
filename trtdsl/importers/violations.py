"""Sizes for which a module does what it did for the example's.

In: torch's words on the guards that it cannot prove of a whole range, ``((-1) + L['x'].size()[1]) != 1``.
Out: the part of each dimension's range in which they hold, found by trying the sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import CodeType, SimpleNamespace
from typing import Any

import msgspec

from trtdsl.types import Dim, Symbol, evaluate_shape

_GUARD = re.compile(
    r"- Not all values of .*? in the specified range.*? satisfy the generated guard (?P<guard>.+?)\."
    r"(?=\s*$|Specializations)",
    re.MULTILINE,
)
_TRIED = 4096
"""Sizes that are tried at most."""
_BEYOND = 64
"""Multiples of a step that are tried past the end of a range."""
_LEAST = 8
"""The part of a range that may be left: an eighth."""
_NAMES: Mapping[str, Any] = {
    "__builtins__": {},
    "math": math,
    "torch": SimpleNamespace(
        sym_float=float,
        sym_int=int,
        sym_max=max,
        sym_min=min,
        sym_not=lambda value: not value,
        sym_sqrt=math.sqrt,
    ),
    "max": max,
    "min": min,
}


class _Sized(msgspec.Struct, frozen=True):
    """An argument that is asked for its size."""

    shape: tuple[int, ...]

    def size(self) -> tuple[int, ...]:
        return self.shape


def guards_in(text: str) -> list[str]:
    """The guards that torch names."""
    return list(dict.fromkeys(match["guard"] for match in _GUARD.finditer(text)))


def where_they_hold(
    guards: Sequence[str],
    dims: Mapping[str, Symbol],
    shapes: Mapping[str, Sequence[Dim]],
    example: Mapping[str, int],
    *,
    in_steps: bool = False,
) -> dict[str, Symbol] | None:
    """The dimensions in the ranges around the example's sizes in which all guards hold, ``in_steps`` also of
    multiples of some number; None where a guard cannot be tried, or holds for about one size only.
    """
    found = dict(dims)
    try:
        tests = [compile(guard, "<guard>", "eval") for guard in guards]
        for name, each in dims.items():
            sizes = [
                size for size in _around(each, example[name]) if _hold(tests, shapes, {**example, name: size})
            ]
            found[name] = _narrowed(each, example[name], sizes, in_steps)
            if found[name].step > each.step:
                further = _beyond(found[name])
                held = [_hold(tests, shapes, {**example, name: size}) for size in further]
                if _returns(held):
                    return None
        if any(is_fixed(each, found[name]) for name, each in dims.items()) or not all(
            _hold(tests, shapes, sizes) for sizes in _grid(found)
        ):
            return None
    except Exception:  # whatever torch writes that these names do not say
        return None
    return found


def is_fixed(before: Symbol, after: Symbol) -> bool:
    """Whether so little of a range is left that the module is made for the example's size."""
    spans = [each.maximum - each.minimum + 1 for each in (before, after)]
    return before != after and spans[1] * _LEAST < spans[0]


def _all(dim: Symbol) -> range:
    return range(dim.minimum, dim.maximum + 1, dim.step)


def _hold(tests: Sequence[CodeType], shapes: Mapping[str, Sequence[Dim]], sizes: Mapping[str, int]) -> bool:
    given = {name: _Sized(evaluate_shape(shape, sizes)) for name, shape in shapes.items()}
    names = {**_NAMES, "L": given}
    return all(eval(test, names) for test in tests)


def _around(dim: Symbol, example: int) -> Iterator[int]:
    """The sizes of a dimension, at most as many as are tried."""
    sizes = _all(dim)
    start = max(0, (example - dim.minimum) // dim.step - _TRIED // 2)
    yield from sizes[start : start + _TRIED]


def _narrowed(dim: Symbol, example: int, sizes: Sequence[int], in_steps: bool) -> Symbol:
    """The longest range around the example in these sizes, in larger steps where it is short."""
    good = set(sizes)
    largest = example // 2 if in_steps else dim.step
    steps = [dim.step, *(each for each in range(2 * dim.step, largest + 1, dim.step) if example % each == 0)]
    ranges = [_range(dim, example, good, step) for step in steps]
    if not is_fixed(dim, ranges[0]):
        return ranges[0]
    return next((each for each in ranges if _reaches(dim, each)), ranges[0])


def _beyond(dim: Symbol) -> range:
    """The next multiples of a step past the end of a range."""
    return range(dim.maximum + dim.step, dim.maximum + (_BEYOND + 1) * dim.step, dim.step)


def _returns(held: Sequence[bool]) -> bool:
    """Whether guards hold again after they did not, as ``H % 32 != 0`` of multiples of 25: nothing about the
    step is why they hold in the range, which ends before 800.
    """
    return False in held and any(held[held.index(False) :])


def _reaches(dim: Symbol, found: Symbol) -> bool:
    """Whether a range goes from one end of another to the other, but for the smallest multiple, and has
    more sizes than may fit by chance.
    """
    is_whole = found.minimum - dim.minimum < 2 * found.step and dim.maximum - found.maximum < found.step
    return is_whole and found.maximum - found.minimum >= _LEAST * found.step


def _range(dim: Symbol, example: int, good: Collection[int], step: int) -> Symbol:
    """The longest range around the example of multiples of a step."""
    low = high = example
    while low - step in good:
        low -= step
    while high + step in good:
        high += step
    return Symbol(dim.name, low, min(max(dim.optimum // step * step, low), high), high, step)


def _grid(dims: Mapping[str, Symbol]) -> Iterator[dict[str, int]]:
    """Sizes of all dimensions at once: the ends of each range, and what lies between."""
    count = max(2, int(_TRIED ** (1 / max(len(dims), 1))))
    sizes = {name: _spread(each, count) for name, each in dims.items()}
    yield from islice(_combined(list(sizes.items())), _TRIED)


def _combined(sizes: Sequence[tuple[str, Sequence[int]]]) -> Iterator[dict[str, int]]:
    if not sizes:
        yield {}
        return
    (name, own), *others = sizes
    for size in own:
        for rest in _combined(others):
            yield {name: size, **rest}


def _spread(dim: Symbol, count: int) -> list[int]:
    sizes = _all(dim)
    stride = max(1, len(sizes) // count)
    return sorted({*sizes[::stride], sizes[-1]})
