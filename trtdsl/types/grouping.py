"""Which dimensions of a tensor become which ones of another shape for its elements."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.types.dim import Dim


def dimension_groups(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[slice, slice]]:
    """Dimensions of one shape and those of the other that have the same elements, as small as can be told."""
    front = _matching(before, after)
    i, j = (sum(counts) for counts in zip(*front, strict=True)) if front else (0, 0)
    back = _matching(before[i:][::-1], after[j:][::-1])
    k, n = (sum(counts) for counts in zip(*back, strict=True)) if back else (0, 0)
    middle = (len(before) - i - k, len(after) - j - n)
    found: list[tuple[slice, slice]] = []
    i = j = 0
    for old, new in (*front, middle, *reversed(back)):
        found.append((slice(i, i + old), slice(j, j + new)))
        i, j = i + old, j + new
    return found


def _matching(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[int, int]]:
    """How many dimensions of each match, from the front up to where sizes cannot be compared."""
    found: list[tuple[int, int]] = []
    rest, others = [*before], [*after]
    while rest and others:
        old, new, count, other_count = rest[0], others[0], 1, 1
        while old != new:
            if not isinstance(old, int) or not isinstance(new, int):
                return found
            if old < new and count < len(rest):
                old, count = old * rest[count], count + 1
            elif new < old and other_count < len(others):
                new, other_count = new * others[other_count], other_count + 1
            else:
                return found
        found.append((count, other_count))
        rest, others = rest[count:], others[other_count:]
    return found
