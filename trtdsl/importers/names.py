"""What the source calls a value.

In: statements with the lines that they came from.  Out: the name that the last one on a line is assigned to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from trtdsl.importers.program import Frame
from trtdsl.importers.sketch import Apply, Block, Branch, Item, Loop, Statement, reads

_ASSIGNED = re.compile(r"^(?P<names>[A-Za-z_]\w*(\s*,\s*[A-Za-z_]\w*)*)(\s*:\s*[\w.\[\], |]+)?\s*=(?!=)\s*")
_RETURNED = re.compile(r"return\b")
_INSIDE = ("/torch/nn/modules/", "/torch/nn/functional.py", "/torch/_", "/torch/functional.py")


def hints_of(items: Sequence[Item], blocks: Sequence[Block] = ()) -> dict[str, str]:
    """The name of each value that the source assigns to one; ``blocks`` are those that the items use."""
    returned = {block.name: [block.hints.get(value, "") for value in block.returns] for block in blocks}
    return _hints(items, returned)


def _hints(items: Sequence[Item], returned: Mapping[str, Sequence[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    readers = _readers(items)
    for group in _lines(items):
        for value, name in _named(group, readers, returned):
            found.setdefault(value, name)
    for item in items:
        if isinstance(item, Loop):
            inner = _hints(item.items, returned)
            found |= inner
            for result, start, end, initial in item.carried:
                name = inner.get(end) or found.get(initial)
                if name:
                    found |= {result: name, start: name, end: name}
        elif isinstance(item, Branch):
            inner = _hints(item.items, returned)
            found |= inner
            for result, end, before in item.merges:
                name = inner.get(end) or found.get(before)
                if name:
                    found |= {result: name, end: name}
                    found.setdefault(before, name)
    return found


class _Line(msgspec.Struct, frozen=True):
    """A line, and the statements that ran while it did."""

    frame: Frame
    statements: Sequence[Statement]
    is_innermost: bool
    """whether the last of them is what the line itself does, and not a function that it calls"""


def _lines(items: Sequence[Item]) -> Iterator[_Line]:
    """The lines that led to statements, those of functions after those that call them."""
    paths = [(item, _outside(item.frames)) for item in items if isinstance(item, Statement)]
    paths = [(statement, path) for statement, path in paths if path]
    for depth in range(max((len(path) for _, path in paths), default=0)):
        groups: dict[tuple[tuple[str, int], ...], list[tuple[Statement, Sequence[Frame]]]] = {}
        for statement, path in paths:
            number = _start(path) + depth
            if number < len(path):
                key = tuple((frame.file, frame.line) for frame in path[: number + 1])
                groups.setdefault(key, []).append((statement, path))
        for key, group in groups.items():
            path = group[-1][1]
            yield _Line(path[len(key) - 1], [each for each, _ in group], len(path) == len(key))


def _start(path: Sequence[Frame]) -> int:
    """Where the lines begin of the module that a statement ran in; before are those that called it."""
    return max((number for number, frame in enumerate(path) if frame.function == "forward"), default=0)


def _named(
    line: _Line, readers: Mapping[str, set[int]], returned: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """The values that a line assigns, with their names."""
    match = _ASSIGNED.match(line.frame.code)
    if not match:
        return
    names: Sequence[str] = [name.strip() for name in match["names"].split(",")]
    last = line.statements[-1]
    inside = {id(each) for each in line.statements}
    values = [value for each in line.statements for value in each.results if value]
    left = [value for value in values if not inside.issuperset(readers.get(value, ()))]
    results = [each for each in last.results if each]
    pairs: Iterable[tuple[str | None, str]] = ()
    if len(names) == len(last.results) and (line.is_innermost or {*left} <= {*results}):
        pairs = zip(last.results, _as_returned(names, last, returned), strict=True)
    elif len(names) == len(results) == 1 and {*left} <= {*results}:
        pairs = [(results[0], names[0])]
    elif len(names) == len(left):
        # ``q, k, v = qkv[0], qkv[1], qkv[2]``
        pairs = zip(left, names, strict=True)
    elif line.is_innermost and len(names) <= len(line.statements):
        ends = [each.results for each in line.statements[-len(names) :]]
        pairs = [(end[0], name) for end, name in zip(ends, names, strict=True) if len(end) == 1]
    yield from ((value, name) for value, name in pairs if value and name != "_")


def _as_returned(
    names: Sequence[str], statement: Statement, returned: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """The names that a block's results are assigned to, in the block's own order, which is not the source's:
    those that have the same name inside are known, the others follow.
    """
    expression = statement.expression
    inner = returned.get(expression.function, ()) if isinstance(expression, Apply) else ()
    left = [name for name in names if name not in inner]
    return [name if name in names else left.pop(0) for name in inner] if _are_unique(inner, names) else names


def _are_unique(inner: Sequence[str], names: Sequence[str]) -> bool:
    known = [name for name in inner if name in names]
    return len(inner) == len(names) == len({*names}) and len(known) == len({*known})


def named_in(lines: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Which of the names each value has, by the lines that read it: the one in all of them that no other
    value has; "" where that is not one. The first value has the first name where no line tells another.
    """
    found: dict[str, str] = {}
    left = {value: _words(each, names) for value, each in lines.items()}
    while known := {value: next(iter(each)) for value, each in left.items() if len(each) == 1}:
        found |= {value: name for value, name in known.items() if [*known.values()].count(name) == 1}
        taken = {*known.values()}
        left = {value: each - taken for value, each in left.items() if value not in known}
    first = next(iter(lines), "")
    if first not in found and names and names[0] not in found.values():
        found[first] = names[0]
    return [found.get(value, "") for value in lines]


def _words(lines: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that stand in all of these lines as values."""
    words: list[set[str]] = []
    for line in lines:
        match = _ASSIGNED.match(line)
        code = line[match.end() :] if match else line
        words.append({name for name in names if re.search(rf"(?<![\w.]){name}\b(?!\s*=(?!=))", code)})
    return set.intersection(*words) if words else set()


def _readers(items: Iterable[Item]) -> dict[str, set[int]]:
    """Which of the items read each value, by their identities."""
    found: dict[str, set[int]] = {}
    for item in items:
        for value in reads(item):
            found.setdefault(value, set()).add(id(item))
    return found


def numbered(name: str) -> Iterator[str]:
    """The name, then the name with 2, 3, … after it."""
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def assigned(frames: tuple[Frame, ...]) -> str:
    """The one name that a line's value is assigned to, "" where there is none."""
    names = _assigned_to(frames)
    return names[0] if len(names) == 1 else ""


def unpacked(frames: tuple[Frame, ...], place: int) -> str:
    """The name that one of several values of a line is assigned to, "" where there is none."""
    names = _assigned_to(frames)
    return names[place] if place < len(names) > 1 else ""


def _assigned_to(frames: tuple[Frame, ...]) -> Sequence[str]:
    frame = _own(frames)
    match = _ASSIGNED.match(frame.code) if frame else None
    return [name.strip() for name in match["names"].split(",")] if match else ()


def _own(frames: Sequence[Frame]) -> Frame | None:
    """The innermost line outside PyTorch's own modules; where a function returns there what it made, the line
    that called the function.
    """
    own = _outside(frames)
    while len(own) > 1 and _RETURNED.match(own[-1].code) and _calls(own[-2], own[-1].function):
        own.pop()
    return own[-1] if own else None


def _outside(frames: Sequence[Frame]) -> list[Frame]:
    """The lines outside PyTorch's own modules."""
    return [frame for frame in frames if not any(part in frame.file for part in _INSIDE)]


def _calls(frame: Frame, function: str) -> bool:
    return re.search(rf"\b{re.escape(function)}\(", frame.code) is not None
