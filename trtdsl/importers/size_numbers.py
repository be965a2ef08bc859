"""Numbers that are computed of sizes: ``S ** 0.5``, ``H / W``, ``math.floor(S * 0.5)``.

In: what PyTorch knows of one, an expression of symbols.  Out: where it is a whole number, the language's
dimension, tried at all sizes; else operations on tensors without dimensions, ``full((), S) ** 0.5``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from trtdsl.importers.program import Argument
from trtdsl.types import Dim, Symbol, evaluate, symbols

Operate = Callable[[str, Mapping[str, Argument]], Argument]
"""``operate(name, arguments)``: what an operation of this name gives, a tensor without dimensions."""

_TRIED = 4096
_DENOMINATOR = 1000
"""The largest denominator that a factor of a size is taken to have, 1.5 or 0.333."""
_ROUNDED = {
    "TruncToInt": lambda up, down: up // down,
    "FloorToInt": lambda up, down: up // down,
    "CeilToInt": lambda up, down: -(-up // down),
    "RoundToInt": lambda up, down: (2 * up + down) // (2 * down),
}
_DIVISIONS = ("IntTrueDiv", "FloatTrueDiv")
_POWERS = ("Pow", "FloatPow", "PowByNatural")
_TWO = {"Add": "add.Tensor", "Mul": "mul.Tensor", "Max": "maximum", "Min": "minimum"}
_FUNCTION = "OpaqueUnaryFn_"


class NotOfSizes(Exception):
    """A number that neither is a dimension nor can be computed by operations."""


def rounded(value: Any, dims: Mapping[str, Dim], dim_of: Callable[[Any], Dim]) -> Dim | None:
    """A whole number that PyTorch makes of a fraction of sizes, where the language's division gives the same
    at all of them; ``dim_of`` gives the dimension of an expression without fractions.
    """
    rounding = _ROUNDED.get(type(value).__name__)
    if rounding is None:
        return None
    try:
        up, down = _fraction(value.args[0], dim_of)
    except NotOfSizes:
        return None
    found: Dim = rounding(up, down)
    return found if all(ours == theirs for ours, theirs in _tried(found, value, dims)) else None


def _fraction(value: Any, dim_of: Callable[[Any], Dim]) -> tuple[Dim, int]:
    """A number as a numerator of sizes and a denominator."""
    kind = type(value).__name__
    if value.is_Float or value.is_Rational:
        ratio = Fraction(str(value)).limit_denominator(_DENOMINATOR)
        return ratio.numerator, ratio.denominator
    if kind == "ToFloat":
        return dim_of(value.args[0]), 1
    if kind in ("Add", "Mul"):
        parts = [_fraction(each, dim_of) for each in value.args]
        up, down = parts[0]
        for other_up, other_down in parts[1:]:
            up = up * other_up if kind == "Mul" else up * other_down + other_up * down
            down *= other_down
        return up, down
    if kind in _DIVISIONS:
        (up, down), (other_up, other_down) = (_fraction(each, dim_of) for each in value.args)
        if not isinstance(other_up, int) or other_up == 0:
            raise NotOfSizes
        sign = 1 if other_up > 0 else -1
        return sign * up * other_down, down * abs(other_up)
    if value.is_integer:
        return dim_of(value), 1
    raise NotOfSizes


def _tried(dim: Dim, value: Any, dims: Mapping[str, Dim]) -> Iterator[tuple[int, int]]:
    """What a dimension and PyTorch's number are at the sizes of the one symbol that they are of."""
    free = sorted(value.free_symbols, key=str)
    found = {each for name in free for each in symbols(dims[str(name)])}
    if len(free) != 1 or len(found) != 1:
        yield 0, 1
        return
    (own,) = found
    for size in _sizes(own):
        sizes = {own.name: size}
        theirs = value.subs(free[0], evaluate(dims[str(free[0])], sizes))
        yield evaluate(dim, sizes), int(theirs)


def _sizes(symbol: Symbol) -> range:
    sizes = range(symbol.minimum, symbol.maximum + 1, symbol.step)
    return sizes[:: max(1, len(sizes) // _TRIED)]


def computed(value: Any, dim_of: Callable[[Any], Dim], operate: Operate) -> Argument:
    """A number of sizes as operations make it; raises :class:`NotOfSizes`."""
    kind = type(value).__name__
    if value.is_Float or value.is_Rational:
        return int(value) if value.is_Integer else float(value)
    if kind == "ToFloat":
        return computed(value.args[0], dim_of, operate)
    if value.is_integer:
        return operate("full", {"size": (), "fill_value": dim_of(value)})
    if not value.args:
        raise NotOfSizes
    parts = [computed(each, dim_of, operate) for each in value.args]
    if kind.startswith(_FUNCTION):
        return operate(kind.removeprefix(_FUNCTION), {"self": parts[0]})
    if kind in _DIVISIONS:
        return operate("div.Tensor", {"self": parts[0], "other": parts[1]})
    if kind in _POWERS:
        return operate("pow.Tensor_Tensor", {"self": parts[0], "exponent": parts[1]})
    if kind not in _TWO:
        raise NotOfSizes
    total = parts[0]
    for part in parts[1:]:
        total = operate(_TWO[kind], {"self": total, "other": part})
    return total
