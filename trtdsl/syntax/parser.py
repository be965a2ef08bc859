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
    return parse_tokens(Source(name, text))[0]


def parse_tokens(source: Source) -> tuple[File, Tokens]:
    """The tree, and the tokens it was made of, with keywords that served as names told as names."""
    tokens, comments = scan(source)
    diagnostics: list[Diagnostic] = []

    def interpolated(start: int, end: int) -> Expr | None:
        inner, _ = scan(source, start, end)
        return cast("Expr | None", _Run(inner, makers, diagnostics, MAXIMUM_DEPTH // 4).parse("expr"))

    builder = Builder(source, comments, interpolated)
    makers = [getattr(builder, f"make_{rule.name}", None) for rule in tables().rules]
    file = _Run(tokens, makers, diagnostics, MAXIMUM_DEPTH).parse("file")
    diagnostics += builder.diagnostics
    if diagnostics or file is None:
        raise DiagnosticError(*sorted(diagnostics, key=lambda d: d.span.start if d.span else 0))
    return cast(File, file), tokens


class _Run:
    """One run of the automaton over some tokens. The stacks are parallel."""

    def __init__(
        self,
        tokens: Tokens,
        makers: list[Callable[..., Any] | None],
        diagnostics: list[Diagnostic],
        maximum_depth: int,
    ) -> None:
        self.tokens = tokens
        self.diagnostics = diagnostics
        self.maximum_depth = maximum_depth
        self.tables = tables()
        self.alternatives = lexicon().alternatives
        self.makers = makers
        self.states: list[int] = []
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.depths: list[int] = []

    def parse(self, start: str) -> object | None:
        """The value of the start symbol, or None where a mistake left none."""
        actions, rules, kinds = self.tables.actions, self.tables.rules, self.tokens.kinds
        states, values, starts, depths = self.states, self.values, self.starts, self.depths
        states.append(self.tables.starts[start])
        index = 0
        while True:
            row = actions[states[-1]]
            action = row.get(kinds[index])
            if action is None:
                action = self._as_name(row, index)
                if action is None:
                    self._mistake(index)
                    return None
            if action >= 0:
                states.append(action)
                values.append(index)
                starts.append(self.tokens.starts[index])
                depths.append(0)
                index += 1
                continue
            if action == ACCEPT:
                return values[-1]
            rule = rules[-1 - action]
            if rule.passes:
                states.pop()
            elif not self._reduce(rule, self.makers[-1 - action], index):
                return None
            states.append(actions[states[-1]][rule.origin])

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
        values, tokens, length = self.values, self.tokens, rule.length
        base = len(values) - length
        value: Any
        children: list[Any] = []
        for position, keep in rule.kept:
            value = values[base + position]
            if keep == "value":
                children.append(value)
            elif keep == "splice":
                children.extend(value)
            else:
                place = Span(tokens.source, tokens.starts[value], tokens.ends[value])
                children.append(Name(place, place.text))
        if not length:
            start = end = tokens.starts[index]
            depth = 0
        else:
            start, end = self.starts[base], tokens.ends[index - 1]
            depth = max(self.depths[base:])
            del self.states[-length:], values[base:], self.starts[base:], self.depths[base:]
        if rule.transparent and len(children) == 1:
            value = children[0]
        elif make is not None:
            depth += 1
            value = make(Span(tokens.source, start, end), *children)
        else:
            value = children
        values.append(value)
        self.starts.append(start)
        self.depths.append(depth)
        if depth <= self.maximum_depth:
            return True
        self.diagnostics.append(Diagnostic("this nests too deeply", Span(tokens.source, start, start + 1)))
        return False

    def _mistake(self, index: int) -> None:
        self.diagnostics.append(
            Diagnostic(f"unexpected `{self.tokens.text(index)}`", self.tokens.span(index))
        )
