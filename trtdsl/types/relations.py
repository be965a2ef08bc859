"""Comparisons of dimensions: answered for the whole declared range, or refused.

``less(H, 513)`` is True with H in 32 .. 512, ``less(H, 32)`` is False, ``less(H, 100)`` raises Undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from trtdsl.types.dim import (
    CACHE_SIZE,
    Atom,
    Dim,
    FloorDiv,
    MinMax,
    Symbol,
    bounds,
    every_value,
    of_atom,
    sort_key,
    symbol,
    symbols,
    terms_of,
)


class Undecided(Exception):
    """A question about dimensions whose answer differs within the range, or is out of reach."""

    def __init__(self, left: Dim, right: Dim, relation: str) -> None:
        names = sorted(symbol.name for symbol in symbols(left) | symbols(right))
        super().__init__(f"whether {relation.format(left, right)} depends on {' and '.join(names)}")
        self.left = left
        self.right = right


def equal(left: Dim, right: Dim) -> bool:
    """Whether two dimensions are equal for all values in range (True) or for none (False).

    Raises Undecided otherwise, and where several symbols with large ranges leave it open.
    """
    if left == right:
        return True
    answer = _is_zero(left - right)
    if answer is None:
        raise Undecided(left, right, "{} and {} are equal")
    return answer


def less(left: Dim, right: Dim) -> bool:
    """Whether ``left < right`` for all values in range (True) or for none (False), else Undecided."""
    low, high = bounds(right - left)
    if low > 0:
        return True
    if high <= 0:
        return False
    raise Undecided(left, right, "{} is less than {}")


def less_equal(left: Dim, right: Dim) -> bool:
    """Whether ``left <= right`` for all values in range (True) or for none (False), else Undecided."""
    low, high = bounds(right - left)
    if low >= 0:
        return True
    if high < 0:
        return False
    raise Undecided(left, right, "{} is at most {}")


def minimum(left: Dim, right: Dim) -> Dim:
    """The smaller dimension where the range decides, else the atom ``min(left, right)``."""
    return _extreme(min, left, right)


def maximum(left: Dim, right: Dim) -> Dim:
    """The larger dimension where the range decides, else the atom ``max(left, right)``."""
    return _extreme(max, left, right)


def within(dim: Dim, ranges: Mapping[str, tuple[int, int, int]]) -> Dim:
    """The same expression, of symbols with these ranges: minimum, optimum and maximum by name."""
    total: Dim = 0
    for monomial, coefficient in terms_of(dim).items():
        term: Dim = coefficient
        for atom in monomial:
            term = term * _atom_within(atom, ranges)
        total = total + term
    return total


def _atom_within(atom: Atom, ranges: Mapping[str, tuple[int, int, int]]) -> Dim:
    match atom:
        case Symbol(name=name):
            return symbol(name, *ranges[name])
        case FloorDiv(left, right):
            return within(left, ranges) // within(right, ranges)
        case MinMax(function, left, right):
            return _extreme(function, within(left, ranges), within(right, ranges))


@lru_cache(maxsize=CACHE_SIZE)
def _is_zero(dim: Dim) -> bool | None:
    """True or False where it holds for all of the range, None where it does not or is not known."""
    low, high = bounds(dim)
    if low == high == 0:
        return True
    if low > 0 or high < 0:
        return False
    constant = terms_of(dim).get((), 0)
    if constant % math.gcd(*terms_of(dim - constant).values()):
        return False
    values = every_value(dim)
    return None if values is None or 0 in values else False


def _extreme(function: Callable[[int, int], int], left: Dim, right: Dim) -> Dim:
    if isinstance(left, int) and isinstance(right, int):
        return function(left, right)
    low, high = bounds(right - left)
    if low >= 0 or high <= 0:
        return left if (low >= 0) == (function is min) else right
    left, right = sorted((left, right), key=lambda dim: (isinstance(dim, int), sort_key(dim)))
    return of_atom(MinMax(function, left, right))
