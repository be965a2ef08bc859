"""Calls of one class that leave out parts of the longest one, as one block with options.

In: bodies of one class.  Out: an :class:`Aligned` for each block to write: which items of the longest body
every other one has, and what stands for a part that it leaves out::

    out = x -> conv1 -> bn1 -> …              out = x -> conv1 -> bn1 -> …
    identity = x -> downsample.0 -> …         # nothing, and x below
    return out + identity -> relu             return out + x -> relu
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from trtdsl.importers.holes import Hole, skeleton
from trtdsl.importers.sketch import Item, labels, makes

MOST_OPTIONS = 3
"""Options of one block; more are blocks of their own."""
_ALWAYS_LEFT_OUT = 8
"""Items that may be left out of any body; of a long one half of them."""

_MOST_STEPS = 20_000


Pattern: TypeAlias = "tuple[tuple[bool, ...], tuple[tuple[str, str], ...], tuple[str, ...]]"


class Anything:
    """What stands in a place that a use of a block leaves out."""

    def __repr__(self) -> str:
        return "anything"


ANYTHING = Anything()


@dataclass(eq=False)
class Part:
    """A body as the alignment sees it."""

    items: Sequence[Item]
    tensors: Sequence[str]
    results: Sequence[str]

    @cached_property
    def shapes(self) -> list[_Shape]:
        """What each item is compared by."""
        return [_Shape(each) for each in self.items]


@dataclass(eq=False)
class Alignment:
    """Where a shorter body agrees with the longest."""

    kept: list[bool]
    """of each item of the longest"""
    holes: list[list[Hole]]
    """of each item of the longest, :data:`ANYTHING` for those left out"""
    results: list[str | None]
    """what the body makes in the place of each of the longest's results, None where nobody reads it"""
    stands_for: dict[str, str] = field(default_factory=dict[str, str])
    """of a value that a part left out would make, which one of the longest's is read in its place"""

    @cached_property
    def row(self) -> list[str]:
        """All holes as texts, to be compared."""
        return [repr(hole) for holes in self.holes for hole in holes]

    @cached_property
    def pattern(self) -> Pattern:
        """What is compared of it: what is left out, what stands for that, and the holes."""
        return tuple(self.kept), tuple(sorted(self.stands_for.items())), tuple(self.row)


def align(longest: Part, other: Part) -> Alignment | None:
    """How the other body leaves out parts of the longest, or None where it is another one.

    One that leaves out most of a long one has too little in common for a block to be read as both.
    """
    left_out = len(longest.items) - len(other.items)
    if left_out > max(len(other.items), _ALWAYS_LEFT_OUT):
        return None
    if len(longest.tensors) != len(other.tensors) or len(longest.results) < len(other.results):
        return None
    return _Aligner(longest, other).found()


class _Shape:
    """An item's skeleton without its values, and those values in order."""

    def __init__(self, item: Item) -> None:
        self.values: list[str] = []
        self.holes: list[Hole] = []
        made = set(makes(item))

        def note(value: str) -> str:
            if value not in made:
                self.values.append(value)
            return ""

        self.skeleton = skeleton(item, note, self.holes)
        self.made = list(makes(item))


class _Aligner:
    def __init__(self, longest: Part, other: Part) -> None:
        self._longest, self._other = longest, other
        self._shapes, self._others = longest.shapes, other.shapes
        self._steps = 0

    def found(self) -> Alignment | None:
        same = dict(zip(self._longest.tensors, self._other.tensors, strict=True))
        state = self._match(0, 0, same, {}, frozenset())
        if state is None:
            return None
        same, stands_for, left_out = state
        kept = [number not in left_out for number in range(len(self._shapes))]
        others = iter(self._others)
        holes = [
            next(others).holes if keep else [ANYTHING] * len(shape.holes)
            for keep, shape in zip(kept, self._shapes, strict=True)
        ]
        return Alignment(kept, holes, self._results(same), stands_for)

    def _results(self, same: Mapping[str, str]) -> list[str | None]:
        if len(self._longest.results) == len(self._other.results):
            return list(self._other.results)
        made = [same[each] for each in self._longest.results]
        return [each if each in self._other.results else None for each in made]

    def _match(
        self,
        number: int,
        other: int,
        same: Mapping[str, str],
        stands_for: Mapping[str, str],
        left_out: frozenset[int],
    ) -> Any:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            return None
        if number == len(self._shapes):
            if other < len(self._others):
                return None
            if len(self._longest.results) > len(self._other.results):
                made = {same.get(each) for each in self._longest.results}
                fits = None not in made and made.issuperset(self._other.results)
                return (same, stands_for, left_out) if fits else None
            ended = self._unified(self._longest.results, self._other.results, same, stands_for)
            return (*ended, left_out) if ended else None
        if other < len(self._others):
            agreed = self._agree(self._shapes[number], self._others[other], same, stands_for)
            if agreed:
                found = self._match(number + 1, other + 1, *agreed, left_out)
                if found:
                    return found
        if len(self._shapes) - number > len(self._others) - other:
            return self._match(number + 1, other, same, stands_for, left_out | {number})
        return None

    def _agree(
        self, ours: _Shape, theirs: _Shape, same: Mapping[str, str], stands_for: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]] | None:
        if ours.skeleton != theirs.skeleton or len(ours.made) != len(theirs.made):
            return None
        found = self._unified(ours.values, theirs.values, same, stands_for)
        if found is None:
            return None
        known, standing = found
        return {**known, **dict(zip(ours.made, theirs.made, strict=True))}, standing

    def _unified(
        self,
        ours: Sequence[str],
        theirs: Sequence[str],
        same: Mapping[str, str],
        stands_for: Mapping[str, str],
    ) -> tuple[dict[str, str], dict[str, str]] | None:
        standing = dict(stands_for)
        back: dict[str, str] | None = None
        for mine, other in zip(ours, theirs, strict=True):
            if mine in same:
                if same[mine] != other:
                    return None
                continue
            if back is None:
                back = {value: key for key, value in reversed(list(same.items()))}
            if other not in back or standing.setdefault(mine, back[other]) != back[other]:
                return None
        return dict(same), standing


@dataclass
class Option:
    """A run of items that some uses leave out."""

    start: int
    stop: int
    has: tuple[bool, ...]
    """of each use"""
    merges: tuple[tuple[str, str], ...]
    """a value of the run that is read after it, and what is read in its place"""


def options(longest: Part, alignments: Sequence[Alignment]) -> list[Option] | None:
    """The runs that become options, or None where they cannot be told apart."""
    columns = [tuple(each.kept[number] for each in alignments) for number in range(len(longest.items))]
    found: list[Option] = []
    number = 0
    while number < len(columns):
        if all(columns[number]):
            number += 1
            continue
        stop = number
        while stop < len(columns) and columns[stop] == columns[number]:
            stop += 1
        if stop < len(columns) and not all(columns[stop]):
            return None
        merges = _merges(longest, number, stop, alignments)
        if merges is None or not _is_whole(longest.items, number, stop):
            return None
        found.append(Option(number, stop, columns[number], merges))
        number = stop
    return found if len({option.has for option in found}) <= MOST_OPTIONS else None


def _is_whole(items: Sequence[Item], start: int, stop: int) -> bool:
    """Whether a run leaves out no part of a numbered row: the others would be counted anew."""
    rows = [_row(label) for item in items[start:stop] for label in labels(item)]
    others = {_row(label) for item in [*items[:start], *items[stop:]] for label in labels(item)}
    return all(row is None or row not in others for row in rows)


def _row(label: str) -> str | None:
    before, _, last = label.rpartition(".")
    return before if last.isdigit() else None


def _merges(
    longest: Part, start: int, stop: int, alignments: Sequence[Alignment]
) -> tuple[tuple[str, str], ...] | None:
    made = [value for item in longest.items[start:stop] for value in makes(item)]
    before = {value for item in longest.items[:start] for value in makes(item)} | set(longest.tensors)
    found: dict[str, str] = {}
    for alignment in alignments:
        for value in made:
            if value in alignment.stands_for and not alignment.kept[start]:
                standing = alignment.stands_for[value]
                if standing not in before or found.setdefault(value, standing) != standing:
                    return None
    return tuple(found.items())
