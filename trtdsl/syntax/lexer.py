"""Text → tokens and comments.

The token kinds are the grammar's terminals. A word has the strongest kind it can have (``dim`` is
``DIM``); the parser takes it for a name, by :attr:`Lexicon.alternatives`, where no keyword can stand.
That is what lark's contextual lexer does, told the other way round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from trtdsl.diagnostics import Source, Span
from trtdsl.syntax.tables import END, Tables, tables
from trtdsl.syntax.tree import Comment

ERROR = "ERROR"
"""The kind of what is no token; the parser stumbles over it and says why."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Parallel lists, the fastest layout in Python; the last token is the end of the text."""

    source: Source
    kinds: list[str]
    starts: list[int]
    ends: list[int]

    def text(self, index: int) -> str:
        return self.source.text[self.starts[index] : self.ends[index]]

    def span(self, index: int) -> Span:
        return Span(self.source, self.starts[index], self.ends[index])


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The terminals, ready to scan with."""

    scanner: re.Pattern[str]
    literals: dict[str, str]
    name: re.Pattern[str]
    alternatives: dict[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    return _lexicon(tables())


def _lexicon(found: Tables) -> Lexicon:
    keywords = [text for text in found.literals if text.isidentifier()]
    marks = sorted(found.literals.keys() - {*keywords}, key=len, reverse=True)
    groups = {
        "comment": found.patterns["COMMENT"],
        "name": found.patterns["NAME"],
        "word": found.patterns["WORD"],
        "mark": "|".join(map(re.escape, marks)),
        "string": found.patterns["STRING"],
        "scientific": found.patterns["SCIENTIFIC"],
        "decimal": found.patterns["DECIMAL"],
        "integer": found.patterns["INTEGER"],
        "error": rf"\"[^\n]*|[0-9][A-Za-z0-9_]*|(?!{found.patterns['BLANK']})[\s\S]",
    }
    alternatives = "|".join(f"(?P<{name}>{pattern})" for name, pattern in groups.items())
    name = re.compile(found.patterns["NAME"])
    return Lexicon(
        scanner=re.compile(f"(?:{found.patterns['BLANK']})?(?:{alternatives})"),
        literals=found.literals,
        name=name,
        alternatives={
            "NAME": ("WORD",),
            **{found.literals[w]: ("NAME", "WORD") if name.fullmatch(w) else ("WORD",) for w in keywords},
        },
    )


def scan(source: Source, start: int = 0, end: int | None = None) -> tuple[Tokens, list[Comment]]:
    """The tokens and comments between two offsets; a mark of byte order at the start is skipped."""
    words = lexicon()
    text, literals = source.text, words.literals
    end = len(text) if end is None else end
    start += text.startswith("\ufeff", start, start + 1) and start == 0
    kinds: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    comments: list[Comment] = []
    position, kind = start, ""
    while match := words.scanner.match(text, position, end):
        group = match.lastgroup or ERROR
        first, position = match.span(group)
        if group == "comment":
            comments.append(_comment(source, first, position))
            continue
        if group in ("name", "word"):
            kind = literals.get(text[first:position], group.upper())
        elif group == "mark":
            kind = literals[text[first:position]]
        elif kind == "DOT" and group in ("decimal", "scientific"):
            kind, position = _path_part(text, first, position)
        else:
            kind = group.upper()
        kinds.append(kind)
        starts.append(first)
        ends.append(position)
    stop = ends[-1] if ends else start
    return Tokens(source, [*kinds, END], [*starts, stop], [*ends, stop]), comments


def _path_part(text: str, start: int, end: int) -> tuple[str, int]:
    """After a dot ``0.1`` is no float: the part ``0``, then the rest."""
    whole = text[start:end].partition(".")[0]
    return ("INTEGER", start + len(whole)) if whole.isdigit() else (ERROR, end)


def _comment(source: Source, start: int, end: int) -> Comment:
    text = source.text[start:end].rstrip()
    before = source.text[source.text.rfind("\n", 0, start) + 1 : start]
    return Comment(Span(source, start, start + len(text)), text, bool(before.strip(" \t\r\f\ufeff")))
