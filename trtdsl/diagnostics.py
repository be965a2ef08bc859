"""Where a mistake is and what is said about it.

In: a :class:`Span` of a :class:`Source` and words.  Out: the text a user reads::

    error: unknown name `rleu`, did you mean `relu`?
      --> cnn.trtnet:4:17
       |
     4 |   x = data -> rleu
       |               ^^^^
"""

from __future__ import annotations

import bisect
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]


class Source(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One file's text; ``name`` is how the user called it."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """1-based line and column (in characters) of an offset."""
        line = bisect.bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its end."""
        start = self.line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


class Span(msgspec.Struct, frozen=True, gc=False):
    """Characters ``start`` to ``end`` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def until(self, end: int) -> Span:
        """From the same start to another end."""
        return Span(self.source, self.start, end)

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"


class Origin(msgspec.Struct, frozen=True):
    """A place that took part, and what was true there: "placed here with i = 2".

    What a program made has no place in a text: then ``text`` names what it was made from.
    """

    span: Span | None
    text: str = ""

    @staticmethod
    def made_from(name: str) -> Origin:
        """The origin of what has no text."""
        return Origin(None, name)

    @property
    def source(self) -> str:
        """``file:line:column``, or what it was made from."""
        return str(self.span) if self.span else self.text


class Diagnostic(msgspec.Struct, frozen=True):
    """One mistake.

    ``label`` stands under the caret, ``origins`` are further places (innermost first),
    ``help`` are lines of advice below. ``span`` is None for what has no place in a text,
    such as a file that cannot be opened.
    """

    message: str
    span: Span | None = None
    label: str = ""
    origins: tuple[Origin, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"

    @staticmethod
    def at(message: str, origins: Sequence[Origin], help: tuple[str, ...] = ()) -> Diagnostic:
        """A mistake at the first of these origins, the others below."""
        first, *others = origins or (None,)
        if first is None:
            return Diagnostic(message, help=help)
        if first.span is None:
            return Diagnostic(message, origins=(first, *(each for each in others if each)), help=help)
        return Diagnostic(message, first.span, first.text, tuple(each for each in others if each), help)

    def __str__(self) -> str:
        return render(self)


class DiagnosticError(Exception):
    """Raised with every mistake that was found; never a traceback for the user."""

    exit_code = 1
    """what the command line exits with: the model or its weights are wrong"""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


class UsageError(DiagnosticError):
    """The command was wrong, not the model: an unknown option value, an output that cannot be written."""

    exit_code = 2


class RefusedByTensorRT(DiagnosticError):
    """TensorRT would not have the network, or is not there."""

    exit_code = 3


class Cancelled(Exception):
    """The user interrupted; nothing was left behind."""


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and halves of characters: from files that
nobody vouches for they would command the terminal, or show another text than there is."""


def cannot_read(path: object, why: BaseException | str, *help: str) -> UsageError:
    """The error about a file that cannot be read, in the words that all files have::

        error: cannot read `cnn.pth`: no such file

    ``why`` is what reading it raised, or the reason in words.
    """
    return UsageError(Diagnostic(f"cannot read `{path}`: {reason_of(why)}", help=help))


def reason_of(error: BaseException | str) -> str:
    """Why a file cannot be read or written: ``no such file``, ``permission denied``."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def render(diagnostic: Diagnostic) -> str:
    """The plain text of a diagnostic, without a final newline."""
    lines = [f"{diagnostic.severity}: {diagnostic.message}"]
    places = [(Origin(diagnostic.span, diagnostic.label), "^")] if diagnostic.span else []
    places += [(origin, "-") for origin in diagnostic.origins]
    width = max([2, *(len(str(place.span.line)) for place, _ in places if place.span)]) if places else 1
    for index, (place, mark) in enumerate(places):
        arrow = "-->" if index == 0 else ":::"
        lines += _excerpt(place.span, place.text, mark, width, arrow) if place.span else _made(place, width)
    lines += [f"{' ' * width} = help: {text}" for text in diagnostic.help]
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", "\n".join(lines))


def _made(origin: Origin, width: int) -> Iterable[str]:
    yield f"{' ' * width} = made from {origin.text}"


def _excerpt(span: Span, note: str, mark: str, width: int, arrow: str) -> Iterable[str]:
    """The place's path, its source line and the marks under it."""
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    length = max(1, min(span.end - span.start, len(text) - column + 1))
    if len(text) > _LONGEST_LINE:
        text, column, length = _cut(text, column, length)
    before = "".join("\t" if char == "\t" else " " for char in text[: column - 1])
    gutter = " " * width
    yield f"{gutter}{arrow} {span}"
    yield f"{gutter} |"
    yield f"{line:>{width}} | {text}"
    yield f"{gutter} | {before}{mark * length} {note}".rstrip()


_LONGEST_LINE = 300
"""Characters of a source line that are shown whole."""


def _cut(text: str, column: int, length: int) -> tuple[str, int, int]:
    """A long line around a place, which is cut too, with the place's new column and length."""
    start = max(0, column - 1 - _LONGEST_LINE // 2)
    end = min(len(text), start + _LONGEST_LINE)
    before, behind = "… " if start else "", " …" if end < len(text) else ""
    column = column - start + len(before)
    return f"{before}{text[start:end]}{behind}", column, min(length, end - start - (column - len(before)) + 1)


_CUTOFF = 0.7
_MOST_GUESSES = 3


def counted(count: int, what: str) -> str:
    """``1 key``, ``3 keys``."""
    return f"{count} {what if count == 1 else what + 's'}"


def did_you_mean(word: str, known: Iterable[str], others: Mapping[str, str] = {}) -> str:
    """``, did you mean `x`?`` with the nearest known words, or nothing.

    ``others`` are names that a known word has elsewhere, in capitals or not.
    """
    known = tuple(known)
    other = others.get(word, others.get(word.lower()))
    found = [f"`{name}`" for name in ([other] if other in known else _nearest(word, known, _CUTOFF))]
    if not found or len(found) > _MOST_GUESSES:
        return ""
    return f", did you mean {' or '.join([', '.join(found[:-1]), found[-1]] if found[1:] else found)}?"


def nearest(word: str, known: Iterable[str], cutoff: float = _CUTOFF) -> str | None:
    """The known word most like ``word``, or None where none is near."""
    return next(iter(_nearest(word, known, cutoff)), None)


def _nearest(word: str, known: Iterable[str], cutoff: float) -> Sequence[str]:
    """All known words that are equally like ``word``, where that is near enough."""
    candidates = sorted({*known} - {word})
    folded = [candidate for candidate in candidates if candidate.lower() == word.lower()]
    if folded:
        return folded
    close = difflib.get_close_matches(word, candidates, n=_MOST_GUESSES + 1, cutoff=cutoff)
    close = close or [name for name in candidates if _abbreviates(word, name)]
    scores = {name: difflib.SequenceMatcher(None, name, word).ratio() for name in close}
    best = max(scores.values(), default=0)
    return [name for name in sorted(close) if scores[name] == best]


def _abbreviates(word: str, name: str) -> bool:
    """Whether a word has letters of each part of a name, in order and from its first on: ``fold_bn``."""
    parts = [re.escape(part[0]) + "".join(f"{re.escape(c)}?" for c in part[1:]) for part in _parts(name)]
    return len(word) > 3 and re.fullmatch("_*".join(parts), word) is not None


def _parts(name: str) -> list[str]:
    return [part for part in name.split("_") if part]
