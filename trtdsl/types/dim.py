"""Symbolic dimensions: exact integer arithmetic in a normal form.

A dimension that is constant is a plain ``int``; anything else is a :class:`SymbolicDim`, an integer
polynomial over atoms.  An atom is a :class:`Symbol`, or a floor division, minimum or maximum that the
normal form could not resolve: ``(H - 1) // 2 + 1`` is the one atom ``(H + 1) // 2``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from operator import floordiv, mul
from typing import Final, TypeAlias

import msgspec

from trtdsl.types.monomials import (
    atom_key,
    common_factor,
    monomial_order,
    monomial_product,
    monomial_quotient,
)

# Questions about at most this many points are answered by trying them all (a few milliseconds).
ENUMERATION_LIMIT = 4096
# Results kept per question; a graph of 20,000 nodes has a few hundred different dimensions.
CACHE_SIZE = 1 << 16


class Symbol(msgspec.Struct, frozen=True, dict=True):
    """A declared dynamic dimension; the same symbol only where name and range all agree."""

    name: str
    minimum: int
    optimum: int
    maximum: int
    step: int = 1
    """only multiples of it are in range; as an atom of a dimension the symbol is the size divided by it"""

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.optimum <= self.maximum:
            raise ValueError(
                f"the range of {self.name} must be 0 <= min <= opt <= max, "
                f"not {self.minimum} .. {self.optimum} .. {self.maximum}"
            )
        sizes = (self.minimum, self.optimum, self.maximum)
        if self.step < 1 or any(size % self.step for size in sizes):
            raise ValueError(f"min, opt and max of {self.name} must be multiples of its step {self.step}")

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def key(self) -> tuple[int, str]:
        # N is torch's name of the batch and is read first: N * H * W.
        first = " " if self.name == "N" else ""
        return 0, f"{first}{self.name} {self.minimum} {self.optimum} {self.maximum} {self.step}"

    def __str__(self) -> str:
        return self.name

    def steps(self, size: int) -> int:
        """How many steps a size is; ValueError if it is not a multiple."""
        if size % self.step:
            raise ValueError(f"{self} is {size}, which is not a multiple of {self.step}")
        return size // self.step


class FloorDiv(msgspec.Struct, frozen=True, dict=True):
    """``numerator // divisor``, the divisor positive over the whole range, nothing left to pull out."""

    numerator: Dim
    divisor: Dim

    @cached_property
    def key(self) -> tuple[int, str]:
        return 1, f"({sort_key(self.numerator)}) // ({sort_key(self.divisor)})"

    def __str__(self) -> str:
        return f"{_operand(self.numerator)} // {_operand(self.divisor)}"


class MinMax(msgspec.Struct, frozen=True, dict=True):
    """``min(left, right)`` or ``max(left, right)`` where the range decides neither."""

    function: Callable[[int, int], int]
    left: Dim
    right: Dim

    @cached_property
    def key(self) -> tuple[int, str]:
        return 2, f"{self.function.__name__}({sort_key(self.left)}, {sort_key(self.right)})"

    def __str__(self) -> str:
        return f"{self.function.__name__}({self.left}, {self.right})"


def beside_step(size: int, step: int) -> str:
    """As a line of help, the multiples of a step that a size lies between; nothing where it is one."""
    below = size // step * step
    return f"the nearest sizes are {below} and {below + step}" if size % step else ""


class SymbolicDim:
    """A dimension that is not constant: an integer polynomial over atoms, in normal form.

    Arithmetic with ``+ - * // %`` gives a plain int where the result is constant.  ``==`` is equality of
    the normal forms and never true of an int; :func:`equal`, :func:`less` and :func:`less_equal` answer
    for all values in range.
    """

    __slots__ = ("_hash", "_text", "by_monomial")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.by_monomial: Final = terms
        self._hash: int | None = None
        self._text = ""

    @property
    def terms(self) -> tuple[tuple[int, Monomial], ...]:
        """Coefficient and atoms of each term, leading term first, the constant (if any) last."""
        return tuple(
            (self.by_monomial[monomial], monomial)
            for monomial in sorted(self.by_monomial, key=monomial_order)
        )

    def __add__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        terms = dict(self.by_monomial)
        for monomial, coefficient in terms_of(other).items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _dim(terms)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return SymbolicDim({monomial: -coefficient for monomial, coefficient in self.by_monomial.items()})

    def __sub__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    def __mul__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        terms: dict[Monomial, int] = {}
        for left, a in self.by_monomial.items():
            for right, b in terms_of(other).items():
                monomial = monomial_product(left, right)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _dim(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return _floor_divide(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return _floor_divide(other, self)

    def __mod__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return self - other * (self // other)

    def __rmod__(self, other: int) -> Dim:
        return other - self * (other // self)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, SymbolicDim) and self.by_monomial == other.by_monomial)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.by_monomial.items()))
        return self._hash

    def __bool__(self) -> bool:
        raise TypeError(f"whether {self} is zero is a question for trtdsl.types.equal")

    def __reduce__(self) -> tuple[type[SymbolicDim], tuple[Mapping[Monomial, int]]]:
        # The cached hash must not travel: string hashes differ between processes.
        return SymbolicDim, (self.by_monomial,)

    def __str__(self) -> str:
        if not self._text:
            self._text = self._written()
        return self._text

    def _written(self) -> str:
        # A leading minus is harder to read than the same sum with a positive term first.
        terms = list(self.terms)
        first = next((i for i, (coefficient, _) in enumerate(terms) if coefficient > 0), 0)
        text = _term_text(*terms.pop(first))
        for coefficient, monomial in terms:
            text += f" {'+' if coefficient > 0 else '-'} {_term_text(abs(coefficient), monomial)}"
        return text

    __repr__ = __str__


Atom: TypeAlias = Symbol | FloorDiv | MinMax
Dim: TypeAlias = int | SymbolicDim
# A product of atoms in the order of their keys, a repeated atom for a power; () is the constant 1.
Monomial: TypeAlias = tuple[Atom, ...]


def symbol(name: str, minimum: int, optimum: int, maximum: int, step: int = 1) -> SymbolicDim:
    """The dimension ``dim name = minimum .. optimum .. maximum, step = step``.

    It is ``step`` times its atom, so that the normal form knows what divides it. ValueError for an impossible
    range.
    """
    return SymbolicDim({(Symbol(name, minimum, optimum, maximum, step),): step})


def symbols(dim: Dim) -> frozenset[Symbol]:
    """The symbols that the value depends on, also inside divisions."""
    return frozenset(_reads(dim))


def bounds(dim: Dim) -> tuple[int, int]:
    """An interval that holds every value over the declared ranges.

    It is exact where each symbol is read once or the ranges have at most ``ENUMERATION_LIMIT`` points.
    """
    return (dim, dim) if isinstance(dim, int) else _bounds(dim)


def product(dims: Iterable[Dim]) -> Dim:
    """The product, 1 for no dimensions."""
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def divide_exact(dividend: Dim, divisor: Dim) -> Dim | None:
    """The polynomial q with ``dividend == divisor * q``, or None; the divisor is assumed to be non-zero."""
    if isinstance(divisor, int) and divisor == 0:
        return None
    quotient, rest = _split(dividend, divisor)
    return quotient if isinstance(rest, int) and rest == 0 else None


# --- Polynomials -------------------------------------------------------------------------------------------


def _is_dim(value: object) -> bool:
    return isinstance(value, int | SymbolicDim)


def of_atom(atom: Atom) -> SymbolicDim:
    return SymbolicDim({(atom,): 1})


def terms_of(dim: Dim) -> Mapping[Monomial, int]:
    return {(): dim} if isinstance(dim, int) else dim.by_monomial


def _dim(terms: Mapping[Monomial, int]) -> Dim:
    """The dimension of terms that may include zero ones."""
    nonzero = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
    if not nonzero:
        return 0
    if len(nonzero) == 1 and () in nonzero:
        return nonzero[()]
    return SymbolicDim(nonzero)


def sort_key(dim: Dim) -> str:
    """A text that tells any two dimensions apart (str() does not: equal names may have other ranges)."""
    if isinstance(dim, int):
        return str(dim)
    return " + ".join(f"{c} * {[atom.key for atom in monomial]}" for c, monomial in dim.terms)


def _split(dividend: Dim, divisor: Dim) -> tuple[Dim, Dim]:
    """Polynomial division: ``dividend == quotient * divisor + rest``.

    The rest is the same for every dividend that differs by a multiple of the divisor.
    """
    lead = min(terms_of(divisor), key=monomial_order)
    lead_coefficient = terms_of(divisor)[lead]
    quotient: Dim = 0
    rest: dict[Monomial, int] = {}
    while isinstance(dividend, SymbolicDim) or dividend != 0:
        monomial = min(terms_of(dividend), key=monomial_order)
        coefficient = terms_of(dividend)[monomial]
        factor = monomial_quotient(monomial, lead)
        whole = 0 if factor is None else coefficient // lead_coefficient
        if factor is not None and whole:
            part = _dim({factor: whole})
            quotient = quotient + part
            dividend = dividend - part * divisor
        kept = coefficient - whole * lead_coefficient
        if kept:
            rest[monomial] = kept
            dividend = dividend - _dim({monomial: kept})
    return quotient, _dim(rest)


@lru_cache(maxsize=CACHE_SIZE)
def _floor_divide(dividend: Dim, divisor: Dim) -> Dim:
    if isinstance(divisor, int) and divisor == 0:
        raise ZeroDivisionError(f"{dividend} // 0")
    quotient, rest = _split(dividend, divisor)
    if isinstance(rest, int) and rest == 0:
        return quotient
    low, high = bounds(divisor)
    if low <= 0 <= high:
        raise ZeroDivisionError(f"{dividend} // {_operand(divisor)}, which may be zero")
    if high < 0:
        return _floor_divide(-dividend, -divisor)
    return quotient + _floor_divide_rest(rest, divisor)


def _floor_divide_rest(rest: Dim, divisor: Dim) -> Dim:
    """``rest // divisor`` for a positive divisor and a rest that holds no multiple of it."""
    low, high = _quotient_bounds(bounds(rest), bounds(divisor))
    if low == high:
        return low
    for scale in _common_scales(rest, divisor):
        multiple = _dim({m: c for m, c in terms_of(rest).items() if m and c % scale == 0})
        low, high = (end // scale for end in bounds(rest - multiple))
        if low == high:
            # floor((g*p + r) / (g*d)) = floor((p + floor(r / g)) / d)
            return _floor_divide(_scaled_down(multiple, scale) + low, _scaled_down(divisor, scale))
    factor = common_factor([*terms_of(rest), *terms_of(divisor)])
    if factor:
        return _floor_divide(_without_factor(rest, factor), _without_factor(divisor, factor))
    inner = _nested_division(rest, divisor)
    if inner is not None:
        # floor((floor(x / a) + p) / b) = floor((x + a*p) / (a*b))
        others = rest - of_atom(inner)
        return _floor_divide(inner.numerator + inner.divisor * others, inner.divisor * divisor)
    return of_atom(FloorDiv(rest, divisor))


def _nested_division(rest: Dim, divisor: Dim) -> FloorDiv | None:
    """A term of the rest that is a division of its own.

    One that the divisor holds too is left: multiples of the divisor would bring it back for ever.
    """
    held = {atom for monomial in terms_of(divisor) for atom in monomial}
    for monomial in sorted(terms_of(rest), key=monomial_order):
        match monomial:
            case (FloorDiv() as inner,) if terms_of(rest)[monomial] == 1 and inner not in held:
                return inner
            case _:
                continue
    return None


def _common_scales(rest: Dim, divisor: Dim) -> list[int]:
    """The integers above 1 that divide the divisor and some terms of the rest, largest first."""
    scales = {math.gcd(*terms_of(divisor).values())}
    for monomial, coefficient in terms_of(rest).items():
        if monomial:
            scales |= {math.gcd(scale, coefficient) for scale in scales}
    return sorted(scales - {1}, reverse=True)


def _scaled_down(dim: Dim, scale: int) -> Dim:
    return _dim({monomial: coefficient // scale for monomial, coefficient in terms_of(dim).items()})


def _without_factor(dim: Dim, factor: Monomial) -> Dim:
    return _split(dim, _dim({factor: 1}))[0]


# --- Values ------------------------------------------------------------------------------------------------


def _reads(dim: Dim) -> Iterator[Symbol]:
    """Each symbol as often as the expression reads it."""
    for monomial in terms_of(dim):
        for atom in monomial:
            match atom:
                case Symbol():
                    yield atom
                case FloorDiv(left, right) | MinMax(_, left, right):
                    yield from _reads(left)
                    yield from _reads(right)


@lru_cache(maxsize=CACHE_SIZE)
def _bounds(dim: SymbolicDim) -> tuple[int, int]:
    reads = list(_reads(dim))
    if len(reads) == len(set(reads)):
        return _interval(dim)
    points = every_value(dim)
    if points is not None:
        return min(points), max(points)
    (low, high), (relaxed_low, relaxed_high) = _interval(dim), _relaxed_bounds(dim)
    return max(low, relaxed_low), min(high, relaxed_high)


def _interval(dim: SymbolicDim) -> tuple[int, int]:
    """Interval arithmetic: exact where no symbol is read twice."""
    low = high = 0
    for monomial, coefficient in dim.by_monomial.items():
        ends = (coefficient, coefficient)
        for atom in monomial:
            ends = _corners(mul, ends, _atom_bounds(atom))
        low += ends[0]
        high += ends[1]
    return low, high


def _relaxed_bounds(dim: SymbolicDim) -> tuple[int, int]:
    """Bounds with a ``n // k`` taken as ``(n - r) / k``, 0 <= r < k, so that n can cancel other terms."""
    for coefficient, monomial in dim.terms:
        for i, atom in enumerate(monomial):
            match atom:
                case FloorDiv(numerator, int(k)):
                    others = _dim({monomial[:i] + monomial[i + 1 :]: coefficient})
                    scaled = (dim - others * of_atom(atom)) * k + others * numerator
                    low, high = bounds(scaled)
                    slack_low, slack_high = _corners(mul, bounds(others), (0, k - 1))
                    return -((slack_high - low) // k), (high - slack_low) // k
                case _:
                    continue
    return _interval(dim)


def _corners(
    function: Callable[[int, int], int], left: tuple[int, int], right: tuple[int, int]
) -> tuple[int, int]:
    """The range of a function that is monotone in each argument."""
    values = [function(a, b) for a in left for b in right]
    return min(values), max(values)


def _quotient_bounds(dividend: tuple[int, int], divisor: tuple[int, int]) -> tuple[int, int]:
    return _corners(floordiv, dividend, divisor)


def _atom_bounds(atom: Atom) -> tuple[int, int]:
    match atom:
        case Symbol():
            return atom.minimum // atom.step, atom.maximum // atom.step
        case FloorDiv(numerator, divisor):
            return _quotient_bounds(bounds(numerator), bounds(divisor))
        case MinMax(function, left, right):
            return _corners(function, bounds(left), bounds(right))


def values_at(dim: Dim, grid: Mapping[Symbol, Sequence[int]], length: int) -> list[int]:
    """The values at many points at once: one entry of each symbol's sequence, in its steps, is one point."""
    total = [0] * length
    for monomial, coefficient in terms_of(dim).items():
        values = [coefficient] * length
        for atom in monomial:
            values = list(map(mul, values, _atom_column(atom, grid, length)))
        total = [a + b for a, b in zip(total, values, strict=True)]
    return total


def _atom_column(atom: Atom, grid: Mapping[Symbol, Sequence[int]], length: int) -> Sequence[int]:
    match atom:
        case Symbol():
            return grid[atom]
        case FloorDiv(left, right):
            function = floordiv
        case MinMax(function, left, right):
            pass
    return list(map(function, values_at(left, grid, length), values_at(right, grid, length)))


def every_value(dim: Dim) -> list[int] | None:
    """The values over all of the range, or None where that is more than ``ENUMERATION_LIMIT`` points."""
    ordered = sorted(symbols(dim), key=atom_key)
    ranges = [range(symbol.minimum // symbol.step, symbol.maximum // symbol.step + 1) for symbol in ordered]
    length = math.prod(map(len, ranges))
    if length > ENUMERATION_LIMIT:
        return None
    columns = zip(*itertools.product(*ranges), strict=True)
    return values_at(dim, dict(zip(ordered, columns, strict=True)), length)


# --- Text --------------------------------------------------------------------------------------------------


def _term_text(coefficient: int, monomial: Monomial) -> str:
    if not monomial:
        return str(coefficient)
    texts: list[str] = []
    for atom in monomial:
        text, coefficient = _atom_text(atom, coefficient)
        texts.append(text)
    if coefficient == 1 and len(texts) == 1:
        return texts[0]
    factors = [
        f"({text})" if _divides(atom, text) else text for atom, text in zip(monomial, texts, strict=True)
    ]
    if coefficient == -1:
        return "-" + " * ".join(factors)
    return " * ".join(factors if coefficient == 1 else [str(coefficient), *factors])


def _atom_text(atom: Atom, coefficient: int) -> tuple[str, int]:
    """An atom with as much of its coefficient as it takes, and the rest: 32 times the atom of step 32 is `H`,
    16 times it is `H // 2`."""
    if not isinstance(atom, Symbol) or atom.step == 1:
        return str(atom), coefficient
    taken = math.gcd(coefficient, atom.step)
    text = atom.name if taken == atom.step else f"{atom.name} // {atom.step // taken}"
    return text, coefficient // taken


def _divides(atom: Atom, text: str) -> bool:
    return isinstance(atom, FloorDiv) or (isinstance(atom, Symbol) and text != atom.name)


def _operand(dim: Dim) -> str:
    """The text as an operand of ``//``."""
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    (coefficient, monomial), *others = dim.terms
    text = str(dim)
    whole = not others and len(monomial) == 1 and (coefficient == 1 or text.isidentifier())
    return text if whole and not _divides(monomial[0], text) else f"({text})"
