"""The `scan` statement: its body becomes a graph of its own, and what follows from an iteration its results.

In: the statement and the scope around it.  Out: a node whose body takes the elements of the sequences, the
carried tensors and what the body reads from around it, and the names that the statement leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trtdsl.diagnostics import Diagnostic, Origin, Span, counted
from trtdsl.elaborate.arguments import construct, match_arguments
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.loops import names_of
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, mistake
from trtdsl.elaborate.naming import join
from trtdsl.elaborate.placing import Use, refused
from trtdsl.elaborate.scope import Iteration, Scope
from trtdsl.elaborate.values import Argument, OperatorRef, in_words
from trtdsl.ir import Builder, Graph, Value, Weight, rebuild
from trtdsl.ops.base import OPERATORS
from trtdsl.ops.refused import Refused
from trtdsl.syntax import tree
from trtdsl.types import TensorType

Run = Callable[[Sequence[tree.Statement], Scope], None]
"""Runs the statements of a body."""


class Scans:
    """Carries out the `scan` and `emit` statements of one model."""

    def __init__(self, expressions: Expressions, run: Run) -> None:
        self._expressions = expressions
        self._placer = expressions.placer
        self._run = run

    def emit(self, statement: tree.Emit, scope: Scope) -> Value:
        """Keep what an iteration emits."""
        name = statement.name
        if scope.iteration is None:
            word = statement.span.until(statement.span.start + len("emit"))
            help = "in a block or model, a name is bound by `name = …`"
            raise mistake("`emit` belongs to the body of a `scan`", word, "", help)
        first = scope.iteration.emitted.get(name.text)
        if first is not None:
            text = f"`{name.text}` is emitted twice by one iteration"
            raise Mistake(Diagnostic(text, name.span, "", (Origin(first[1], "first here"),)))
        # The name is the stack's, which is placed when the body is done.
        value = self._expressions.value(statement.value, scope)
        if not isinstance(value, Value):
            raise mistake(f"what is emitted must be a tensor, not {in_words(value)}", statement.value.span)
        scope.iteration.emitted[name.text] = (value, name.span)
        return value

    def scan(self, statement: tree.Scan, scope: Scope) -> Iterator[tuple[tree.Name, Value]]:
        """Place a scan; gives the names that it binds, each with its tensor."""
        _require_distinct(statement)
        sequences = [self._sequence(expr, scope) for expr in statement.sequences]
        carried = [self._initial(name, expr, scope) for name, expr in statement.carried]
        op, spans = self._operator(statement, scope)
        operands = [*(("sequences", x) for x in sequences), *(("carried", x) for x in carried)]
        head = statement.span.until(statement.span.start + len("scan"))
        spans |= {"sequences": statement.sequences[0].span, "body": head}
        try:
            wanted = op.body_inputs(sequences=[x.type for x in sequences], carried=[x.type for x in carried])
        except Refused as refusal:
            raise refused(refusal, operands, spans, head) from refusal
        body, emitted, captured = self._body(statement, sequences, wanted["body"], scope)
        operands += [("captured", value) for value in captured]
        names = [*emitted, *(name for name, _ in statement.carried)]
        hints = [name.text for name in names]
        use = Use(op, operands, head, scope.place, hints=hints, spans=spans, bodies=(body,))
        yield from zip(names, self._placer.apply(use), strict=True)

    def _sequence(self, expr: tree.Expr, scope: Scope) -> Value:
        value = self._expressions.value(expr, scope)
        if isinstance(value, Value):
            return value
        help = "a list is run over by `for`" if isinstance(value, (list, tuple)) else ""
        raise mistake(
            f"`scan` runs over the elements of a tensor, not {in_words(value)}", expr.span, "", help
        )

    def _initial(self, name: tree.Name, expr: tree.Expr, scope: Scope) -> Value:
        value = self._expressions.value(expr, scope)
        if isinstance(value, Value):
            return value
        number = isinstance(value, (int, float))
        help = f"give it its whole shape: `full((…), {expr.span.text})`" if number else ""
        raise mistake(f"`{name.text}` must begin as a tensor, not {in_words(value)}", expr.span, "", help)

    def _operator(self, statement: tree.Scan, scope: Scope) -> tuple[Any, dict[str, Span]]:
        callee = OperatorRef(OPERATORS["scan"], "scan")
        given = [
            Argument(self._expressions.value(option.value, scope), option.value.span, name.text, name.span)
            for option in statement.options
            if (name := option.name)
        ]
        bound = match_arguments("scan", (), given, statement.span, by_name=callee.op.parameters)
        return construct(callee, bound, statement.span)

    def _body(
        self, statement: tree.Scan, sequences: Sequence[Value], types: Sequence[TensorType], scope: Scope
    ) -> tuple[Graph, list[tree.Name], list[Value]]:
        """The body's graph, the names it emits, and what it captures."""
        names = [*statement.targets, *(name for name, _ in statement.carried)]
        inner = Scope(scope.globals, scope.place, dict(scope.names), Iteration())
        with self._placer.body() as builder:
            for name, type in zip(names, types, strict=True):
                inner.names[name.text] = builder.input(join(scope.place.path, name.text), type)
                self._expressions.note(name.span, inner.names[name.text])
            for element, sequence in zip(builder.inputs, sequences, strict=False):
                self._placer.derive(element, [sequence])
            known = len(self._placer.report)
            self._run(statement.body, inner)
            scope.inside |= inner.names.keys() - scope.names.keys()
            following = self._following(statement, builder.inputs[len(statement.targets) :], inner)
            emitted = inner.iteration.emitted if inner.iteration else {}
            if not emitted and not following and len(self._placer.report) > known:
                raise Poisoned
            _require_apart(statement, emitted)
            outputs = [*(value for value, _ in emitted.values()), *following]
            body = builder.graph("step", {f"out{index}": value for index, value in enumerate(outputs)})
            body, captured = _isolated(body, builder)
        return body, [tree.Name(span, text) for text, (_, span) in emitted.items()], captured

    def _following(self, statement: tree.Scan, before: Sequence[Value], inner: Scope) -> list[Value]:
        """The carried tensors of the next iteration."""
        found: list[Value] = []
        wrong = False
        for (name, initial), old in zip(statement.carried, before, strict=True):
            value = inner.names[name.text]
            if isinstance(value, Value) and value.type == old.type:
                found.append(value)
                continue
            wrong = True
            if value is not POISON:
                place = _last_binding(statement, name)
                error = _changed(name.text, old.type, initial.span, value, place)
                self._expressions.placer.report.add(error, inner.place.origins)
        if wrong:
            raise Poisoned
        return found


def _require_distinct(statement: tree.Scan) -> None:
    count, sequences = len(statement.targets), len(statement.sequences)
    if count != sequences:
        names, given = counted(count, "name"), counted(sequences, "sequence")
        place = statement.targets[0].span.until(statement.targets[-1].span.end)
        raise mistake(f"`scan` binds one name for each sequence, not {names} for {given}", place)
    seen: dict[str, Span] = {}
    for name in (*statement.targets, *(name for name, _ in statement.carried)):
        if name.text in seen:
            text = f"`{name.text}` is bound twice by this scan"
            raise Mistake(Diagnostic(text, name.span, "", (Origin(seen[name.text], "first here"),)))
        seen[name.text] = name.span


def _require_apart(statement: tree.Scan, emitted: dict[str, tuple[Value, Span]]) -> None:
    """Behind a scan a name is a stack or a last value."""
    for name, _ in statement.carried:
        if name.text in emitted:
            text = f"`{name.text}` is carried by this scan: after it, the name stands for the last value"
            help = ("give what is emitted a name of its own",)
            origins = (Origin(name.span, "carried here"),)
            raise Mistake(Diagnostic(text, emitted[name.text][1], "", origins, help))


def _changed(name: str, before: TensorType, initial: Span, after: Any, place: Span) -> Diagnostic:
    """A carried name is of another type after an iteration."""
    if not isinstance(after, Value):
        text = f"`{name}` is carried by this scan, so it must stay a tensor, not become {in_words(after)}"
        return Diagnostic(text, place, "", (Origin(initial, f"{before} here"),))
    text = (
        f"`{name}` begins as {before} and is {after.type} after one iteration: what is carried keeps its type"
    )
    help: tuple[str, ...] = ()
    if after.type.with_dtype(before.dtype) == before:
        help = (f"cast it: `to(…, {before.dtype})`",)
    elif before.rank <= after.type.rank and before.dtype is after.type.dtype:
        help = (f"begin with the shape that it has later: `expand({initial.text}, …)` or `full(…)`",)
    return Diagnostic(text, place, f"{after.type} here", (Origin(initial, f"{before} here"),), help)


def _last_binding(statement: tree.Scan, name: tree.Name) -> Span:
    """Where the body binds a name last, or else where the scan does."""
    spans = [span for text, span in _bindings(statement.body) if text == name.text]
    return spans[-1] if spans else name.span


def _bindings(statements: Sequence[tree.Statement]) -> Iterator[tuple[str, Span]]:
    for statement in statements:
        match statement:
            case tree.Assign() | tree.For():
                yield from ((name.text, name.span) for name in names_of(statement.targets))
            case tree.Scan():
                yield from ((name.text, name.span) for name, _ in statement.carried)
            case tree.Emit():
                yield statement.name.text, statement.name.span
            case _:
                pass
        match statement:
            case tree.If():
                yield from _bindings((*statement.body, *statement.otherwise))
            case tree.For():
                yield from _bindings(statement.body)
            case _:
                pass


def _isolated(body: Graph, builder: Builder) -> tuple[Graph, list[Value]]:
    """The body with an input for each value that it reads from around it, and those values."""
    own = {*body.inputs, *(result for node in body.nodes for result in node.results)}
    read = [*(x for node in body.nodes for x in node.operands), *(out.value for out in body.outputs)]
    captured = list(dict.fromkeys(x for x in read if x not in own and not isinstance(x, Weight)))
    inner: dict[Value, Value] = {value: builder.input(value.name, value.type) for value in captured}
    return rebuild(body.replace(inputs=tuple(builder.inputs)), body.nodes, inner), captured
