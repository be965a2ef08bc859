"""When a use of a block has an option, in words of its numbers.

In: which uses have it, and what each of the block's parameters and sizes is in every use.  Out: the condition
that the author of the class would have written, ``stride != 1 or C != planes``, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TOLD = (1, 0)
"""Numbers whose being reached or not says something: a stride, a ratio, a depth."""


def condition_of(
    has: Sequence[bool],
    parameters: Mapping[str, Sequence[Any]],
    widths: Mapping[str, Sequence[Any]],
    size: str,
) -> str | None:
    """The condition that holds in the uses that have the option, and in no others.

    ``parameters`` and ``widths`` are the values in every use of what the block knows by name; ``size`` is
    which of the widths is that of the block's input, "" without one.
    """
    numbers = list(_comparisons(parameters))
    channels = list(_equalities(widths, size)) if size else []
    for text, holds in (*numbers, *channels):
        if list(holds) == list(has):
            return text
    for word in ("and", "or"):
        for text, holds in numbers:
            for other, held in channels:
                both = zip(holds, held, strict=True)
                together = [one and two if word == "and" else one or two for one, two in both]
                if together == list(has) and _are_like(text, other, word):
                    return f"{text} {word} {other}"
    return None


def _are_like(one: str, two: str, word: str) -> bool:
    """``stride == 1 and C == planes``, or its contrary."""
    sign = " == " if word == "and" else " != "
    return sign in one and sign in two


def _comparisons(parameters: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, list[bool]]]:
    for name, values in parameters.items():
        if not all(type(each) is int for each in values):
            continue
        for told in _TOLD:
            yield f"{name} != {told}", [each != told for each in values]
            yield f"{name} == {told}", [each == told for each in values]


def _equalities(widths: Mapping[str, Sequence[Any]], size: str) -> Iterator[tuple[str, list[bool]]]:
    own = widths[size]
    for name, values in widths.items():
        if name == size or not all(type(each) is int for each in (*own, *values)):
            continue
        yield f"{size} != {name}", [one != two for one, two in zip(own, values, strict=True)]
        yield f"{size} == {name}", [one == two for one, two in zip(own, values, strict=True)]
