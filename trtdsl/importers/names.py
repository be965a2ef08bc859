"""What the source calls a value.

In: statements with the lines that they came from.  Out: the name that the last one on a line is assigned to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trtdsl.importers.program import Frame
from trtdsl.importers.sketch import Apply, Block, Branch, Item, Loop, Statement, reads

_ASSIGNED = re.compile(r"^(?P<names>[A-Za-z_]\w*(\s*,\s*[A-Za-z_]\w*)*)(\s*:\s*[\w.\[\], |]+)?\s*=(?!=)\s*")
_INSIDE = ("/torch/nn/modules/", "/torch/nn/functional.py", "/torch/_", "/torch/functional.py")


def hints_of(items: Sequence[Item], blocks: Sequence[Block] = ()) -> dict[str, str]:
    """The name of each value that the source assigns to one; ``blocks`` are those that the items use."""
    returned = {block.name: [block.hints.get(value, "") for value in block.returns] for block in blocks}
    return _hints(items, returned)


def _hints(items: Sequence[Item], returned: Mapping[str, Sequence[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    lines: dict[tuple[str, int], list[tuple[Statement, Frame]]] = {}
    for item in items:
        frame = _own(item.frames) if isinstance(item, Statement) else None
        if frame and isinstance(item, Statement):
            lines.setdefault((frame.file, frame.line), []).append((item, frame))
    readers = _readers(items)
    for statements in lines.values():
        statement, frame = statements[-1]
        inside = {id(each) for each, _ in statements}
        left = [
            value
            for each, _ in statements
            for value in each.results
            if value and not inside.issuperset(readers.get(value, ()))
        ]
        match = _ASSIGNED.match(frame.code)
        if not match:
            continue
        names = [name.strip() for name in match["names"].split(",")]
        results = [each for each in statement.results if each]
        if len(names) == len(statement.results):
            names = _as_returned(names, statement, returned)
            found |= {
                value: name
                for value, name in zip(statement.results, names, strict=True)
                if value and name != "_"
            }
        elif len(names) == 1 and len(results) == 1 and len(left) <= 1:
            found[results[0]] = names[0]
        elif len(names) <= len(statements):
            # ``q, k, v = qkv[0], qkv[1], qkv[2]``
            last = [each.results for each, _ in statements[-len(names) :]]
            if all(len(each) == 1 for each in last):
                found |= {
                    value: name for (value,), name in zip(last, names, strict=True) if value and name != "_"
                }
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


def _readers(items: Iterable[Item]) -> dict[str, set[int]]:
    """Which of the items read each value, by their identities."""
    found: dict[str, set[int]] = {}
    for item in items:
        for value in reads(item):
            found.setdefault(value, set()).add(id(item))
    return found


def numbered(name: str) -> Iterator[str]:
    """The name, then the name with 2, 3, … behind it."""
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def assigned(frames: tuple[Frame, ...]) -> str:
    """The one name that a line's value is assigned to, "" where there is none."""
    frame = _own(frames)
    match = _ASSIGNED.match(frame.code) if frame else None
    return match["names"] if match and "," not in match["names"] else ""


def _own(frames: tuple[Frame, ...]) -> Frame | None:
    """The innermost line outside PyTorch's own modules."""
    for frame in reversed(frames):
        if not any(part in frame.file for part in _INSIDE):
            return frame
    return None
