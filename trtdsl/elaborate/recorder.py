"""What every piece of a text stands for, for those who ask: an editor shows it where the mouse is.

In: a :class:`Recorder`, given to :func:`trtdsl.elaborate.elaborate`.  Out: the same, with the value of each
expression and of each name that was bound, by its place; also where elaboration ended in mistakes. What is
elaborated several times, in loops and blocks, has the value of the last time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtdsl.diagnostics import Span
from trtdsl.elaborate.calls import Caller
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.loops import Budget
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.values import Argument, in_words
from trtdsl.syntax import tree


class Recorder:
    """Values by place."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int, int], Any] = {}
        """by the text's name and the first and last offset"""

    def note(self, span: Span, value: Any) -> None:
        """Keep a value."""
        self.values[span.source.name, span.start, span.end] = value

    def at(self, name: str, offset: int) -> tuple[int, int, Any] | None:
        """The smallest piece of a text that an offset is in, and its value."""
        around = [
            (start, end, value)
            for (source, start, end), value in self.values.items()
            if source == name and start <= offset < end
        ]
        return min(around, key=lambda found: found[1] - found[0], default=None)

    def describe(self, name: str, offset: int) -> str | None:
        """In words what stands at an offset, with the type of a tensor."""
        found = self.at(name, offset)
        return None if found is None else in_words(found[2])


class RecordingExpressions(Expressions):
    """Evaluates expressions, and notes what comes of them."""

    def __init__(self, caller: Caller, budget: Budget, recorder: Recorder) -> None:
        super().__init__(caller, budget)
        self.recorder = recorder

    def note(self, span: Span, value: Any) -> None:
        self.recorder.note(span, value)

    def value(self, expr: tree.Expr, scope: Scope, hints: Sequence[str] = ()) -> Any:
        value = super().value(expr, scope, hints)
        self.recorder.note(expr.span, value)
        return value

    def callee(self, expr: tree.Expr, scope: Scope) -> Any:
        value = super().callee(expr, scope)
        self.recorder.note(expr.span, value)
        return value

    def stage(
        self,
        piped: Argument,
        stage: tree.Path | tree.Call | tree.Labelled,
        scope: Scope,
        hints: Sequence[str],
        head: str,
    ) -> Any:
        value = super().stage(piped, stage, scope, hints, head)
        self.recorder.note(stage.span, value)
        return value
