"""Element types, symbolic dimensions and tensor types.

In: ``symbol("H", 32, 224, 512)`` and Python arithmetic.  Out: dimensions in a normal form, and answers
that hold for every value of the declared ranges::

    h = symbol("H", 32, 224, 512)
    str((h - 1) // 2 + 1)                      # "(H + 1) // 2"
    equal(((h + 1) // 2 + 1) // 2, (h + 3) // 4)    # True
    less(h, 513)                               # True
    equal(h, 2 * (h // 2))                     # Undecided: whether H and 2 * (H // 2) are equal depends on H

A dimension that is constant is a plain ``int``; anything else is a :class:`SymbolicDim`, an integer
polynomial over atoms.  An atom is a :class:`Symbol`, or a floor division, minimum or maximum that the
normal form could not resolve.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import floordiv, mul
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Questions about at most this many points are answered by trying them all (a few milliseconds).
ENUMERATION_LIMIT = 4096
# Results kept per question; a graph of 20,000 nodes has a few hundred different dimensions.
_CACHE_SIZE = 1 << 16


class DType(enum.Enum):
    """An element type; the value is its one spelling in the language."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8_e4m3fn"
    INT8 = "int8"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    BOOL = "bool"

    @property
    def is_floating(self) -> bool:
        return "float" in self.value

    @property
    def is_integer(self) -> bool:
        """Whether this is int8, int32, int64 or uint8 (bool is not an integer)."""
        return "int" in self.value

    @property
    def is_bool(self) -> bool:
        return self is DType.BOOL

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEMSIZE[self.value]

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; bfloat16 and float8_e4m3fn are those of ml_dtypes."""
        import numpy as np

        if self in (DType.BFLOAT16, DType.FLOAT8):
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, self.value))
        return np.dtype(self.value)

    @classmethod
    def of_numpy(cls, dtype: npt.DTypeLike) -> DType:
        """The element type of a numpy dtype; ValueError if the language has none for it."""
        import numpy as np

        given = np.dtype(dtype)
        if not given.isnative:
            raise ValueError(f"{given.str} is not in this machine's byte order")
        return cls(given.name)

    def __str__(self) -> str:
        return self.value


_ITEMSIZE = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "int8": 1,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "bool": 1,
}


@dataclass(frozen=True)
class Symbol:
    """A declared dynamic dimension; the same symbol only where name and range all agree."""

    name: str
    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.optimum <= self.maximum:
            raise ValueError(
                f"the range of {self.name} must be 0 <= min <= opt <= max, "
                f"not {self.minimum} .. {self.optimum} .. {self.maximum}"
            )

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def key(self) -> tuple[int, str]:
        # N is torch's name of the batch and is read first: N * H * W.
        first = " " if self.name == "N" else ""
        return 0, f"{first}{self.name} {self.minimum} {self.optimum} {self.maximum}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FloorDiv:
    """``numerator // divisor``, the divisor positive over the whole range, nothing left to pull out."""

    numerator: Dim
    divisor: Dim

    @cached_property
    def key(self) -> tuple[int, str]:
        return 1, f"({_key(self.numerator)}) // ({_key(self.divisor)})"

    def __str__(self) -> str:
        return f"{_operand(self.numerator)} // {_operand(self.divisor)}"


@dataclass(frozen=True)
class Extreme:
    """``min(left, right)`` or ``max(left, right)`` where the range decides neither."""

    function: Callable[[int, int], int]
    left: Dim
    right: Dim

    @cached_property
    def key(self) -> tuple[int, str]:
        return 2, f"{self.function.__name__}({_key(self.left)}, {_key(self.right)})"

    def __str__(self) -> str:
        return f"{self.function.__name__}({self.left}, {self.right})"


Atom: TypeAlias = "Symbol | FloorDiv | Extreme"
# A product of atoms in the order of their keys, a repeated atom for a power; () is the constant 1.
Monomial: TypeAlias = "tuple[Atom, ...]"


class SymbolicDim:
    """A dimension that is not constant: an integer polynomial over atoms, in normal form.

    Arithmetic with ``+ - * // %`` gives a plain int where the result is constant.  ``==`` is equality of
    the normal forms and never true of an int; :func:`equal`, :func:`less` and :func:`less_equal` answer
    for all values in range.
    """

    __slots__ = ("_hash", "by_monomial")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.by_monomial = terms
        self._hash: int | None = None

    @property
    def terms(self) -> tuple[tuple[int, Monomial], ...]:
        """Coefficient and atoms of each term, leading term first, the constant (if any) last."""
        return tuple(
            (self.by_monomial[monomial], monomial) for monomial in sorted(self.by_monomial, key=_order)
        )

    def __add__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        terms = dict(self.by_monomial)
        for monomial, coefficient in _terms(other).items():
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
            for right, b in _terms(other).items():
                monomial = _monomial_product(left, right)
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
        # A leading minus is harder to read than the same sum with a positive term first.
        terms = list(self.terms)
        first = next((i for i, (coefficient, _) in enumerate(terms) if coefficient > 0), 0)
        text = _term_text(*terms.pop(first))
        for coefficient, monomial in terms:
            text += f" {'+' if coefficient > 0 else '-'} {_term_text(abs(coefficient), monomial)}"
        return text

    __repr__ = __str__


Dim: TypeAlias = int | SymbolicDim


class Undecided(Exception):
    """A question about dimensions whose answer differs within the range, or is out of reach."""

    def __init__(self, left: Dim, right: Dim, relation: str) -> None:
        names = sorted(symbol.name for symbol in symbols(left) | symbols(right))
        super().__init__(f"whether {relation.format(left, right)} depends on {' and '.join(names)}")
        self.left = left
        self.right = right


def symbol(name: str, minimum: int, optimum: int, maximum: int) -> SymbolicDim:
    """The dimension ``dim name = minimum .. optimum .. maximum``; ValueError for an impossible range."""
    return _of_atom(Symbol(name, minimum, optimum, maximum))


def symbols(dim: Dim) -> frozenset[Symbol]:
    """The symbols that the value depends on, also inside divisions."""
    return frozenset(_reads(dim))


def bounds(dim: Dim) -> tuple[int, int]:
    """An interval that holds every value over the declared ranges.

    It is exact where each symbol is read once or the ranges have at most ``ENUMERATION_LIMIT`` points.
    """
    return (dim, dim) if isinstance(dim, int) else _bounds(dim)


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The value for given symbols by name; KeyError if one is missing."""
    if isinstance(dim, int):
        return dim
    return _column(dim, {symbol: [values[symbol.name]] for symbol in symbols(dim)}, 1)[0]


def equal(left: Dim, right: Dim) -> bool:
    """Whether two dimensions are equal for all values in range (True) or for none (False).

    Raises Undecided otherwise, and where several symbols with large ranges leave it open.
    """
    if isinstance(left, int) and isinstance(right, int):
        return left == right
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


def evaluate_shape(shape: Iterable[Dim], values: Mapping[str, int]) -> tuple[int, ...]:
    """The sizes for given symbols by name; KeyError if one is missing."""
    return tuple(evaluate(dim, values) for dim in shape)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor, printed as ``float32[N, 3, 224, 224]``."""

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


# --- Polynomials -------------------------------------------------------------------------------------------


def _is_dim(value: object) -> bool:
    return isinstance(value, int | SymbolicDim)


def _of_atom(atom: Atom) -> SymbolicDim:
    return SymbolicDim({(atom,): 1})


def _terms(dim: Dim) -> Mapping[Monomial, int]:
    return {(): dim} if isinstance(dim, int) else dim.by_monomial


def _dim(terms: Mapping[Monomial, int]) -> Dim:
    """The dimension of terms that may include zero ones."""
    nonzero = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
    if not nonzero:
        return 0
    if len(nonzero) == 1 and () in nonzero:
        return nonzero[()]
    return SymbolicDim(nonzero)


def _atom_key(atom: Atom) -> tuple[int, str]:
    return atom.key


def _order(monomial: Monomial) -> tuple[int, list[tuple[int, str]]]:
    """Sorts leading terms first.

    By degree, then lexicographically: a monomial order, which polynomial division relies on.
    """
    return -len(monomial), [atom.key for atom in monomial]


def _key(dim: Dim) -> str:
    """A text that tells any two dimensions apart (str() does not: equal names may have other ranges)."""
    if isinstance(dim, int):
        return str(dim)
    return " + ".join(f"{c} * {[atom.key for atom in monomial]}" for c, monomial in dim.terms)


def _monomial_product(left: Monomial, right: Monomial) -> Monomial:
    if not left or not right:
        return left or right
    return tuple(sorted(left + right, key=_atom_key))


def _monomial_quotient(dividend: Monomial, divisor: Monomial) -> Monomial | None:
    rest = list(dividend)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _split(dividend: Dim, divisor: Dim) -> tuple[Dim, Dim]:
    """Polynomial division: ``dividend == quotient * divisor + rest``.

    The rest is the same for every dividend that differs by a multiple of the divisor.
    """
    lead = min(_terms(divisor), key=_order)
    lead_coefficient = _terms(divisor)[lead]
    quotient: Dim = 0
    rest: dict[Monomial, int] = {}
    while isinstance(dividend, SymbolicDim) or dividend != 0:
        monomial = min(_terms(dividend), key=_order)
        coefficient = _terms(dividend)[monomial]
        factor = _monomial_quotient(monomial, lead)
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


@lru_cache(maxsize=_CACHE_SIZE)
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
    constant = _terms(rest).get((), 0)
    common = math.gcd(*_terms(rest - constant).values(), *_terms(divisor).values())
    if common > 1:
        # floor((g*p + c) / (g*d)) = floor(floor((g*p + c) / g) / d)
        scaled = _scaled_down(rest - constant, common) + constant // common
        return _floor_divide(scaled, _scaled_down(divisor, common))
    factor = _common_factor([*_terms(rest), *_terms(divisor)])
    if factor:
        return _floor_divide(_without_factor(rest, factor), _without_factor(divisor, factor))
    for coefficient, monomial in rest.terms if isinstance(rest, SymbolicDim) else ():
        if coefficient == 1 and len(monomial) == 1 and isinstance(inner := monomial[0], FloorDiv):
            # floor((floor(x / a) + p) / b) = floor((x + a*p) / (a*b))
            others = rest - _of_atom(inner)
            return _floor_divide(inner.numerator + inner.divisor * others, inner.divisor * divisor)
    return _of_atom(FloorDiv(rest, divisor))


def _scaled_down(dim: Dim, scale: int) -> Dim:
    return _dim({monomial: coefficient // scale for monomial, coefficient in _terms(dim).items()})


def _common_factor(monomials: Sequence[Monomial]) -> Monomial:
    common = monomials[0]
    for monomial in monomials[1:]:
        left = list(monomial)
        shared: list[Atom] = []
        for atom in common:
            if atom in left:
                left.remove(atom)
                shared.append(atom)
        common = tuple(shared)
    return common


def _without_factor(dim: Dim, factor: Monomial) -> Dim:
    return _split(dim, _dim({factor: 1}))[0]


def _extreme(function: Callable[[int, int], int], left: Dim, right: Dim) -> Dim:
    if isinstance(left, int) and isinstance(right, int):
        return function(left, right)
    low, high = bounds(right - left)
    if low >= 0 or high <= 0:
        return left if (low >= 0) == (function is min) else right
    left, right = sorted((left, right), key=_key)
    return _of_atom(Extreme(function, left, right))


# --- Values ------------------------------------------------------------------------------------------------


def _reads(dim: Dim) -> Iterator[Symbol]:
    """Each symbol as often as the expression reads it."""
    for monomial in _terms(dim):
        for atom in monomial:
            match atom:
                case Symbol():
                    yield atom
                case FloorDiv(left, right) | Extreme(_, left, right):
                    yield from _reads(left)
                    yield from _reads(right)


@lru_cache(maxsize=_CACHE_SIZE)
def _bounds(dim: SymbolicDim) -> tuple[int, int]:
    reads = list(_reads(dim))
    points = None if len(reads) == len(set(reads)) else _every_value(dim)
    if points is not None:
        return min(points), max(points)
    low = high = 0
    for monomial, coefficient in dim.by_monomial.items():
        ends = (coefficient, coefficient)
        for atom in monomial:
            ends = _corners(mul, ends, _atom_bounds(atom))
        low += ends[0]
        high += ends[1]
    return low, high


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
            return atom.minimum, atom.maximum
        case FloorDiv(numerator, divisor):
            return _quotient_bounds(bounds(numerator), bounds(divisor))
        case Extreme(function, left, right):
            return _corners(function, bounds(left), bounds(right))


def _column(dim: Dim, grid: Mapping[Symbol, Sequence[int]], length: int) -> list[int]:
    """The values at many points at once: one entry of each symbol's sequence is one point."""
    total = [0] * length
    for monomial, coefficient in _terms(dim).items():
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
        case Extreme(function, left, right):
            pass
    return list(map(function, _column(left, grid, length), _column(right, grid, length)))


def _every_value(dim: Dim) -> list[int] | None:
    """The values over all of the range, or None where that is more than ``ENUMERATION_LIMIT`` points."""
    ordered = sorted(symbols(dim), key=_atom_key)
    ranges = [range(symbol.minimum, symbol.maximum + 1) for symbol in ordered]
    length = math.prod(map(len, ranges))
    if length > ENUMERATION_LIMIT:
        return None
    columns = zip(*itertools.product(*ranges), strict=True)
    return _column(dim, dict(zip(ordered, columns, strict=True)), length)


@lru_cache(maxsize=_CACHE_SIZE)
def _is_zero(dim: Dim) -> bool | None:
    """True or False where it holds for all of the range, None where it does not or is not known."""
    low, high = bounds(dim)
    if low == high == 0:
        return True
    if low > 0 or high < 0:
        return False
    constant = _terms(dim).get((), 0)
    if constant % math.gcd(*_terms(dim - constant).values()):
        return False
    values = _every_value(dim)
    return None if values is None or 0 in values else False


# --- Text --------------------------------------------------------------------------------------------------


def _term_text(coefficient: int, monomial: Monomial) -> str:
    if not monomial:
        return str(coefficient)
    if coefficient == 1 and len(monomial) == 1:
        return str(monomial[0])
    factors = [f"({atom})" if isinstance(atom, FloorDiv) else str(atom) for atom in monomial]
    if coefficient == -1:
        return "-" + " * ".join(factors)
    return " * ".join(factors if coefficient == 1 else [str(coefficient), *factors])


def _operand(dim: Dim) -> str:
    """The text as an operand of ``//``."""
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    (coefficient, monomial), *others = dim.terms
    is_name = not others and coefficient == 1 and len(monomial) == 1 and not isinstance(monomial[0], FloorDiv)
    return str(dim) if is_name else f"({dim})"
