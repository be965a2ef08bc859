"""After a mistake: where the text is likely to make sense again.

A bogus second error is worse than a missed one, so the parser goes on only at what is surely the start
of a statement: the first token of a line, no further right than the statement that failed.
"""

from __future__ import annotations

from trtdsl.syntax.lexer import Tokens, lexicon
from trtdsl.syntax.tables import END

_HARD = {"for", "if", "return", "assert"}
_BEFORE_NAME = {"dim", "input", "output", "profile", "emit", "scan"}


def next_statement(tokens: Tokens, index: int, begin: int, depth: int, in_body: bool) -> int | None:
    """The index of the token to go on at, from ``index`` on.

    ``begin`` is the offset of the failed statement, ``depth`` the number of braces open inside it. In a
    body, the brace that closes it will do too; None means that the body never ends.
    """
    column = _column(tokens, begin)
    index = _after_brackets(tokens, index, begin)
    while tokens.kinds[index] != END:
        kind = tokens.kinds[index]
        at_line = _begins_line(tokens, index)
        if at_line and _begins_item(tokens, index):
            return _restored(tokens, index) if not in_body else None
        if kind == "RBRACE" and in_body and depth == 0:
            return index
        depth += (kind == "LBRACE") - (kind == "RBRACE")
        level = in_body and depth == 0 and at_line and _column(tokens, tokens.starts[index]) <= column
        if level and _begins_statement(tokens, index):
            return _restored(tokens, index)
        index += 1
    return index


def _after_brackets(tokens: Tokens, index: int, begin: int) -> int:
    """Past the brackets that the failed statement has open, if they are closed before the next brace."""
    first = index
    while first and tokens.starts[first - 1] >= begin:
        first -= 1
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
    """``import "…"``, ``block name(`` or ``model name(``: nothing like it stands inside a body."""
    text, following = tokens.text(index), tokens.kinds[index + 1]
    if text == "import":
        return following == "STRING"
    return text in ("block", "model") and following == "NAME" and tokens.kinds[index + 2] == "LPAR"


def _begins_statement(tokens: Tokens, index: int) -> bool:
    text, following = tokens.text(index), tokens.kinds[index + 1]
    if text in _HARD or (text in _BEFORE_NAME and following == "NAME"):
        return True
    if text == "weights" and following == "LBRACE":
        return True
    return tokens.kinds[index] in ("NAME", *map(str.upper, _BEFORE_NAME)) and following in ("EQUAL", "COMMA")


def _restored(tokens: Tokens, index: int) -> int:
    """A keyword that was taken for a name is a keyword again."""
    tokens.kinds[index] = lexicon().literals.get(tokens.text(index), tokens.kinds[index])
    return index
