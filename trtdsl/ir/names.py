"""Names of values: identifiers that the language accepts and that hide nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from trtdsl.ir.graph import Graph, graphs
from trtdsl.types import DType

KEYWORDS = frozenset(
    (
        *(
            "and",
            "as",
            "assert",
            "block",
            "def",
            "dim",
            "else",
            "emit",
            "false",
            "for",
            "if",
            "import",
            "in",
            "input",
        ),
        *(
            "model",
            "none",
            "not",
            "or",
            "output",
            "profile",
            "return",
            "scan",
            "step",
            "true",
            "weights",
            "with",
        ),
    )
)
"""The language's words; a test holds them against the grammar."""

PYTHON_WORDS = frozenset(
    (
        *("None", "True", "False", "break", "class", "continue", "del", "elif", "except", "finally"),
        *("from", "is", "lambda", "pass", "raise", "try", "while", "yield"),
    )
)
"""Python's words that the language takes for no name, so that it can say what to write instead."""

NEVER_NAMES = PYTHON_WORDS | frozenset(
    ("and", "assert", "def", "else", "false", "for", "if", "in", "none", "not", "or", "return", "true")
)
"""What cannot be a name anywhere, nor begin a label; the other words of the language are names elsewhere."""

# The names of types are arguments too: `x -> to(float32)`.
_RESERVED = frozenset({"_", *NEVER_NAMES, *map(str, DType)})
_NOT_IDENTIFIER = re.compile(r"[^0-9A-Za-z_]+")
_NAME = re.compile(r"[A-Za-z_][0-9A-Za-z_]*")


@lru_cache(maxsize=4096)
def identifier(text: str) -> str:
    """The text as a name that a printed graph can use and parse back."""
    name = _NOT_IDENTIFIER.sub("_", text).strip("_") or "value"
    return name if name not in _RESERVED and _NAME.fullmatch(name) else f"_{name}"


class ValueNames:
    """The names that the values of a model have so far, its bodies included."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)
        self._counters: dict[str, int] = {}

    @staticmethod
    def of(graph: Graph) -> ValueNames:
        """Those of a graph, and its dimensions'."""
        names = ValueNames(symbol.name for symbol in graph.symbols)
        for each in graphs(graph):
            names.taken.update(value.name for value in each.inputs)
            names.taken.update(result.name for node in each.nodes for result in node.results)
        return names

    def unique(self, wish: str) -> str:
        """``wish`` as an identifier that no other value has, or with the first number that makes it one."""
        wish = identifier(wish)
        name = wish
        while name in self.taken:
            self._counters[wish] = self._counters.get(wish, 0) + 1
            name = f"{wish}_{self._counters[wish]}"
        self.taken.add(name)
        return name
