"""Where lark could not go on → what stands there, and what could have.

In: a text and lark's error.  Out: a :class:`Stumble`, which `trtdsl.syntax.mistakes` explains and from
which `trtdsl.syntax.recovery` goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from lark import Token, UnexpectedInput, UnexpectedToken

from trtdsl.diagnostics import Source, Span
from trtdsl.syntax.grammar import END, Start, language
from trtdsl.syntax.tokens import Tokens, listed, scan

MOST_LOOKED_AT = 20_000
"""Tokens after a mistake among which the next statement is looked for."""

_GOES_ON = {
    *("PLUS", "MINUS", "TIMES", "DIVIDE", "FLOOR_DIVIDE", "MODULO", "MATMUL", "POWER", "AND", "OR"),
    *("EQ", "NE", "LT", "LE", "GT", "GE", "IN", "NOT", "ARROW", "DOT", "LPAR", "LSQB", "IF", "COMMA"),
}
"""The kinds by which a statement that could be over goes on."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """The parser's place: ``expected`` are the terminals that could have stood there."""

    tokens: Tokens
    index: int
    expected: frozenset[str]
    start: Start = "file"
    """what the text is"""

    def kind(self, offset: int = 0) -> str:
        index = self.index + offset
        return self.tokens.kinds[index] if 0 <= index < len(self.tokens.kinds) else END

    def text(self, offset: int = 0) -> str:
        index = self.index + offset
        return self.tokens.text(index) if 0 <= index < len(self.tokens.kinds) else ""

    def span(self, first: int = 0, last: int | None = None) -> Span:
        """From one token to another, counted from the stuck one."""
        start = self.tokens.starts[self.index + first]
        return Span(
            self.tokens.source, start, self.tokens.ends[self.index + (first if last is None else last)]
        )

    def adjacent(self, offset: int = 0) -> bool:
        """Whether nothing stands between a token and the one before it."""
        index = self.index + offset
        return index > 0 and self.tokens.starts[index] == self.tokens.ends[index - 1]

    def begins_line(self, offset: int = 0) -> bool:
        index = self.index + offset
        before = self.tokens.ends[index - 1] if index else 0
        return "\n" in self.tokens.source.text[before : self.tokens.starts[index]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a statement or an item begins that was not over: the index of its first token."""

    index: int
    braces: int
    """how many are open before it"""
    in_body: bool


@dataclass(frozen=True, slots=True)
class Stumble:
    """``around`` are the statements that the stuck token is in, the item first."""

    stuck: Stuck
    around: Sequence[Beginning]


def stumble(source: Source, text: str, error: UnexpectedInput, start: Start, offset: int = 0) -> Stumble:
    """Read a text again, which stands at an offset of the source, up to lark's error in it."""
    position = _position(error, text)
    reader = _Reader(start)
    stuck = reader.read(text, position)
    rest = islice(scan(language(), text, position + sum(map(len, stuck))), MOST_LOOKED_AT)
    tokens = listed(source, chain(reader.tokens, stuck, rest), offset)
    expected = frozenset(reader.run.accepts())
    return Stumble(Stuck(tokens, len(reader.tokens), expected, start), reader.around)


def _position(error: UnexpectedInput, text: str) -> int:
    """The offset of the token or character that does not fit."""
    if isinstance(error, UnexpectedToken) and error.token.type == END:
        return len(text)
    return error.pos_in_stream or 0


class _Reader:
    """Reads tokens and keeps track of the statements that they are in."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.tokens: list[Token] = []
        self.around: list[Beginning] = []
        self.braces = 0
        self.brackets = 0

    def read(self, text: str, position: int) -> list[Token]:
        """Up to an offset; the token there if lark sees one."""
        self.run = language().parse_interactive(text, start=self.start)
        try:
            for token in self.run.iter_parse():
                self._before(token.type)
                if (token.start_pos or 0) >= position:
                    return [token]
                self._after(token)
            self._before(END)
        except UnexpectedInput:
            self._before("")
        return []

    def _before(self, kind: str) -> None:
        """Whether a statement, an item, or a line of a map begins with a token of this kind."""
        previous = self.tokens[-1].type if self.tokens else "LBRACE"
        goes_on = kind in _GOES_ON and previous not in ("LBRACE", "RBRACE")
        if self.start == "expr" or self.brackets or goes_on or kind == "ELSE":
            return
        if self.start == "weights_map":
            if self._accepts(END):
                self.around = [Beginning(len(self.tokens), 0, in_body=False)]
            return
        in_body = self._accepts("FOR")
        if in_body or self._accepts("MODEL"):
            self._leave(self.braces - 1)
            self.around.append(Beginning(len(self.tokens), self.braces, in_body))

    def _after(self, token: Token) -> None:
        self.tokens.append(token)
        self.brackets += (token.type in ("LPAR", "LSQB")) - (token.type in ("RPAR", "RSQB"))
        self.braces += (token.type == "LBRACE") - (token.type == "RBRACE")
        self._leave(self.braces)

    def _leave(self, braces: int) -> None:
        while self.around and self.around[-1].braces > braces:
            self.around.pop()

    def _accepts(self, kind: str) -> bool:
        """Whether this could stand next; lark's own ``accepts`` tries every terminal."""
        if kind not in self.run.choices():
            return False
        try:
            self.run.copy(deepcopy_values=False).feed_token(Token(kind, ""))
        except UnexpectedToken:
            return False
        return True
