"""After a mistake: where the text is likely to make sense again.

A bogus second error is worse than a missed one, so the parser goes on only at what is surely the start
of a statement: the first token of a line, no further right than the statement that failed.
"""

from __future__ import annotations

from lark import UnexpectedInput

from trtdsl.diagnostics import Diagnostic, Source
from trtdsl.syntax.grammar import END, Start
from trtdsl.syntax.mistakes import explain
from trtdsl.syntax.stuck import Beginning, stumble
from trtdsl.syntax.tokens import Tokens, blanked

_HARD = {"for", "if", "return", "assert"}
_BEFORE_NAME = {"dim", "input", "output", "profile", "emit", "scan"}


class Recovery:
    """What is said about the first mistake of a file or a map, and the text without it."""

    def __init__(self, source: Source, text: str, error: UnexpectedInput, start: Start) -> None:
        self.text = text
        self.found = stumble(source, text, error, start)
        stuck = self.found.stuck
        self.diagnostic = explain(stuck)
        # Where a file, or a whole section, is taken for a map, nothing after its beginning fits.
        other = start == "weights_map" and stuck.kind() in ("WEIGHTS", "MODEL", "BLOCK", "DEF", "IMPORT")
        self.ended = stuck.kind() == END or other

    def without_failed_statement(self) -> str:
        """The text without what makes no sense: up to the next statement of the same body, if that is
        there, or else up to the next item."""
        tokens, index, around = self.found.stuck.tokens, self.found.stuck.index, self.found.around
        if self.found.stuck.start == "weights_map":
            begin = tokens.starts[around[-1].index]
            return blanked(self.text, begin, _next_line(tokens, max(index, around[-1].index + 1), self.text))
        braces = around[-1].braces + _open_braces(tokens, around[-1].index, index)
        for begin in reversed(around):
            first = max(index, begin.index + 1)
            resumed = _next_statement(tokens, first, begin, braces - begin.braces)
            if resumed is not None:
                ended = tokens.kinds[resumed] == END
                end = len(self.text) if ended else tokens.starts[resumed]
                return blanked(self.text, tokens.starts[begin.index], end)
        raise AssertionError("an item always ends somewhere")

    def finished(self) -> str:
        """The text up to the statement that fails, with the bodies closed that are open there."""
        begin = self.found.around[-1]
        start = self.found.stuck.tokens.starts[begin.index]
        return blanked(self.text, start, len(self.text)) + "}" * begin.braces


def explained(source: Source, text: str, error: UnexpectedInput, offset: int) -> Diagnostic:
    """The mistake in the expression inside a string's braces that stands at an offset."""
    return explain(stumble(source, text, error, "expr", offset).stuck)


def _next_line(tokens: Tokens, index: int, text: str) -> int:
    """The offset of the next line of a map, which begins a line of the text: ``"key" =``."""
    while tokens.kinds[index] != END:
        if tokens.kinds[index : index + 2] == ["STRING", "EQUAL"] and _begins_line(tokens, index):
            return tokens.starts[index]
        index += 1
    return len(text)


def _open_braces(tokens: Tokens, first: int, last: int) -> int:
    kinds = tokens.kinds[first:last]
    return kinds.count("LBRACE") - kinds.count("RBRACE")


def _next_statement(tokens: Tokens, index: int, begin: Beginning, depth: int) -> int | None:
    """The index of the token to go on at, from ``index`` on.

    ``depth`` is the number of braces open inside the failed statement. In a body, the brace that closes it
    will do too; None means that the body never ends.
    """
    column = _column(tokens, tokens.starts[begin.index])
    index = _after_brackets(tokens, index, begin.index)
    while tokens.kinds[index] != END:
        kind = tokens.kinds[index]
        at_line = _begins_line(tokens, index)
        if at_line and _begins_item(tokens, index):
            return index if not begin.in_body else None
        if kind == "RBRACE" and begin.in_body and depth == 0:
            return index
        depth += (kind == "LBRACE") - (kind == "RBRACE")
        level = begin.in_body and depth == 0 and at_line and _column(tokens, tokens.starts[index]) <= column
        if level and _begins_statement(tokens, index):
            return index
        index += 1
    return index


def _after_brackets(tokens: Tokens, index: int, first: int) -> int:
    """Past the brackets that the failed statement has open, if they are closed before the next brace."""
    depth = 0
    for number in range(first, len(tokens.kinds)):
        kind = tokens.kinds[number]
        if number >= index and depth <= 0:
            return number
        if kind == END or (number >= index and kind in ("LBRACE", "RBRACE")):
            break
        depth += (kind in ("LPAR", "LSQB")) - (kind in ("RPAR", "RSQB"))
    return index


def _column(tokens: Tokens, offset: int) -> int:
    return offset - tokens.source.text.rfind("\n", 0, offset)


def _begins_line(tokens: Tokens, index: int) -> bool:
    before = tokens.ends[index - 1] if index else 0
    return index == 0 or "\n" in tokens.source.text[before : tokens.starts[index]]


def _begins_item(tokens: Tokens, index: int) -> bool:
    """``import "…"``, ``block name(``, ``def name(``, or ``model name`` before ``(``, ``{`` or ``=``."""
    text, (following, opening) = tokens.text(index), (*tokens.kinds[index + 1 : index + 3], END)[:2]
    if text == "import":
        return following == "STRING"
    return (
        text in ("block", "def", "model") and following == "NAME" and opening in ("LPAR", "LBRACE", "EQUAL")
    )


def _begins_statement(tokens: Tokens, index: int) -> bool:
    text, following = tokens.text(index), tokens.kinds[index + 1]
    if text in _HARD or (text in _BEFORE_NAME and following == "NAME"):
        return True
    if text == "weights" and following == "LBRACE":
        return True
    return tokens.kinds[index] in ("NAME", *map(str.upper, _BEFORE_NAME)) and following in ("EQUAL", "COMMA")
