"""Patterns over the labels of layers, as `--keep` and `--allow` have them.

A layer that another was folded into has both labels, ``conv1+bn1``; a pattern for either is one for it.
A pattern is one for what is below it too: ``body`` and ``body.*`` both are for ``body`` and ``body.0``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean

_MOST_LISTED = 8


def components(label: str) -> Sequence[str]:
    """The labels that one was put together of, in the order in which they compute; itself where of none."""
    return label.split("+")


def parts(label: str) -> Sequence[str]:
    """A label, and those that it was put together of."""
    return tuple(dict.fromkeys((label, *components(label))))


def matching(names: Iterable[str], patterns: Sequence[str]) -> str | None:
    """The first of the patterns that a name, or a part of one, is like."""
    every = [part for name in names if name for part in parts(name)]
    return next((pattern for pattern in patterns if any(_is_for(pattern, each) for each in every)), None)


INSIDE = {
    "scaled_dot_product_attention": ("softmax", "matmul"),
    "MultiheadAttention": ("softmax", "matmul", "scaled_dot_product_attention"),
}
"""Operators that others compute within, under no name of their own."""


def require_match(option: str, patterns: Sequence[str], names: Collection[str], lacking: str) -> None:
    """Refuse patterns that none of the names is like; ``lacking`` says what they do not match."""
    for pattern in patterns:
        if matching(names, [pattern]) is None:
            raise UsageError(_unmatched(option, pattern, names, lacking))


def _unmatched(option: str, pattern: str, names: Collection[str], lacking: str) -> Diagnostic:
    for outer, within in INSIDE.items():
        if outer in names and (inner := next((each for each in within if _is_for(pattern, each)), None)):
            text = f"`{option}='{pattern}'`: `{inner}` is computed within `{outer}` here"
            written = "write it out" if outer == "MultiheadAttention" else "add `--skip recognise_attention`"
            help = f"give `{option}='{outer}'` for the whole of it, or {written}, for `{inner}` alone"
            return Diagnostic(text, help=(help,))
    guess = did_you_mean(pattern, names)
    help = () if guess else (f"what it can match: {_listed(names)}",)
    return Diagnostic(f"`{option}='{pattern}'`: it matches {lacking}{guess}", help=help)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in sorted(names)[:_MOST_LISTED])
    return f"{shown} and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else shown


def _is_for(pattern: str, name: str) -> bool:
    return any(fnmatchcase(name, each) for each in (pattern, f"{pattern}.*", pattern.removesuffix(".*")))
