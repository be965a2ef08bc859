"""Texts of the language, drawn from its grammar: every production, however odd, with odd spacing."""

from __future__ import annotations

import functools
from random import Random
from typing import Any

from hypothesis import strategies as st

from trtdsl.syntax.grammar import language, marks

SAMPLES = {
    "NAME": ["x", "y1", "_", "dim", "weights", "with", "long_name_" * 3],
    "WORD": ["x", "if", "none", "weight", "True"],
    "INTEGER": ["0", "12", "1000000"],
    "DECIMAL": ["1.5", "0.25", "10.0"],
    "SCIENTIFIC": ["1e-5", "2E3", "0.25e+2"],
    "STRING": ['"a"', '"layer{i}.{j + 1}"', r'"{{\"}}"', '""', '"# no comment"', '"' + "long " * 12 + '"'],
}
GAPS = [" "] * 12 + ["\n", "\n", "  \n\n\n  ", "\t", " # one\n", "\n  # own line\n", "\r\n", " #\n# two\n\n"]


@functools.cache
def productions() -> dict[str, list[tuple[int, list[Any]]]]:
    """The expansions of every nonterminal, each with the height of its shortest derivation, lowest first."""
    expansions: dict[str, list[list[Any]]] = {}
    for rule in language().rules:
        expansions.setdefault(str(rule.origin.name), []).append(list(rule.expansion))
    heights: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for origin, found in expansions.items():
            known = [_height(symbols, heights) for symbols in found]
            lowest = min((1 + height for height in known if height is not None), default=None)
            if lowest is not None and lowest < heights.get(origin, 10**6):
                heights[origin] = lowest
                changed = True
    return {
        origin: sorted(((_height(symbols, heights) or 0, symbols) for symbols in found), key=lambda e: e[0])
        for origin, found in expansions.items()
    }


def _height(symbols: list[Any], heights: dict[str, int]) -> int | None:
    found = [0 if symbol.is_term else heights.get(symbol.name) for symbol in symbols]
    return None if None in found else max((height for height in found if height is not None), default=0)


def derive(random: Random, size: int) -> str:
    """A file that parses, of very roughly ``size`` tokens."""
    stack: list[Any] = ["file"]
    pieces: list[str] = []
    left = size
    while stack:
        symbol = stack.pop()
        if isinstance(symbol, str) or not symbol.is_term:
            options = productions()[symbol if isinstance(symbol, str) else symbol.name]
            left -= 1
            few = [option for option in options if option[0] == options[0][0]]
            _, symbols = random.choice(options if left > 0 else few)
            stack += reversed(symbols)
            continue
        text = random.choice(SAMPLES[symbol.name]) if symbol.name in SAMPLES else marks()[symbol.name]
        pieces.append(text + random.choice(GAPS))
    return "".join(pieces)


def texts(size: int) -> st.SearchStrategy[str]:
    """Files that parse."""
    return st.builds(derive, st.randoms(use_true_random=False), st.integers(0, size))
