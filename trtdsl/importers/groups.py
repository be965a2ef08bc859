"""Bodies of calls that one block can say.

In: the bodies of one height of the tree of calls.  Out: those of one class that differ in numbers only, or
leave out parts of the longest, together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trtdsl.importers.sketch import Item
from trtdsl.importers.tree import Scope
from trtdsl.importers.variants import ANYTHING, Alignment, Option, Part, align, options

MOST_VARYING = 4
"""Ways in which the uses of a block with options may differ beside them."""


@dataclass(eq=False)
class Body:
    """A call's items, with labels below the call's path, what it reads of the outside, and what it leaves."""

    scope: Scope
    items: list[Item]
    tensors: list[str]
    results: list[str]

    @cached_property
    def part(self) -> Part:
        """As the alignment sees it."""
        return Part(self.items, self.tensors, self.results)


@dataclass
class Group:
    """Bodies that one block says: the longest first, what each of them has of it, and the options."""

    bodies: list[Body]
    alignments: list[Alignment]
    options: list[Option]


def groups(bodies: Sequence[Body]) -> list[Group]:
    """The bodies of one class together that one block can say, in the order in which they first appear."""
    kinds: dict[str, list[Body]] = {}
    for body in bodies:
        assert body.scope.call
        kinds.setdefault(body.scope.call.kind, []).append(body)
    return [group for each in kinds.values() for group in _groups_of_kind(each)]


def _groups_of_kind(bodies: Sequence[Body]) -> list[Group]:
    """Longest first; whatever the longest that is left cannot say begins a group of its own."""
    found: list[Group] = []
    left = list(bodies)
    while left:
        longest = max(left, key=lambda each: (len(each.items), len(each.results)))
        group = _grouped(longest, left)
        found.append(group)
        taken = {id(each) for each in group.bodies}
        left = [each for each in left if id(each) not in taken]
    order = {id(body): number for number, body in enumerate(bodies)}
    return sorted(found, key=lambda group: min(order[id(body)] for body in group.bodies))


def _grouped(longest: Body, bodies: Sequence[Body]) -> Group:
    part = longest.part
    own = align(part, part)
    assert own
    group = Group([longest], [own], [])
    # A body that agrees with the longest as one of the group does changes nothing in what they have.
    known = {own.pattern}
    for body in bodies:
        if body is longest:
            continue
        found = align(part, body.part)
        if found and (found.pattern in known or _may_join(part, [*group.alignments, found])):
            known.add(found.pattern)
            group.bodies.append(body)
            group.alignments.append(found)
    # Options so far are of fewer uses than there are now.
    final = options(part, group.alignments)
    assert final is not None
    return Group(group.bodies, group.alignments, final)


def _may_join(longest: Part, alignments: Sequence[Alignment]) -> bool:
    """Whether one block can say all these, and is easy to read."""
    together = options(longest, alignments)
    return together is not None and _is_plain(alignments, bool(together))


def _is_plain(alignments: Sequence[Alignment], has_options: bool) -> bool:
    """Whether one block with options is easier to read than two: its uses differ in few ways beside them.

    Ways in which uses with the same options differ do not count.
    """
    if not has_options:
        return True
    rows = [each.row for each in alignments]
    patterns: dict[tuple[bool, ...], list[int]] = {}
    for number, each in enumerate(alignments):
        patterns.setdefault(tuple(each.kept), []).append(number)
    varying: set[tuple[str, ...]] = set()
    for column in zip(*rows, strict=True):
        known = set(column) - {repr(ANYTHING)}
        if len(known) < 2:
            continue
        alike = all(len({column[number] for number in numbers}) == 1 for numbers in patterns.values())
        if alike:
            varying.add(column)
    return len(varying) <= MOST_VARYING
