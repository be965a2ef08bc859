"""Tokens and comments of a text, beside the tree.

The kinds are the grammar's terminals, as the parser took them: `dim` is a ``NAME`` where it serves as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from lark import Lark, Token, Tree, UnexpectedCharacters

from trtdsl.diagnostics import Source, Span
from trtdsl.syntax.grammar import END
from trtdsl.syntax.tree import Comment

ERROR = "ERROR"
"""The kind of what is not a token at all."""

_STRAY = re.compile(r'"[^\n]*|[0-9][A-Za-z0-9_]*|.', re.DOTALL)
_STRING_OR_COMMENT = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|(?P<comment>#[^\n]*)')


class Tokens(msgspec.Struct, frozen=True):
    """Parallel lists; the last token is the end of the text, just past the one before."""

    source: Source
    kinds: list[str]
    starts: list[int]
    ends: list[int]

    def text(self, index: int) -> str:
        return self.source.text[self.starts[index] : self.ends[index]]

    def span(self, index: int) -> Span:
        return Span(self.source, self.starts[index], self.ends[index])


def listed(source: Source, tokens: Iterable[Token], offset: int = 0) -> Tokens:
    """lark's tokens, whose places count from ``offset``, as lists."""
    kinds: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for token in tokens:
        start = offset + (token.start_pos or 0)
        kinds.append(token.type)
        starts.append(start)
        ends.append(start + len(token))
    stop = ends[-1] if ends else offset
    return Tokens(source, [*kinds, END], [*starts, stop], [*ends, stop])


def leaves(tree: Tree[Token]) -> Iterator[Token]:
    """The tokens of lark's tree, in order."""
    waiting: list[Tree[Token] | Token] = [tree]
    while waiting:
        branch = waiting.pop()
        if isinstance(branch, Token):
            yield branch
        else:
            waiting += reversed(branch.children)


def scan(parser: Lark, text: str, start: int = 0) -> Iterator[Token]:
    """The tokens from an offset on, whatever stands there; a word that can be a keyword is one."""
    while start < len(text):
        try:
            for token in parser.lex(text[start:]):
                yield _moved(token, start)
            return
        except UnexpectedCharacters as stuck:
            start += stuck.pos_in_stream or 0
            stray = _STRAY.match(text, start)
            assert stray, "a single character always matches"
            yield Token(ERROR, stray[0], start)
            start = stray.end()


def _moved(token: Token, offset: int) -> Token:
    return Token(token.type, str(token), offset + (token.start_pos or 0))


def comments_of(source: Source) -> list[Comment]:
    """The comments of a text that parses: a `#` outside a string begins one."""
    text = source.text
    if "#" not in text:
        return []
    found = _STRING_OR_COMMENT.finditer(text)
    return [_comment(source, *match.span()) for match in found if match["comment"]]


def _comment(source: Source, start: int, end: int) -> Comment:
    text = source.text[start:end].rstrip()
    before = source.text[source.text.rfind("\n", 0, start) + 1 : start]
    return Comment(Span(source, start, start + len(text)), text, bool(before.strip(" \t\r\f\ufeff")))


def blanked(text: str, start: int, end: int) -> str:
    """The text with spaces from one offset to another, so that places stay."""
    return text[:start] + " " * (end - start) + text[end:]
