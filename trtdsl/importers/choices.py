"""Options that are short as expressions.

In: a block's items.  Out: those, with a statement in the place of each branch that says what one value is::

    if stride == 1 {                           result = result + x if stride == 1 else result
      result = result + x          ─▶
    }
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from trtdsl.importers.expressions import Expressions
from trtdsl.importers.sketch import Branch, Choice, Expression, Item, Statement, Use, labels, reads, uses

WIDEST = 90
"""Characters of a choice; a longer one is easier to read in lines of its own."""


class _AnyName(dict[str, str]):
    """Names of about the length that those of values have."""

    def __missing__(self, value: str) -> str:
        return "x"


def with_choices(
    items: Sequence[Item], returns: Sequence[str], hints: Mapping[str, str]
) -> tuple[list[Item], dict[str, Expression]]:
    """The items, and what is written inside a choice in the place of a value."""
    found: list[Item] = []
    absorbed: dict[str, Expression] = {}
    for number, item in enumerate(items):
        chosen = None
        if isinstance(item, Branch):
            behind = {value for each in items[number + 1 :] for value in reads(each)} | {*returns}
            chosen = _choice(item, behind, hints)
        if isinstance(item, Branch) and chosen:
            found.append(chosen)
            absorbed |= _made(item.items)
        else:
            found.append(item)
    return found, absorbed


def _choice(branch: Branch, behind: Container[str], hints: Mapping[str, str]) -> Statement | None:
    """The statement that says what a branch does, where it is short; ``behind`` are the values that are
    read after it.
    """
    if len(branch.merges) != 1 or not _is_one_expression(branch.items):
        return None
    ((result, inner, before),) = branch.merges
    if before not in behind and any(True for item in branch.items for _ in labels(item)):
        # A layer that is left out is told by a line; but no line is needed for what stands for it.
        return None
    last = branch.items[-1]
    assert isinstance(last, Statement)
    if last.results != (inner,):
        return None
    choice = Choice(branch.condition, Use(inner), Use(before))
    texts = Expressions(_AnyName(hints), _made(branch.items))
    if len(texts.text(choice, 0)) > WIDEST:
        return None
    return Statement((result,), choice, last.calls, last.frames)


def _is_one_expression(items: Iterable[Item]) -> bool:
    """Whether each statement makes one value, which only the next one reads, and once."""
    before = ""
    for item in items:
        if not isinstance(item, Statement) or len(item.results) != 1 or item.results[0] is None:
            return False
        if before and Counter(uses(item.expression))[before] != 1:
            return False
        before = item.results[0]
    return True


def _made(items: Iterable[Item]) -> dict[str, Expression]:
    """What the statements of one expression make, by value."""
    return {
        result: item.expression
        for item in items
        if isinstance(item, Statement)
        for result in item.results
        if result
    }
