"""Numbered layers in a row as a loop, and one that is called again and again.

In: the items of one body, ``layers.0: Layer``, ``layers.1: Layer``, … each reading what the one before
made.  Out: ``for i in range(3) { x = x -> "layers.{i}": Layer }``; values that vary are a table beside the
number.  Where the labels are the same every time, nothing is numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trtdsl.importers.holes import Hole, filled, roles, skeleton
from trtdsl.importers.names import numbered
from trtdsl.importers.sketch import (
    Apply,
    Expression,
    Infix,
    Item,
    Items,
    Literal,
    Loop,
    Statement,
    Text,
    labels,
    reading,
    reads,
    replaced,
)

SHORTEST = 3
"""Iterations of a loop."""
MOST_COLUMNS = 2
"""Values that differ from iteration to iteration, of a short loop; one more where it is :data:`LONG`."""
LONG = 6
LONGEST_PERIOD = 12
"""Statements of an iteration."""


def with_loops(items: Sequence[Item], read_behind: frozenset[str]) -> list[Item]:
    """The items, rows of equal ones as loops. ``read_behind`` are the values that others read."""
    found: list[Item] = []
    named, shapes = _Labels(items), _Shapes(items)
    position = 0
    while position < len(items):
        loop, length = _loop_at(shapes, named, position, read_behind)
        if loop is None:
            found.append(items[position])
            position += 1
        else:
            found.append(loop)
            position += length
    return found


class _Labels:
    """The labels of the items, in one row."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._row: list[str] = []
        self._starts = [0]
        """of each item, and of what is after the last, where its labels begin in the row"""
        self._others = [0]
        """how many items before each are not statements, which no iteration can have"""
        for item in items:
            is_statement = isinstance(item, Statement)
            self._row += labels(item) if is_statement else ()
            self._starts.append(len(self._row))
            self._others.append(self._others[-1] + (not is_statement))

    def of(self, start: int, stop: int) -> list[str] | None:
        """Those of some items; None where they cannot be an iteration."""
        if stop >= len(self._starts) or self._others[start] != self._others[stop]:
            return None
        return self._row[self._starts[start] : self._starts[stop]]


class _Shapes:
    """The items, and of each what an iteration compares."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._known: dict[tuple[int, str | None], tuple[Any, list[str], list[Hole]]] = {}

    def of(self, position: int, place: str | None, number: int) -> tuple[Any, list[str], list[Hole]]:
        """An item's skeleton, values and holes where its labels have their number after a place."""
        known = self._known.get((position, place))
        if known is None:
            item = self.items[position]
            assert isinstance(item, Statement)
            values: list[str] = []
            holes: list[Hole] = []

            def note(value: str) -> str:
                values.append(value)
                return ""

            known = (skeleton(_relabelled(item, place, number), note, holes), values, holes)
            self._known[position, place] = known
        return known


def _loop_at(
    shapes: _Shapes, named: _Labels, start: int, read_behind: frozenset[str]
) -> tuple[Loop | None, int]:
    best: tuple[Loop | None, int] = (None, 0)
    for period in range(1, LONGEST_PERIOD + 1):
        if start + SHORTEST * period > len(shapes.items):
            break
        found = _Row(shapes, named, start, period, read_behind).loop()
        if found and found[1] > best[1]:
            best = found
        if best[0] is not None:
            break
    return best


class _Row:
    """Windows of one period that may be the iterations of a loop."""

    def __init__(
        self, shapes: _Shapes, named: _Labels, start: int, period: int, read_behind: frozenset[str]
    ) -> None:
        self._shapes = shapes
        self._items = shapes.items
        self._named = named
        self._start = start
        self._period = period
        self._behind = read_behind

    def loop(self) -> tuple[Loop, int] | None:
        found = [each for place, begin in self._numbers() if (each := self._numbered_by(place, begin))]
        return max(found, key=lambda each: each[1], default=None)

    def _numbered_by(self, place: str | None, begin: int) -> tuple[Loop, int] | None:
        count, shapes, holes = self._count(place, begin)
        while count >= SHORTEST:
            carried = self._carried(count, shapes)
            if carried is not None and self._is_regular(holes[:count], place):
                return self._made(place, begin, count, carried, holes[:count]), count * self._period
            count -= 1
        return None

    def _window(self, index: int) -> Sequence[Any]:
        begin = self._start + index * self._period
        return self._items[begin : begin + self._period]

    def _numbers(self) -> Iterator[tuple[str | None, int]]:
        """What stands in the labels before a number that may count, and that of the first window; None where
        the labels stay the same.
        """
        found = self._labels(0)
        if (found or not self._is_stage()) and all(
            self._is_numbered(index, None, 0) for index in range(SHORTEST)
        ):
            yield None, 0
        if not found:
            return
        for match in _COUNTED.finditer(found[0]):
            before, number = found[0][: match.start()], int(match[0])
            if all(self._is_numbered(index, before, number) for index in range(SHORTEST)):
                yield before, number

    def _is_stage(self) -> bool:
        """Whether an iteration is one call of one tensor: those read well as a chain."""
        return self._period == 1 and sum(1 for _ in reads(self._items[self._start])) == 1

    def _labels(self, index: int) -> list[str] | None:
        """Those of a window, where it can be an iteration."""
        begin = self._start + index * self._period
        return self._named.of(begin, begin + self._period)

    def _is_numbered(self, index: int, before: str | None, begin: int) -> bool:
        """Whether every label of a window has its number, or is the first window's."""
        found = self._labels(index)
        if before is None:
            return found is not None and found == self._labels(0)
        return found is not None and all(_is_numbered(label, before, begin + index) for label in found)

    def _count(self, place: str | None, begin: int) -> tuple[int, list[Any], list[list[Hole]]]:
        """How many windows have the first one's skeleton."""
        shapes: list[Any] = []
        holes: list[list[Hole]] = []
        index = 0
        while self._is_numbered(index, place, begin):
            start = self._start + index * self._period
            parts = [
                self._shapes.of(position, place, begin + index)
                for position in range(start, start + self._period)
            ]
            shape = tuple(shape for shape, _, _ in parts)
            values = [value for _, values, _ in parts for value in values]
            inner = [hole for _, _, holes in parts for hole in holes]
            if shapes and (shape != shapes[0][0] or len(inner) != len(holes[0])):
                break
            shapes.append((shape, values))
            holes.append(inner)
            index += 1
        return index, shapes, holes

    def _carried(self, count: int, shapes: list[Any]) -> dict[int, tuple[str, int]] | None:
        """Of the values that an iteration reads, by their place, which the one before made, and how they
        begin.
        """
        made = [self._made_in(index) for index in range(count)]
        reads = [values for _, values in shapes[:count]]
        found: dict[int, tuple[str, int]] = {}
        for place in range(len(reads[0])):
            column = [values[place] for values in reads]
            inside = [value in made[index] for index, value in enumerate(column)]
            if all(inside):
                if len({made[index].index(value) for index, value in enumerate(column)}) != 1:
                    return None
            elif any(inside):
                return None
            elif len(set(column)) > 1:
                before = {
                    made[index - 1].index(value) if value in made[index - 1] else -1
                    for index, value in enumerate(column)
                    if index
                }
                if len(before) != 1 or -1 in before:
                    return None
                (source,) = before
                if found.get(source, (column[0], 0))[0] != column[0]:
                    return None
                found[source] = (column[0], place)
        invariant = {values[0] for values in zip(*reads, strict=True) if len(set(values)) == 1}
        if not invariant.isdisjoint(initial for initial, _ in found.values()):
            return None
        return found if self._closed(count, made, found) else None

    def _is_regular(self, holes: list[list[Hole]], place: str | None) -> bool:
        """Whether the iterations differ in few ways, so that a loop is easier to read than they are."""
        if place is None and not self._labels(0):
            return all(row == holes[0] for row in holes)
        if all(row == holes[1] for row in holes[1:]) and holes[0] != holes[1]:
            # Only the first differs: it stands alone.
            return False
        columns = {tuple(map(repr, column)) for column in zip(*holes, strict=True)}
        varying = sum(len(set(column)) > 1 for column in columns)
        return varying <= (MOST_COLUMNS if len(holes) < LONG else MOST_COLUMNS + 1)

    def _made_in(self, index: int) -> list[str]:
        return [result for each in self._window(index) for result in each.results if result is not None]

    def _closed(self, count: int, made: list[list[str]], carried: Mapping[int, Any]) -> bool:
        """Whether nothing outside reads what the loop does not leave behind."""
        end = self._start + count * self._period
        read = set(self._behind)
        for item in [*self._items[: self._start], *self._items[end:]]:
            read |= set(reads(item))
        left = {made[-1][number] for number in carried}
        return all(value not in read or value in left for values in made for value in values)

    def _made(
        self,
        place: str | None,
        begin: int,
        count: int,
        carried: Mapping[int, tuple[str, int]],
        holes: list[list[Hole]],
    ) -> Loop:
        # What two carried values begin as may be one value, read for both; later iterations tell them apart.
        initials = [initial for initial, _ in carried.values()]
        shown = 0 if len({*initials}) == len(initials) else 1
        made, last = self._made_in(shown), self._made_in(count - 1)
        window = [_relabelled(each, place, begin + shown) for each in self._window(shown)]
        names = roles(window)
        table, expressions = _table(holes, names, begin)
        values = iter(expressions)
        body = [filled(each, values) for each in window]
        before = initials if shown == 0 else [self._made_in(0)[number] for number in carried]
        starts = [f"{made[number]}@start" for number in carried]
        body = [reading(each, dict(zip(before, starts, strict=True))) for each in body]
        listed = tuple(
            (last[number], start, made[number], initial)
            for number, start, initial in zip(carried, starts, initials, strict=True)
        )
        is_counted = place is not None or Text("i") in expressions
        return Loop(*_over(table, begin if is_counted else None, count), tuple(body), listed)


def _over(
    table: Sequence[tuple[str, Sequence[Hole]]], begin: int | None, count: int
) -> tuple[str, Expression]:
    """The targets and what is looped over; without a number where it does not begin with one."""
    if not table:
        if begin is None:
            return "_", Apply("range", (("", Literal(count)),))
        if begin == 0:
            return "i", Apply("range", (("", Literal(count)),))
        # The number of iterations may be a block's parameter: it stands alone.
        end = Infix("+", Literal(count), Literal(begin))
        return "i", Apply("range", (("", Literal(begin)), ("", end)))
    rows = list(zip(*(values for _, values in table), strict=True))
    items = tuple(Literal(row[0]) if len(row) == 1 else Items(tuple(map(Literal, row))) for row in rows)
    names = ", ".join(name for name, _ in table)
    if begin is None:
        first: Any = rows[0][0]
        if type(first) is int and rows == [(first + number,) for number in range(count)]:
            return names, Apply("range", (("", Literal(first)), ("", Literal(first + count))))
        return names, Items(items, brackets=True)
    targets = f"i, {names}" if len(table) == 1 else f"i, ({names})"
    start = () if begin == 0 else (("", Literal(begin)),)
    return targets, Apply("enumerate", (("", Items(items, brackets=True)), *start))


def _table(
    holes: list[list[Hole]], names: Sequence[str], begin: int
) -> tuple[list[tuple[str, Sequence[Hole]]], list[Expression]]:
    """The columns that vary, and what stands in each hole."""
    table: list[tuple[str, Sequence[Hole]]] = []
    expressions: list[Expression] = []
    for number, name in enumerate(names):
        column = [row[number] for row in holes]
        if all(type(each) is type(column[0]) and each == column[0] for each in column):
            expressions.append(Literal(column[0]))
        elif column == list(range(begin, begin + len(column))):
            expressions.append(Text("i"))
        else:
            known = next((title for title, values in table if list(values) == column), None)
            if known is None:
                taken = {title for title, _ in table} | {"i"}
                known = next(each for each in numbered(name) if each not in taken)
                table.append((known, column))
            expressions.append(Text(known))
    return table, expressions


_COUNTED = re.compile(r"(?<![0-9])[0-9]+(?=\.|$)")
"""A number at the end of a part of a label: ``layers.0``, ``denseblock1``."""


def _is_numbered(label: str, before: str, number: int) -> bool:
    prefix = f"{before}{number}"
    return label == prefix or label.startswith(f"{prefix}.")


def _relabelled(statement: Statement, before: str | None, number: int) -> Statement:
    """With ``{i}`` for the number in every label, where one counts."""
    if before is None:
        return statement
    length = len(f"{before}{number}")

    def change(expression: Expression) -> Expression | None:
        if not isinstance(expression, Apply) or not isinstance(expression.label, str):
            return None
        plain = msgspec.structs.replace(expression, label=None)
        changed = replaced(plain, change)
        return msgspec.structs.replace(changed, label=Text(f"{before}{{i}}{expression.label[length:]}"))

    return msgspec.structs.replace(statement, expression=replaced(statement.expression, change))
