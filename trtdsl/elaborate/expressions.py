"""Expressions: what each form of the syntax tree stands for in a scope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Origin, Span
from trtdsl.elaborate.arguments import as_string
from trtdsl.elaborate.arithmetic import TENSOR_OPERATORS, binary, contains, negated
from trtdsl.elaborate.builtins import Unsuitable, bounded, prelude
from trtdsl.elaborate.calls import Call, Caller
from trtdsl.elaborate.indexing import bound, index_tensor, item_of
from trtdsl.elaborate.loops import Budget, bindings, items_of
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.scope import Scope, attribute, placed_note
from trtdsl.elaborate.values import (
    Argument,
    BlockRef,
    Configured,
    DefRef,
    OperatorRef,
    in_words,
    instead_of,
    is_tensor,
)
from trtdsl.ops.base import Op
from trtdsl.syntax import tree
from trtdsl.types import DType, SymbolicDim


class Expressions:
    """Evaluates expressions; tensor operators among them become graph nodes."""

    def __init__(self, caller: Caller, budget: Budget) -> None:
        self.caller = caller
        self.budget = budget
        self.placer = caller.placer

    def value(self, expr: tree.Expr, scope: Scope, hints: Sequence[str] = ()) -> Any:
        """What the expression stands for. ``hints`` are names wished for resulting tensors."""
        match expr:
            case tree.Path():
                return scope.path(expr)
            case tree.Pipe():
                return self._pipe(expr, scope, hints)
            case tree.Call():
                return self._call(expr, scope, hints)
            case tree.Labelled():
                return self._labelled(expr, scope, hints)
            case tree.Integer() | tree.Float() | tree.Boolean():
                return expr.value
            case tree.NoneLiteral():
                return None
            case tree.String():
                return self.string(expr, scope)
            case tree.ListLiteral():
                return _calculated(bounded, expr.span, [self.value(item, scope) for item in expr.items])
            case tree.Comprehension():
                inner = replace(scope, names=dict(scope.names))
                return _calculated(bounded, expr.span, [*self._comprehended(expr, expr.loops, inner)])
            case tree.TupleLiteral():
                return _calculated(bounded, expr.span, tuple(self.value(e, scope) for e in expr.items))
            case tree.Parenthesised():
                return self.value(expr.inner, scope, hints)
            case tree.Unary():
                return self._unary(expr, scope, hints)
            case tree.Binary():
                return self._binary(expr, scope, hints)
            case tree.Conditional():
                taken = expr.then if self.condition(expr.condition, scope) else expr.otherwise
                return self.value(taken, scope, hints)
            case tree.Attribute():
                return attribute(self.operand(expr.value, scope), expr.name, expr.value.span)
            case tree.Index():
                return self._index(expr, scope, hints)
            case tree.Ellipsis():
                raise mistake("`...` stands only inside an index: `x[..., 0]`", expr.span)

    def note(self, span: Span, value: Any) -> None:
        """What a name that is bound here stands for, for those who keep it."""

    def operand(self, expr: tree.Expr, scope: Scope) -> Any:
        """What something is done to: arithmetic, indexing, a pipe."""
        return self.value(expr, scope)

    def condition(self, expr: tree.Expr, scope: Scope) -> bool:
        """A compile-time truth value."""
        return _truth(self.value(expr, scope), expr.span)

    def string(self, expr: tree.String, scope: Scope) -> str:
        """The string with every ``{expr}`` evaluated."""
        parts = (part if isinstance(part, str) else self._interpolated(part, scope) for part in expr.parts)
        return _calculated(bounded, expr.span, "".join(parts))

    def _interpolated(self, expr: tree.Expr, scope: Scope) -> str:
        return _text(self.value(expr, scope), expr.span)

    # Comprehensions

    def _comprehended(
        self, expr: tree.Comprehension, loops: Sequence[tree.Comprehended], scope: Scope
    ) -> Iterator[Any]:
        """The items that the loops from here inwards make."""
        if not loops:
            self.budget.spend(expr.element.span)
            yield self.value(expr.element, scope)
            return
        loop, *inner = loops
        place = loop.iterable.span
        for index, item in enumerate(items_of(self.value(loop.iterable, scope), place)):
            self.budget.spend(place)
            for name, value in bindings(loop.targets, item, place, f"item {index}"):
                scope.names[name.text] = value
                self.note(name.span, value)
            if all(self.condition(condition, scope) for condition in loop.conditions):
                yield from self._comprehended(expr, inner, scope)

    # Operators

    def _unary(self, expr: tree.Unary, scope: Scope, hints: Sequence[str]) -> Any:
        value = self.operand(expr.operand, scope)
        if is_tensor(value):
            name = TENSOR_OPERATORS["not" if expr.operator == "not" else "unary -"]
            return self._operator(name, [Argument(value, expr.operand.span)], expr.span, scope, hints)
        if expr.operator == "not":
            return not _truth(value, expr.operand.span)
        return _calculated(negated, expr.span, value)

    def _binary(self, expr: tree.Binary, scope: Scope, hints: Sequence[str]) -> Any:
        left = self.operand(expr.left, scope)
        if expr.operator in ("and", "or") and not is_tensor(left):
            first = _truth(left, expr.left.span)
            return first if first is (expr.operator == "or") else self.condition(expr.right, scope)
        right = self.operand(expr.right, scope)
        if expr.operator in ("in", "not in"):
            return _calculated(contains, expr.operator_span, expr.operator, left, right)
        if is_tensor(left) or is_tensor(right):
            return self._tensor_binary(expr, left, right, scope, hints)
        return _calculated(binary, expr.operator_span, expr.operator, left, right)

    def _tensor_binary(
        self, expr: tree.Binary, left: Any, right: Any, scope: Scope, hints: Sequence[str]
    ) -> Any:
        if expr.operator in ("==", "!=") and (left is None or right is None):
            return expr.operator == "!="
        for value, place in ((left, expr.left.span), (right, expr.right.span)):
            if is_tensor(value) or isinstance(value, (int, float, SymbolicDim)):
                continue
            text = f"`{expr.operator}` does not take {in_words(left)} and {in_words(right)}"
            raise mistake(text, expr.operator_span, "", instead_of(value, place))
        arguments = [Argument(left, expr.left.span), Argument(right, expr.right.span)]
        name = TENSOR_OPERATORS[expr.operator]
        return self._operator(name, arguments, expr.operator_span, scope, hints)

    def _operator(
        self, name: str, arguments: Sequence[Argument], span: Span, scope: Scope, hints: Sequence[str]
    ) -> Any:
        """An operator applied by its symbol; its function is looked up past the scope."""
        operator = prelude()[name]
        callee = operator if isinstance(operator, OperatorRef) else operator.operator
        return self.caller.call(callee, arguments, Call(span, scope.place, hints=hints))

    # Pipes and calls

    def _pipe(self, pipe: tree.Pipe, scope: Scope, hints: Sequence[str]) -> Any:
        value = Argument(self.operand(pipe.head, scope), pipe.head.span)
        head = pipe.head.span.text if isinstance(pipe.head, tree.Path) else ""
        for stage in pipe.stages:
            wishes = hints if stage is pipe.stages[-1] else ()
            value = Argument(self.stage(value, stage, scope, wishes, head), stage.span)
            head = ""
        return value.value

    def stage(
        self,
        piped: Argument,
        stage: tree.Path | tree.Call | tree.Labelled,
        scope: Scope,
        hints: Sequence[str],
        head: str,
    ) -> Any:
        """What is piped, after one stage."""
        label, inner = (stage.label, stage.value) if isinstance(stage, tree.Labelled) else (None, stage)
        callee_expr = inner.callee if isinstance(inner, tree.Call) else inner
        callee = self.callee(callee_expr, scope)
        arguments = self._arguments(inner.arguments, scope, callee) if isinstance(inner, tree.Call) else None
        call = self._placing(callee, stage, callee_expr, scope, hints, label, head)
        return self.caller.pipe(callee, piped, arguments, call)

    def _labelled(self, expr: tree.Labelled, scope: Scope, hints: Sequence[str]) -> Any:
        inner = expr.value
        callee_expr = inner.callee if isinstance(inner, tree.Call) else inner
        callee = self.callee(callee_expr, scope)
        arguments = self._arguments(inner.arguments, scope, callee) if isinstance(inner, tree.Call) else ()
        call = self._placing(callee, expr, callee_expr, scope, hints, expr.label, "")
        is_named = isinstance(callee, Configured) and not isinstance(inner, tree.Call)
        result = callee if is_named else self.caller.call(callee, arguments, call)
        if not isinstance(result, Configured):
            return result
        if result.label is not None:
            raise mistake(f"`{result.callee.name}` has the label `{result.label or '_'}` already", call.span)
        result = replace(result, label=call.label, home=scope.place, span=call.span)
        self.caller.waiting[id(result)] = result
        return result

    def _call(self, expr: tree.Call, scope: Scope, hints: Sequence[str]) -> Any:
        callee = self.callee(expr.callee, scope)
        arguments = self._arguments(expr.arguments, scope, callee)
        call = self._placing(callee, expr, expr.callee, scope, hints, None, "")
        return self.caller.call(callee, arguments, call)

    def callee(self, expr: tree.Expr, scope: Scope) -> Any:
        """What stands before a list of arguments or after `->`."""
        if isinstance(expr, tree.Path) and len(expr.parts) == 1:
            return scope.find_callee(expr.parts[0])
        return self.value(expr, scope)

    def _placing(
        self,
        callee: Any,
        expr: tree.Path | tree.Call | tree.Labelled,
        callee_expr: tree.Expr,
        scope: Scope,
        hints: Sequence[str],
        label: tree.Label | None,
        head: str,
    ) -> Call:
        """The place of a callee: its span runs from the label to the end of its name."""
        span = Span(expr.span.source, expr.span.start, callee_expr.span.end)
        path = None if label is None else self.label(label, scope)
        place = scope.place
        block = callee.callee if isinstance(callee, Configured) else callee
        if isinstance(block, (BlockRef, DefRef)):
            done = "placed" if isinstance(block, BlockRef) else "called"
            origin = Origin(span, placed_note(expr, scope, done))
            place = replace(place, origins=(origin, *place.origins))
        return Call(span, place, path, hints, head)

    def label(self, label: tree.Label, scope: Scope) -> str:
        """The path a label adds; "" for ``_``."""
        if isinstance(label.path, tree.Path):
            text = ".".join(part.text for part in label.path.parts)
        else:
            text = self.string(label.path, scope)
        if text == "_":
            return ""
        if not text or any(not part.strip() for part in text.split(".")):
            raise mistake(
                f'`"{text}"` is not a label: its parts, between dots, must not be empty', label.span
            )
        if hidden := next((char for char in text if not char.isprintable()), ""):
            raise mistake(f"a label must be printable, but this one has {hidden!a}", label.span)
        return text

    def _arguments(
        self, arguments: Sequence[tree.Argument], scope: Scope, callee: Any = None
    ) -> list[Argument]:
        """The arguments of a callee, evaluated."""
        op = callee.op if isinstance(callee, OperatorRef) else None
        return [
            Argument(self._argument(a, scope, op), a.value.span, a.name.text, a.name.span)
            if a.name
            else Argument(self._argument(a, scope, op), a.value.span)
            for a in arguments
        ]

    def _argument(self, argument: tree.Argument, scope: Scope, op: type[Op] | None) -> Any:
        """An argument; an operator that runs modules and blocks itself is given them with their labels."""
        expr = argument.value
        if op is None:
            return self.value(expr, scope)
        if not op.bodies or not isinstance(expr, tree.Labelled):
            try:
                return self.value(expr, scope)
            except Mistake as error:
                raise as_string(error, argument, op) from error
        inner = expr.value
        callee_expr = inner.callee if isinstance(inner, tree.Call) else inner
        callee = self.callee(callee_expr, scope)
        if isinstance(callee, Configured):
            return replace(callee, label=self.label(expr.label, scope))
        if not isinstance(callee, BlockRef) and not (isinstance(callee, OperatorRef) and callee.is_module):
            return self.value(expr, scope)
        arguments = self._arguments(inner.arguments, scope) if isinstance(inner, tree.Call) else ()
        return Configured(callee, tuple(arguments), expr.span, self.label(expr.label, scope))

    # Indexing

    def _index(self, expr: tree.Index, scope: Scope, hints: Sequence[str]) -> Any:
        value = self.operand(expr.value, scope)
        subscripts = [self._subscript(subscript, scope) for subscript in expr.subscripts]
        if is_tensor(value):
            return index_tensor(self.placer, value, subscripts, expr, scope.place, hints)
        return item_of(value, subscripts, expr)

    def _subscript(self, subscript: tree.Expr | tree.Slice, scope: Scope) -> Any:
        if isinstance(subscript, tree.Ellipsis):
            return ...
        if not isinstance(subscript, tree.Slice):
            return self.value(subscript, scope)
        bounds = (subscript.start, subscript.stop, subscript.step)
        return slice(*(None if e is None else bound(self.value(e, scope), e.span) for e in bounds))


def _text(value: Any, span: Span) -> str:
    """A compile-time value inside a string."""
    if isinstance(value, bool) or value is None:
        return in_words(value)
    if isinstance(value, (int, float, str, SymbolicDim, DType)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item, span) for item in value)}]"
    raise mistake(f"only a compile-time value fits into a string, not {in_words(value)}", span)


def _truth(value: Any, span: Span) -> bool:
    if isinstance(value, bool):
        return value
    if is_tensor(value):
        raise mistake(
            "a condition must be known at compile time, but this is a tensor",
            span,
            str(value.type),
            "choose between tensors at run time with `where(condition, a, b)`",
        )
    raise mistake(f"a condition must be true or false, not {in_words(value)}", span)


def _calculated(function: Any, span: Span, *values: Any) -> Any:
    try:
        return function(*values)
    except Unsuitable as error:
        raise mistake(str(error), span, "", *error.help) from error
