"""Statements: names are bound, loops unrolled, choices made, one after the other.

A mistake ends only its own statement: it is reported, the names the statement would have bound are
poisoned so that nothing further is said about them, and elaboration goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Span
from trtdsl.elaborate.blocks import Blocks, Returned
from trtdsl.elaborate.calls import Caller
from trtdsl.elaborate.declarations import Declarations
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.loops import Budget, bindings, items_of, names_of
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, Report, mistake
from trtdsl.elaborate.placing import Placer
from trtdsl.elaborate.recorder import Recorder, RecordingExpressions
from trtdsl.elaborate.scans import Scans
from trtdsl.elaborate.scope import Scope
from trtdsl.syntax import tree


class Elaboration:
    """Runs one model's statements."""

    def __init__(self, model: tree.Model, recorder: Recorder | None = None) -> None:
        self.model = model
        self.report = Report()
        self.placer = Placer(self.report)
        self.budget = Budget(self.report)
        blocks = self.blocks = Blocks(self._run_block)
        caller = Caller(self.placer, blocks.enter, blocks.call)
        self.expressions = (
            RecordingExpressions(caller, self.budget, recorder)
            if recorder
            else Expressions(caller, self.budget)
        )
        self.recorder = recorder
        blocks.expressions = self.expressions
        self.declarations = Declarations(model, self.expressions, self.report)
        self.scans = Scans(self.expressions, lambda body, scope: self.run(body, scope, model=False))
        self.sections: list[tuple[tree.Weights, Scope]] = []
        """the `weights` sections, which are about the finished graph, and what is known where they stand"""

    def run(self, statements: Sequence[tree.Statement], scope: Scope, model: bool) -> None:
        """Run statements in order; raises :class:`Returned` at the `return` of a block or def."""
        written = statements is self.model.body
        for statement in statements:
            if not written:
                self.budget.spend(_head(statement))
            if scope.refuted and not isinstance(statement, tree.Assert):
                _poison(statement, scope, model)
                continue
            try:
                self._statement(statement, scope, model)
            except Mistake as error:
                around = scope.place.origins if error.around is None else error.around
                self.report.add(error.diagnostic, around)
                _poison(statement, scope, model)
            except Poisoned:
                _poison(statement, scope, model)

    def _run_block(self, block: tree.Block | tree.Def, scope: Scope) -> None:
        self.run(block.body, scope, model=False)

    def _statement(self, statement: tree.Statement, scope: Scope, model: bool) -> None:
        match statement:
            case tree.Assign():
                self._assign(statement, scope, model)
            case tree.For():
                self._for(statement, scope, model)
            case tree.If():
                taken = self.expressions.condition(statement.condition, scope)
                self.run(statement.body if taken else statement.otherwise, scope, model)
            case tree.Assert():
                self._assert(statement, scope)
            case tree.Return():
                self._return(statement, scope, model)
            case tree.Dim() | tree.Profile() | tree.Input() | tree.Output():
                self._require_model(type(statement).__name__.lower(), statement, scope, model)
                self.declarations.declare(statement, scope)
                self._note_declared(statement, scope)
            case tree.Scan():
                for bound in self.scans.scan(statement, scope):
                    self._bind([bound], scope, model)
            case tree.Emit():
                self._bind([(statement.name, self.scans.emit(statement, scope))], scope, model)
            case tree.Weights():
                self._require_model("weights", statement, scope, model)
                self.sections.append((statement, replace(scope, names=dict(scope.names))))

    def _require_model(self, word: str, statement: tree.Statement, scope: Scope, model: bool) -> None:
        if not model:
            around = "scan" if scope.iteration else type(scope.place.blocks[0]).__name__.lower()
            raise mistake(f"`{word}` belongs to a model, not to a {around}", _head(statement))

    def _note_declared(
        self, statement: tree.Dim | tree.Profile | tree.Input | tree.Output, scope: Scope
    ) -> None:
        if self.recorder is None or isinstance(statement, tree.Profile):
            return
        for name in statement.names if isinstance(statement, tree.Output) else (statement.name,):
            if name.text in scope.names:
                self.recorder.note(name.span, scope.names[name.text])

    def _assign(self, statement: tree.Assign, scope: Scope, model: bool) -> None:
        names = [name.text for name in names_of(statement.targets)]
        value = self.expressions.value(statement.value, scope, names)
        if len(names) > len(statement.targets):
            value = self.expressions.placer.nested(value)
        self._bind(bindings(statement.targets, value, statement.value.span, "this"), scope, model)

    def _bind(self, bound: Iterable[tuple[tree.Name, Any]], scope: Scope, model: bool) -> None:
        for target, value in bound:
            if model:
                self.declarations.warn_of_rebinding(target, value, scope)
            scope.names[target.text] = value
            if self.recorder is not None:
                self.recorder.note(target.span, value)

    def _for(self, statement: tree.For, scope: Scope, model: bool) -> None:
        place = statement.iterable.span
        items = items_of(self.expressions.value(statement.iterable, scope), place)
        for index, item in enumerate(items):
            self._bind(bindings(statement.targets, item, place, f"item {index}"), scope, model)
            self.run(statement.body, scope, model)

    def _assert(self, statement: tree.Assert, scope: Scope) -> None:
        if self.expressions.condition(statement.condition, scope):
            return
        message = self.expressions.string(statement.message, scope) if statement.message else ""
        place = statement.condition.span
        scope.refuted = True
        raise mistake(message or f"assertion failed: `{place.text}`", place)

    def _return(self, statement: tree.Return, scope: Scope, model: bool) -> None:
        if scope.iteration:
            help = "`emit name = …` stacks a tensor, and a carried name holds its last value after the scan"
            raise mistake("`return` ends a block, not an iteration", _head(statement), "", help)
        if model:
            raise mistake(
                "`return` ends a block or def; a model declares `output name = …`", _head(statement)
            )
        values = [self.expressions.value(value, scope) for value in statement.values]
        raise Returned(values[0] if len(values) == 1 else tuple(values))


def _poison(statement: tree.Statement, scope: Scope, model: bool) -> None:
    """Make all that a failed statement would have done unusable."""
    if isinstance(statement, tree.Return) and not model and not scope.iteration:
        raise Returned(POISON)
    if (
        isinstance(statement, tree.Emit)
        and scope.iteration
        and statement.name.text in scope.iteration.emitted
    ):
        return
    for name in left_names(statement):
        scope.names[name] = POISON


def left_names(statement: tree.Statement) -> Iterator[str]:
    """The names that a statement would have left behind: of a scan those that it carries and emits."""
    if not isinstance(statement, tree.Scan):
        yield from bound_names(statement)
        return
    yield from (name.text for name, _ in statement.carried)
    yield from _emitted(statement.body)


def _emitted(statements: Sequence[tree.Statement]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, tree.Emit):
            yield statement.name.text
        elif not isinstance(statement, tree.Scan):
            yield from _emitted(_bodies(statement))


def bound_names(statement: tree.Statement) -> Iterator[str]:
    """The names a statement would have bound, those of its body included."""
    match statement:
        case tree.Assign() | tree.For():
            yield from (name.text for name in names_of(statement.targets))
        case tree.Scan():
            yield from (target.text for target in statement.targets)
            yield from (name.text for name, _ in statement.carried)
        case tree.Input() | tree.Dim() | tree.Emit():
            yield statement.name.text
        case tree.Output():
            yield from (name.text for name in statement.names)
        case _:
            pass
    for inner in _bodies(statement):
        yield from bound_names(inner)


def _bodies(statement: tree.Statement) -> Sequence[tree.Statement]:
    match statement:
        case tree.If():
            return (*statement.body, *statement.otherwise)
        case tree.For() | tree.Scan():
            return statement.body
        case _:
            return ()


def _head(statement: tree.Statement) -> Span:
    """The statement's keyword alone."""
    word = type(statement).__name__
    return statement.span.until(statement.span.start + len(word))
