"""What `for` statements, list comprehensions and assignments share: items, targets, and a bound on the work.

In: a value and the targets.  Out: what every name is bound to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, Span, counted
from trtdsl.elaborate.mistakes import Report, mistake
from trtdsl.elaborate.values import in_words, is_tensor, types_in_words
from trtdsl.syntax import tree

MOST_STATEMENTS = 200_000
"""of a model, beside those that its body holds itself, and items of comprehensions: they multiply"""


@dataclass
class Budget:
    """Counts what loops, blocks and defs make of a model's text."""

    report: Report
    spent: int = 0

    def spend(self, place: Span) -> None:
        """One statement or item more; the last one allowed ends the model at this place."""
        self.spent += 1
        if self.spent > MOST_STATEMENTS:
            self.report.add_last(Diagnostic(f"the model takes more than {MOST_STATEMENTS} statements", place))


def items_of(value: Any, place: Span) -> Sequence[Any]:
    """What `for` runs over."""
    if isinstance(value, (list, tuple)):
        return value
    help = f"`unbind({place.text})` gives its parts along a dimension" if is_tensor(value) else ""
    text = f"`for` runs over a list, a tuple or a range, not {in_words(value)}"
    raise mistake(text, place, "", help)


def bindings(
    targets: Sequence[tree.Target], value: Any, place: Span, what: str
) -> Iterator[tuple[tree.Name, Any]]:
    """Each name among the targets with its part of a value; ``what`` is the value in words."""
    values = [value] if len(targets) == 1 else unpacked(value, len(targets), place, what)
    for target, part in zip(targets, values, strict=True):
        if isinstance(target, tree.Name):
            yield target, part
        elif len(target.targets) == 1:
            (inner,) = unpacked(part, 1, place, _part(what))
            yield from bindings(target.targets, inner, place, _part(what))
        else:
            yield from bindings(target.targets, part, place, _part(what))


def _part(what: str) -> str:
    return what if what.startswith("a part of") else f"a part of {what}"


def unpacked(value: Any, count: int, place: Span, what: str = "this") -> Sequence[Any]:
    """The parts of a value that ``count`` names are bound to."""
    names = f"{count} names are" if count > 1 else "one name in parentheses is"
    if not isinstance(value, (list, tuple)):
        fits = is_tensor(value) and value.type.shape[:1] == (count,)
        help = "`unbind` gives a tensor's parts along its first dimension: `… -> unbind`" if fits else ""
        raise mistake(f"{names} bound, but {what} is {in_words(value)}", place, "", help)
    if len(value) != count:
        held = counted(len(value), "value")
        found = "there are" if what == "this" and len(value) != 1 else f"{what} is"
        raise mistake(f"{names} bound, but {found} {held}", place, types_in_words(value))
    return value


def names_of(targets: Sequence[tree.Target]) -> Iterator[tree.Name]:
    """The names that targets bind."""
    for target in targets:
        if isinstance(target, tree.Name):
            yield target
        else:
            yield from names_of(target.targets)
