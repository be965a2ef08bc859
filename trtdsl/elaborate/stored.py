"""Expressions over a checkpoint's entries, as a `weights` section has them.

In: the right side of a line, and what finds an entry by its key.  Out: a graph that computes the weight::

    "qkv.weight" = cat(["q.weight", "k.weight", "v.weight"], dim = 0)

A string is a key wherever a tensor is wanted, and a string elsewhere (``mode = "nearest"``); the rest is the
language as it is in a model. What has weights of its own, and blocks, are not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import DiagnosticError, Span
from trtdsl.elaborate.calls import Call, Caller
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.loops import Budget
from trtdsl.elaborate.mistakes import Mistake, Report, mistake
from trtdsl.elaborate.placing import Placer
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.values import Argument, BlockRef, Configured, DefRef, in_words, is_tensor
from trtdsl.ir import Graph, Lookup, Weight
from trtdsl.ops.base import Module, Op
from trtdsl.syntax import tree


class Key(str):
    """A string of the text, which knows its place; ``*`` in it has been put in already."""

    span: Span


def stored_graph(expr: tree.Expr, scope: Scope, star: str, lookup: Lookup) -> Graph:
    """The graph that computes an expression; ``star`` is what ``*`` stands for in its keys.

    Raises :class:`DiagnosticError` for what is wrong with it, given these entries.
    """
    expressions = _StoredExpressions(_Entries(lookup, star))
    try:
        value = expressions.operand(expr, scope)
        if not is_tensor(value):
            raise _not_one_weight(value, expr.span)
    except Mistake as error:
        raise DiagnosticError(error.diagnostic) from error
    except RecursionError as error:
        raise DiagnosticError(mistake("this nests too deeply", expr.span).diagnostic) from error
    return expressions.placer.builder.graph("weight", {"value": value})


def _not_one_weight(value: Any, span: Span) -> Mistake:
    several = isinstance(value, (list, tuple)) and value
    help = f"take one of them: `{span.text}[0]`" if several and "\n" not in span.text else ""
    return mistake(f"a weight is one tensor, not {in_words(value)}", span, "", help)


class _Entries:
    """The entries that an expression asks for, each once."""

    def __init__(self, lookup: Lookup, star: str) -> None:
        self._lookup = lookup
        self.star = star
        self._found: dict[str, Weight] = {}

    def tensor(self, value: Any, span: Span) -> Any:
        """The entry that a string means, those that a list of strings means, and any other value as it is."""
        if isinstance(value, str):
            if value not in self._found:
                place = value.span if isinstance(value, Key) else span
                self._found[value] = self._lookup(value.replace("*", self.star), place)
            return self._found[value]
        if isinstance(value, (list, tuple)) and any(isinstance(item, str) for item in value):  # pyright: ignore[reportUnknownVariableType]
            items: Sequence[Any] = value
            return type(items)(self.tensor(item, span) for item in items)  # pyright: ignore[reportCallIssue]
        return value


class _StoredCaller(Caller):
    """Takes keys for tensors."""

    def __init__(self, entries: _Entries) -> None:
        super().__init__(Placer(Report()), _no_block, _no_def)
        self.entries = entries

    def place(self, configured: Configured, tensors: Sequence[Argument], call: Call) -> Any:
        _require_no_label(call)
        callee = configured.callee
        if not isinstance(callee, BlockRef) and issubclass(callee.op, Module):
            help = "lower-case functions take keys and compute: `cat`, `transpose`, `reshape`"
            raise mistake(f"`{callee.name}` has weights itself, it cannot make one", call.span, "", help)
        return super().place(configured, tensors, call)

    def is_for_tensors(self, name: str, arguments: Sequence[Argument]) -> bool:
        """Also where it is given a key; `len` and its kind, which take strings, mean no tensors ever."""
        return super().is_for_tensors(name, arguments) or any(isinstance(a.value, str) for a in arguments)

    def apply(self, op: Op, bound: Mapping[str, Argument], spans: Mapping[str, Span], call: Call) -> Any:
        found = {
            name: replace(argument, value=self.entries.tensor(argument.value, argument.span))
            for name, argument in bound.items()
        }
        return super().apply(op, found, spans, call)

    def call(self, callee: Any, arguments: Sequence[Argument], call: Call) -> Any:
        _require_no_label(call)
        return super().call(callee, arguments, call)


def _require_no_label(call: Call) -> None:
    if call.label is not None:
        raise mistake("a `weights` section places nothing, so nothing in it has a label", call.span)


def _no_block(callee: BlockRef, _configuration: Any, _tensors: Any, call: Call) -> Any:
    raise mistake(f"a `weights` section takes operators, not the block `{callee.name}`", call.span)


def _no_def(callee: DefRef, _arguments: Any, call: Call) -> Any:
    raise mistake(f"a `weights` section takes operators, not the def `{callee.name}`", call.span)


class _StoredExpressions(Expressions):
    """Evaluates expressions whose strings are keys."""

    def __init__(self, entries: _Entries) -> None:
        budget = Budget(Report())
        super().__init__(_StoredCaller(entries), budget)
        self.entries = entries
        self._plain = Expressions(self.caller, budget)

    def condition(self, expr: tree.Expr, scope: Scope) -> bool:
        """Conditions are about what the model knows, where a string is a string."""
        return self._plain.condition(expr, scope)

    def value(self, expr: tree.Expr, scope: Scope, hints: Sequence[str] = ()) -> Any:
        value = super().value(expr, scope, hints)
        if not isinstance(expr, tree.String):
            return value
        key = Key(value)
        key.span = expr.span
        return key

    def operand(self, expr: tree.Expr, scope: Scope) -> Any:
        return self.entries.tensor(self.value(expr, scope), expr.span)
