"""Text → syntax tree.

``parse("model m() { … }", "m.trtnet")`` gives a :class:`~trtdsl.syntax.tree.File`. The grammar is
`grammar/trtnet.lark`; lark works out its tables, and the loop here runs them: an LALR(1) automaton that
keeps spans and depths along with the values, and goes on after a mistake.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Source, Span
from trtdsl.syntax.build import TreeBuilder
from trtdsl.syntax.lexer import Tokens, lexicon, scan
from trtdsl.syntax.mistakes import Stuck, explain
from trtdsl.syntax.recovery import next_statement
from trtdsl.syntax.tables import ACCEPT, END, Rule, tables
from trtdsl.syntax.tree import Expr, File, Name

MAXIMUM_DIAGNOSTICS = 20
MAXIMUM_DEPTH = 100
"""Nodes of the tree from the file to a leaf: what follows may walk it by recursion."""


def parse(text: str, name: str = "<text>") -> File:
    """The tree of a file's text; raises :class:`DiagnosticError` with every syntax error found."""
    return parse_tokens(Source(name, text))[0]


@contextmanager
def _without_collection() -> Generator[None]:
    """A tree has no cycles; looking for some while it grows doubles the time of a long text."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def parse_tokens(source: Source) -> tuple[File, Tokens]:
    """The tree, and the tokens it was made of, with keywords that served as names told as names."""
    tokens, comments = scan(source)
    diagnostics: list[Diagnostic] = []

    def interpolated(start: int, end: int) -> Expr | None:
        inner, _ = scan(source, start, end)
        return cast("Expr | None", _Run(inner, makers, diagnostics, MAXIMUM_DEPTH // 4).parse("expr"))

    builder = TreeBuilder(source, comments, interpolated)
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
        self.settled: list[int] = []
        """the states right after the last token, before the next one reduced any"""
        self.interpolated = False
        self.said = len(diagnostics)

    def parse(self, start: str) -> object | None:
        """The value of the start symbol, or None where a mistake left none."""
        actions, rules, kinds = self.tables.actions, self.tables.rules, self.tokens.kinds
        states, values, starts, depths = self.states, self.values, self.starts, self.depths
        states.append(self.tables.starts[start])
        self.interpolated = start == "expr"
        self.settled = states[:]
        index = 0
        while True:
            row = actions[states[-1]]
            action = row.get(kinds[index])
            if action is None:
                action = self._as_name(row, index)
                if action is None:
                    resumed = self._mistake(index)
                    if resumed is None:
                        return None
                    index = resumed
                    continue
            if action >= 0:
                states.append(action)
                values.append(index)
                starts.append(self.tokens.starts[index])
                depths.append(0)
                index += 1
                if len(states) > 10 * self.maximum_depth:
                    self._too_deep(self.tokens.starts[index - 1])
                    return None
                self.settled = states[:]
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
                # A list that grows item by item, `_items: _items item`, is taken over, not copied each time.
                children = children + value if children else value
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
            value = make(Span(tokens.source, start, end), *children)
            depth += not isinstance(value, tuple)
        else:
            value = children
        values.append(value)
        self.starts.append(start)
        self.depths.append(depth)
        if depth > self.maximum_depth:
            self._too_deep(start)
        return depth <= self.maximum_depth

    def _too_deep(self, start: int) -> None:
        place = Span(self.tokens.source, start, start + 1)
        help = ("give a part of it a name of its own",)
        self.diagnostics.append(Diagnostic("this nests too deeply", place, help=help))

    # After a mistake

    def _mistake(self, index: int) -> int | None:
        """Say what is wrong and where to go on, if anywhere."""
        row = self.tables.actions[self.settled[-1]]
        expected = frozenset(kind for kind in row if not kind.islower() and self._accepts(kind, self.settled))
        ended = self.tokens.kinds[index] == END
        if not (ended and len(self.diagnostics) > self.said):
            self.diagnostics.append(explain(Stuck(self.tokens, index, expected, self.interpolated)))
        if ended or self.interpolated or len(self.diagnostics) >= MAXIMUM_DIAGNOSTICS:
            return None
        return self._resume(index)

    def _accepts(self, kind: str, states: list[int]) -> bool:
        """Whether the automaton with these states on its stack would take a terminal."""
        actions, rules = self.tables.actions, self.tables.rules
        states = states[:]
        while (action := actions[states[-1]].get(kind)) is not None:
            if action >= 0 or action == ACCEPT:
                return True
            rule = rules[-1 - action]
            if rule.length:
                del states[-rule.length :]
            states.append(actions[states[-1]][rule.origin])
        return False

    def _resume(self, index: int) -> int | None:
        """Drop what is half read, and skip to the next statement of the same body, or to the next item."""
        tokens = self.tokens
        for height in range(len(self.states), 0, -1):
            in_body = self._accepts("FOR", self.states[:height])
            if not in_body and not self._accepts("MODEL", self.states[:height]):
                continue
            left = self.values[height - 1 :]
            depth = sum(isinstance(value, int) and tokens.kinds[value] == "LBRACE" for value in left)
            begin = self.starts[height - 1] if left else tokens.starts[index]
            resumed = next_statement(tokens, index if left else index + 1, begin, depth, in_body)
            if resumed is None:
                continue
            del self.states[height:], self.values[height - 1 :], self.starts[height - 1 :]
            del self.depths[height - 1 :]
            return resumed
        return None
