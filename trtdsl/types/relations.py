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
    symbols,
    terms_of,
)


class Undecided(Exception):
    """A question about dimensions whose answer differs within the range, or is out of reach."""

    def __init__(self, left: Dim, right: Dim, relation: str) -> None:
        self.symbols = sorted(symbols(left) | symbols(right), key=lambda symbol: symbol.name)
        names = " and ".join(symbol.name for symbol in self.symbols)
        super().__init__(f"whether {relation.format(left, right)} depends on {names}")
        self.left = left
        self.right = right

    @property
    def help(self) -> str:
        """The step of a dimension that would make the two equal, where there is one."""
        found = deciding_step(self.left, self.right)
        if found is None:
            return ""
        name, step = found
        declared = f"`dim {name} = min .. opt .. max, step = {step}`"
        return f"if `{name}` only takes multiples of {step}, say so: {declared}"


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


def surely(relation: Callable[[Dim, Dim], bool], left: Dim, right: Dim) -> bool:
    """Whether a relation of these holds for all values in range; False where it is undecided."""
    try:
        return relation(left, right)
    except Undecided:
        return False


def less_equal(left: Dim, right: Dim) -> bool:
    """Whether ``left <= right`` for all values in range (True) or for none (False), else Undecided."""
    low, high = bounds(right - left)
    if low >= 0:
        return True
    if high < 0:
        return False
    raise Undecided(left, right, "{} is at most {}")


def greater(left: Dim, right: Dim) -> bool:
    """Whether ``left > right`` for all values in range (True) or for none (False), else Undecided."""
    try:
        return less(right, left)
    except Undecided:
        raise Undecided(left, right, "{} is greater than {}") from None


def greater_equal(left: Dim, right: Dim) -> bool:
    """Whether ``left >= right`` for all values in range (True) or for none (False), else Undecided."""
    try:
        return less_equal(right, left)
    except Undecided:
        raise Undecided(left, right, "{} is at least {}") from None


def minimum(left: Dim, right: Dim) -> Dim:
    """The smaller dimension where the range decides, else the atom ``min(left, right)``."""
    return _extreme(min, left, right)


def maximum(left: Dim, right: Dim) -> Dim:
    """The larger dimension where the range decides, else the atom ``max(left, right)``."""
    return _extreme(max, left, right)


def within(dim: Dim, ranges: Mapping[str, tuple[int, int, int]]) -> Dim:
    """The same expression, of symbols with these ranges: minimum, optimum and maximum by name."""
    return _mapped(dim, lambda symbol: of_atom(Symbol(symbol.name, *ranges[symbol.name], symbol.step)))


def with_sizes(dim: Dim, sizes: Mapping[str, int]) -> Dim:
    """The same expression where some symbols, by name, have a size; ValueError for one that is not a multiple
    of its step."""

    return _mapped(
        dim, lambda symbol: symbol.steps(sizes[symbol.name]) if symbol.name in sizes else of_atom(symbol)
    )


def _mapped(dim: Dim, change: Callable[[Symbol], Dim]) -> Dim:
    """The same expression with each symbol replaced."""
    total: Dim = 0
    for monomial, coefficient in terms_of(dim).items():
        term: Dim = coefficient
        for atom in monomial:
            term = term * _mapped_atom(atom, change)
        total = total + term
    return total


def _mapped_atom(atom: Atom, change: Callable[[Symbol], Dim]) -> Dim:
    match atom:
        case Symbol():
            return change(atom)
        case FloorDiv(left, right):
            return _mapped(left, change) // _mapped(right, change)
        case MinMax(function, left, right):
            return _extreme(function, _mapped(left, change), _mapped(right, change))


def deciding_step(left: Dim, right: Dim) -> tuple[str, int] | None:
    """The symbol, and the smallest step of it, that would make two dimensions equal; None without one."""
    difference = left - right
    for wanted in sorted(symbols(difference), key=lambda symbol: symbol.key):
        divisors = _divisors(difference, wanted)
        for step in range(2 * wanted.step, min(divisors, _LARGEST_STEP) + 1, wanted.step):
            if divisors % step == 0 and _in_steps(difference, wanted, step) == 0:
                return wanted.name, step
    return None


_LARGEST_STEP = 1024


def _divisors(dim: Dim, wanted: Symbol) -> int:
    """A multiple of every step that could matter: the symbol's own times what it is divided by."""
    found = wanted.step
    for monomial in terms_of(dim):
        for atom in monomial:
            match atom:
                case FloorDiv(numerator=numerator, divisor=int(divisor)) if wanted in symbols(numerator):
                    inner = _divisors(numerator, wanted)
                    found = math.lcm(found, divisor * wanted.step, inner, divisor * inner)
                case FloorDiv(numerator=left, divisor=right) | MinMax(left=left, right=right):
                    found = math.lcm(found, _divisors(left, wanted), _divisors(right, wanted))
                case _:
                    pass
    return found


def _in_steps(dim: Dim, wanted: Symbol, step: int) -> Dim:
    """The expression with a symbol of this step in another's place, whose range is cut to multiples."""
    low, best, high = (size // step * step for size in (wanted.minimum, wanted.optimum, wanted.maximum))
    atom = of_atom(Symbol(wanted.name, low, best, high, step)) * (step // wanted.step)
    return _mapped(dim, lambda symbol: atom if symbol == wanted else of_atom(symbol))


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
