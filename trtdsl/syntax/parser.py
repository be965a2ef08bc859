"""Text → syntax tree.

``parse("model m() { … }", "m.trtnet")`` gives a :class:`~trtdsl.syntax.tree.File`. The grammar is
`grammar/trtnet.lark`; lark works out its tables, and the loop here runs them: an LALR(1) automaton that
keeps spans and depths along with the values, and goes on after a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Source, Span
from trtdsl.syntax.build import Builder
from trtdsl.syntax.lexer import Tokens, lexicon, scan
from trtdsl.syntax.tables import ACCEPT, Rule, tables
from trtdsl.syntax.tree import Expr, File, Name

MAXIMUM_DEPTH = 200
"""Nodes of the tree from the file to a leaf: what follows may walk it by recursion."""


def parse(text: str, name: str = "<text>") -> File:
    """The tree of a file's text; raises :class:`DiagnosticError` with every syntax error found."""
    source = Source(name, text)
    tokens, comments = scan(source)
    diagnostics: list[Diagnostic] = []

    def interpolated(start: int, end: int) -> Expr | None:
        inner, _ = scan(source, start, end)
        return cast("Expr | None", _Run(inner, builder, diagnostics, MAXIMUM_DEPTH // 4).parse("expr"))

    builder = Builder(source, comments, interpolated)
    file = _Run(tokens, builder, diagnostics, MAXIMUM_DEPTH).parse("file")
    diagnostics += builder.diagnostics
    if diagnostics or file is None:
        raise DiagnosticError(*sorted(diagnostics, key=lambda d: d.span.start if d.span else 0))
    return cast(File, file)


class _Run:
    """One run of the automaton over some tokens. The stacks are parallel."""

    def __init__(
        self, tokens: Tokens, builder: Builder, diagnostics: list[Diagnostic], maximum_depth: int
    ) -> None:
        self.tokens = tokens
        self.diagnostics = diagnostics
        self.maximum_depth = maximum_depth
        self.tables = tables()
        self.alternatives = lexicon().alternatives
        self.makers: list[Callable[..., Any] | None] = [
            getattr(builder, f"make_{rule.name}", None) for rule in self.tables.rules
        ]
        self.states: list[int] = []
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.depths: list[int] = []

    def parse(self, start: str) -> object | None:
        """The value of the start symbol, or None where a mistake left none."""
        actions, rules, kinds = self.tables.actions, self.tables.rules, self.tokens.kinds
        self.states.append(self.tables.starts[start])
        index = 0
        while True:
            row = actions[self.states[-1]]
            action = row.get(kinds[index])
            if action is None:
                action = self._as_name(row, index)
            if action is None:
                self._mistake(index)
                return None
            if action >= 0:
                self.states.append(action)
                self.values.append(index)
                self.starts.append(self.tokens.starts[index])
                self.depths.append(0)
                index += 1
            elif action == ACCEPT:
                return self.values[-1]
            elif not self._reduce(rules[-1 - action], self.makers[-1 - action], index):
                return None

    def _as_name(self, row: dict[str, int], index: int) -> int | None:
        """A keyword where none can stand is a name."""
        kinds = self.tokens.kinds
        for kind in self.alternatives.get(kinds[index], ()):
            if kind in row:
                kinds[index] = kind
                return row[kind]
        return None

    def _reduce(self, rule: Rule, make: Callable[..., Any] | None, index: int) -> bool:
        """Replace a rule's symbols by its value."""
        base = len(self.values) - rule.length
        children: list[Any] = []
        for position, keep in rule.kept:
            value = self.values[base + position]
            if keep == "value":
                children.append(value)
            elif keep == "splice":
                children.extend(value)
            else:
                children.append(Name(self.tokens.span(value), self.tokens.text(value)))
        start = self.starts[base] if rule.length else self.tokens.starts[index]
        depth = max(self.depths[base:], default=0)
        value = children
        if rule.transparent and len(children) == 1:
            value = children[0]
        elif make is not None:
            depth += 1
            end = self.tokens.ends[index - 1] if rule.length else start
            value = make(Span(self.tokens.source, start, end), *children)
        del self.states[base + 1 :], self.values[base:], self.starts[base:], self.depths[base:]
        self.states.append(self.tables.actions[self.states[-1]][rule.origin])
        self.values.append(value)
        self.starts.append(start)
        self.depths.append(depth)
        if depth <= self.maximum_depth:
            return True
        self.diagnostics.append(Diagnostic("this nests too deeply", Span(self.tokens.source, start, start + 1)))
        return False

    def _mistake(self, index: int) -> None:
        self.diagnostics.append(Diagnostic(f"unexpected `{self.tokens.text(index)}`", self.tokens.span(index)))
