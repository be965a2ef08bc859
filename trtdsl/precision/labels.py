"""Patterns over the labels of layers, as `--keep` and `--allow` have them.

A layer that another was folded into has both labels, ``conv1+bn1``; a pattern for either is one for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def parts(label: str) -> Sequence[str]:
    """A label, and those that it was put together of."""
    return tuple(dict.fromkeys((label, *label.split("+"))))


def matching(names: Iterable[str], patterns: Sequence[str]) -> str | None:
    """The first of the patterns that a name, or a part of one, is like."""
    every = [part for name in names if name for part in parts(name)]
    return next((pattern for pattern in patterns if any(fnmatchcase(each, pattern) for each in every)), None)
