"""One module at each label.

In: statements of which some place several modules at one label, as ``F.linear(x, self.words.weight)`` beside
``self.words(ids)`` does.  Out: the same, where the module that runs there, else the first, keeps the label,
and what computes otherwise with its weights is given them as tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trtdsl.importers.modules import module_of
from trtdsl.importers.program import Operation, Program
from trtdsl.importers.sketch import Apply, Expression, Statement


def with_own_labels(statements: Sequence[Statement], program: Program) -> list[Statement]:
    """The statements; uses of one label agree in their configuration."""
    kept = _kept(statements)
    made: dict[tuple[str | None, ...], Operation] = {each.results: each for each in program.operations}
    found: list[Statement] = []
    for statement in statements:
        expression, avoided = statement.expression, set[str]()
        while (label := _label(expression)) and not _agree(expression, kept.get(label, expression)):
            avoided.add(label)
            expression = module_of(made[statement.results], program, avoided)
        found.append(msgspec.structs.replace(statement, expression=expression) if avoided else statement)
    return found


def _kept(statements: Sequence[Statement]) -> dict[str, Expression]:
    """The module at each label."""
    first: dict[str, Expression] = {}
    running: dict[str, Expression] = {}
    for statement in statements:
        if label := _label(statement.expression):
            first.setdefault(label, statement.expression)
            if statement.calls and statement.calls[-1].path == label:
                running.setdefault(label, statement.expression)
    return first | running


def _label(expression: Expression) -> str:
    match expression:
        case Apply(is_module=True, label=str(label)):
            return label
        case _:
            return ""


def _agree(one: Expression, other: Expression) -> bool:
    """Whether two modules may be at one label."""
    assert isinstance(one, Apply) and isinstance(other, Apply)
    return (one.function, one.arguments) == (other.function, other.arguments)
