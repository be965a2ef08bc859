"""Text → syntax tree.

``parse("model m { … }", "m.trtnet")`` gives a :class:`~trtdsl.syntax.tree.File`. The grammar is
`grammar/trtnet.lark` and lark reads texts by it; `trtdsl.syntax.build` makes nodes of what lark read. After a
mistake the statement that holds it is blanked out, so that places stay, and the text is read again.
"""

from __future__ import annotations

import re

import msgspec
from lark import Token, Tree, UnexpectedInput

from trtdsl.collection import without_collection
from trtdsl.diagnostics import Diagnostic, DiagnosticError, Source, Span
from trtdsl.syntax.build import TreeBuilder
from trtdsl.syntax.grammar import Start, language
from trtdsl.syntax.tokens import Tokens, blanked, comments_of, leaves, listed
from trtdsl.syntax.tree import Comment, Expr, File, Line

MAXIMUM_DIAGNOSTICS = 20
MAXIMUM_DEPTH = 100
"""Nodes of the tree from the file to a leaf: what follows may walk it by recursion."""

LONGEST_LIST = 100_000
"""Elements of a list, those of lists inside it counted."""

TOO_LONG = re.compile(rf'\[(?:[^,\[\]{{}}"#]*,){{{LONGEST_LIST},}}[^,\[\]{{}}"#]*[^,\[\]{{}}"#\s]')
"""More plain elements than a list has: reading them all would take a minute for a million."""

_MOST_READ_AGAIN = 2_000_000
"""Characters: in a long text with many mistakes not all of them are looked for."""


class Parsed(msgspec.Struct, frozen=True):
    """What could be read of a text: ``tree`` lacks the statements that ``diagnostics`` speak of."""

    tree: File
    diagnostics: tuple[Diagnostic, ...]
    read: Tree[Token]
    """what lark made of it"""

    @property
    def tokens(self) -> Tokens:
        return listed(self.tree.span.source, leaves(self.read))

    @property
    def comments(self) -> list[Comment]:
        """Those of a text without mistakes."""
        return comments_of(self.tree.span.source)


def parse(text: str, name: str = "<text>") -> File:
    """The tree of a file's text; raises :class:`DiagnosticError` with every syntax error found."""
    return parse_whole(text, name).tree


def parse_whole(text: str, name: str = "<text>") -> Parsed:
    """The tree with its tokens; raises :class:`DiagnosticError` with every syntax error found."""
    parsed = parse_partial(text, name)
    if parsed.diagnostics:
        raise DiagnosticError(*parsed.diagnostics)
    return parsed


@without_collection()
def parse_partial(text: str, name: str = "<text>") -> Parsed:
    """The tree of what can be read, and every syntax error found, in the order of their places."""
    source = Source(name, text)
    diagnostics: list[Diagnostic] = []
    read = _read(source, diagnostics, "file")
    file = _builder(source, diagnostics).file(read)
    return Parsed(file, _first(diagnostics), read)


def parse_weights_map(source: Source) -> tuple[Line, ...]:
    """The lines of a weights map; raises :class:`DiagnosticError` with every syntax error found."""
    return read_weights_map(source)[0]


@without_collection()
def read_weights_map(source: Source) -> tuple[tuple[Line, ...], Tokens]:
    """The lines of a weights map with their tokens; raises as :func:`parse_weights_map` does."""
    diagnostics: list[Diagnostic] = []
    read = _read(source, diagnostics, "weights_map")
    lines = _builder(source, diagnostics).lines(read)
    if diagnostics:
        raise DiagnosticError(*_first(diagnostics))
    return lines, listed(source, leaves(read))


def _builder(source: Source, diagnostics: list[Diagnostic]) -> TreeBuilder:
    """What makes the nodes of a text, those inside its strings' braces included."""

    def interpolated(start: int, end: int) -> Expr | None:
        inner = source.text[start:end]
        try:
            found = language().parse(inner, start="expr")
        except UnexpectedInput as error:
            from trtdsl.syntax.recovery import explained

            diagnostics.append(explained(source, inner, error, start))
            return None
        part = TreeBuilder(source, interpolated, diagnostics, MAXIMUM_DEPTH // 4, start)
        return part.expression(found)

    return TreeBuilder(source, interpolated, diagnostics, MAXIMUM_DEPTH)


def _first(diagnostics: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """As many as are told, in the order of their places."""
    ordered = sorted(diagnostics, key=lambda diagnostic: diagnostic.span.start if diagnostic.span else 0)
    return tuple(ordered[:MAXIMUM_DIAGNOSTICS])


def _read(source: Source, diagnostics: list[Diagnostic], start: Start) -> Tree[Token]:
    """lark's tree of the text without the statements, or the lines of a map, that have mistakes."""
    text = " " + source.text[1:] if source.text.startswith("\ufeff") else source.text
    text = _without_long_lists(source, text, diagnostics)
    budget = _MOST_READ_AGAIN
    while True:
        try:
            return language().parse(text, start=start)
        except UnexpectedInput as error:
            # A text without mistakes does not pay for what is said about them.
            from trtdsl.syntax.recovery import Recovery

            recovery = Recovery(source, text, error, start)
        if not (recovery.ended and diagnostics):
            diagnostics.append(recovery.diagnostic)
        budget -= len(text)
        if recovery.ended or budget < 0 or len(diagnostics) >= MAXIMUM_DIAGNOSTICS:
            text = recovery.finished()
        else:
            text = recovery.without_failed_statement()


def _without_long_lists(source: Source, text: str, diagnostics: list[Diagnostic]) -> str:
    said = -1
    while found := TOO_LONG.search(text):
        if found.start() != said:
            message = f"the list is too long: it holds more than {LONGEST_LIST} elements"
            diagnostics.append(Diagnostic(message, Span(source, found.start(), found.start() + 1)))
        said = found.start()
        text = blanked(text, said + 1, found.end() - 1)
    return text
