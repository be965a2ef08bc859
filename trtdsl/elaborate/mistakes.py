"""Mistakes on their way from the expression that makes them to the user.

A :class:`Mistake` ends its own statement only: :class:`Report` keeps it, the names that the statement
would have bound become :data:`POISON`, and whatever reads those says nothing (:class:`Poisoned`).
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin, Span

MOST_ERRORS = 20


class Mistake(Exception):
    """One mistake, on its way to the statement that reports it.

    ``around`` are the blocks around it where they are not those around that statement.
    """

    def __init__(self, diagnostic: Diagnostic, around: tuple[Origin, ...] | None = None) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
        self.around = around


class Poisoned(Exception):
    """An expression that reads a name whose definition was already reported: say nothing more."""


class _Poison:
    """The value of a name whose definition failed."""


POISON = _Poison()


def mistake(message: str, span: Span, label: str = "", *help: str) -> Mistake:
    """A mistake at a span."""
    return Mistake(Diagnostic(message, span, label, help=tuple(text for text in help if text)))


def in_terms_of(name: str, operator: str, error: Mistake) -> Mistake:
    """A mistake that speaks of what the text calls ``name``, where the operator has another name."""
    if name == operator:
        return error
    text = re.sub(rf"\b{operator}\b", name, error.diagnostic.message)
    return Mistake(replace(error.diagnostic, message=text), error.around)


def mistake_with(message: str, span: Span, label: str, other: Span, other_label: str) -> Mistake:
    """A mistake that a second place of the text has a part in."""
    return Mistake(Diagnostic(message, span, label, (Origin(other, other_label),)))


class Report:
    """The mistakes and warnings of one model, each once, however many times a loop repeats it."""

    def __init__(self) -> None:
        self.warnings: list[Diagnostic] = []
        self._errors: dict[tuple[object, ...], Diagnostic] = {}

    def __len__(self) -> int:
        """How many mistakes there are."""
        return len(self._errors)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(self._errors.values())

    def add(self, diagnostic: Diagnostic, around: tuple[Origin, ...] = ()) -> None:
        """Keep a mistake made inside the blocks ``around``; the last one allowed raises them all."""
        if around:
            diagnostic = replace(diagnostic, origins=(*diagnostic.origins, *around))
        self._errors.setdefault(_key(diagnostic), diagnostic)
        if len(self._errors) >= MOST_ERRORS:
            self.add_last(Diagnostic(f"too many mistakes; these are the first {MOST_ERRORS}"))

    def add_last(self, diagnostic: Diagnostic) -> None:
        """A mistake after which nothing can follow."""
        self._errors.setdefault(_key(diagnostic), diagnostic)
        self.raise_errors()

    def warn(self, diagnostic: Diagnostic) -> None:
        """Keep a warning."""
        if _key(diagnostic) not in map(_key, self.warnings):
            self.warnings.append(diagnostic)

    def raise_errors(self) -> None:
        """Raise :class:`DiagnosticError` with all mistakes, the warnings before them, if there are any."""
        if self._errors:
            raise DiagnosticError(*self.warnings, *self._errors.values())


def _key(diagnostic: Diagnostic) -> tuple[object, ...]:
    span = diagnostic.span
    return diagnostic.message, span and (span.source.name, span.start, span.end)
