"""Names that nothing reads → warnings: a line of a network that was forgotten, or a name written wrongly.

In: the tree of a model, block or def.  Out: a warning for each assignment of which no name is read before it
is bound again::

    y = x -> conv2: Conv2d(8, 3)   # `y` is never used
    output z = x

Names that begin with `_` say that nothing shall. Of a tuple's names one that is read is enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from trtdsl.diagnostics import Diagnostic, Span
from trtdsl.elaborate.loops import names_of
from trtdsl.elaborate.scope import names_in
from trtdsl.ops.text import in_a_row
from trtdsl.syntax import tree


def unread_in(item: tree.Model | tree.Block | tree.Def, told: Collection[Span] = ()) -> Iterator[Diagnostic]:
    """A warning for each assignment that nothing reads, in order; none where something else was ``told``."""
    unread: list[tree.Assign] = []
    _before_all(item.body, set(), unread)
    anywhere = {*names_in(item.body)}
    for statement in reversed(unread):
        if any(_is_within(place, statement.span) for place in told):
            continue
        names = _named(statement)
        listed = in_a_row([name.text for name in names])
        if anywhere.isdisjoint(name.text for name in names):
            text = f"{listed} {'is' if len(names) == 1 else 'are'} never used"
        else:
            text = f"this value of {listed} is never used"
        yield Diagnostic(text, names[0].span, severity="warning")


def _is_within(place: Span, around: Span) -> bool:
    return place.source == around.source and around.start <= place.start < around.end


def _named(statement: tree.Assign) -> list[tree.Name]:
    """The names of an assignment that something is expected to read."""
    return [name for name in names_of(statement.targets) if not name.text.startswith("_")]


def _before_all(
    statements: Sequence[tree.Statement], behind: set[str], unread: list[tree.Assign]
) -> set[str]:
    """The names that are read from here on, before they are bound, where ``behind`` are those after the
    statements; assignments that nothing reads are added to ``unread``, the last first."""
    for statement in reversed(statements):
        behind = _before(statement, behind, unread)
    return behind


def _before(statement: tree.Statement, behind: set[str], unread: list[tree.Assign]) -> set[str]:
    match statement:
        case tree.Assign():
            names = {name.text for name in _named(statement)}
            if names and names.isdisjoint(behind):
                unread.append(statement)
            bound = {name.text for name in names_of(statement.targets)}
            return (behind - bound).union(names_in(statement.value))
        case tree.If():
            bodies = [_before_all(body, behind, unread) for body in (statement.otherwise, statement.body)]
            return set.union(*bodies, names_in(statement.condition))
        case tree.For():
            # What an iteration leaves behind, the next may read.
            inside = _before_all(statement.body, behind.union(names_in(statement.body)), unread)
            return behind.union(inside, names_in(statement.iterable))
        case tree.Scan():
            carried = {name.text for name, _ in statement.carried}
            inside = _before_all(statement.body, behind.union(carried, names_in(statement.body)), unread)
            given = (statement.sequences, statement.options, tuple(value for _, value in statement.carried))
            return behind.union(inside, names_in(given))
        case tree.Return():
            return {*names_in(statement)}
        case _:
            return behind.union(names_in(statement))
