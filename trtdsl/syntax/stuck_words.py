"""What stands where the parser got stuck, and what would have fitted, in words."""

from __future__ import annotations

from trtdsl.syntax.grammar import END, marks
from trtdsl.syntax.stuck import Stuck
from trtdsl.syntax.tokens import Tokens

OPERATORS = {"PLUS", "MINUS", "TIMES", "DIVIDE", "FLOOR_DIVIDE", "MODULO", "MATMUL", "POWER", "AND", "OR"}
COMPARISONS = {"EQ", "NE", "LT", "LE", "GT", "GE"}
CLOSERS = {"RPAR": "LPAR", "RSQB": "LSQB", "RBRACE": "LBRACE"}
STATEMENTS = {"DIM", "PROFILE", "INPUT", "OUTPUT", "EMIT", "SCAN", "WEIGHTS", "FOR", "RETURN", "ASSERT"}
AFTER_OPERAND = {*OPERATORS, *COMPARISONS, "IN", "NOT", "ARROW", "DOT", "LPAR", "LSQB", "IF", "FOR"}


def end_in_words(stuck: Stuck) -> str:
    return "`}`" if stuck.start == "expr" else "the end of the text"


def found_in_words(stuck: Stuck) -> str:
    return end_in_words(stuck) if stuck.kind() == END else shown_text(stuck.text())


def shown_text(text: str) -> str:
    return f"`{text if len(text) <= 40 else text[:37] + '…'}`"


def expected_in_words(expected: frozenset[str], end: str) -> str:
    """The terminals as a person would list them; operators go without saying where a mark can stand too."""
    left = set(expected)
    words: list[str] = []
    if "INTEGER" in left and "LPAR" in left and "NAME" in left:
        words.append("an expression")
        left -= {
            "INTEGER",
            "DECIMAL",
            "SCIENTIFIC",
            "STRING",
            "NAME",
            "LPAR",
            "LSQB",
            "MINUS",
            "NOT",
            "TRUE",
            "FALSE",
            "NONE",
        }
        left -= {"ELLIPSIS", "COLON"}
    if {"FOR", "RETURN"} <= left:
        words.append("a statement")
        left -= {*STATEMENTS, "NAME", "IF", "IN", "AS", "WITH", "IMPORT", "BLOCK", "MODEL"}
    if {"IMPORT", "MODEL"} <= left:
        words.append("`import`, `block`, `def` or `model`")
        left -= {"IMPORT", "MODEL", "BLOCK", "DEF", END}
    if "PLUS" in left or "ARROW" in left or {"LPAR", "LSQB"} <= left:
        left -= AFTER_OPERAND
        left -= {"COLON", "EQUAL"} if {"RPAR", "RSQB", "LBRACE", END} & left else set()
    named = {
        "NAME": "a name",
        "WORD": "a name",
        "INTEGER": "an integer",
        "DECIMAL": "a number",
        "STRING": "a string",
        END: end,
    }
    words += sorted({named.get(kind) or f"`{marks()[kind]}`" for kind in left})
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def open_brackets(tokens: Tokens, index: int) -> list[int]:
    """The brackets open before a token."""
    opened: list[int] = []
    for number in range(index):
        kind = tokens.kinds[number]
        if kind in CLOSERS.values():
            opened.append(number)
        elif kind in CLOSERS and opened:
            opened.pop()
    return opened
