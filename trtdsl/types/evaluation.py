"""The value of a dimension where the sizes of its symbols are known.

In: ``(H - 1) // 2`` and ``{"H": 224}``.  Out: ``111``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trtdsl.types.dim import Dim, Symbol, symbols, values_at


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The value for given symbols by name; KeyError if one is missing, ValueError if one is not a multiple
    of its step."""
    if isinstance(dim, int):
        return dim
    return values_at(dim, {symbol: [_multiple(symbol, values[symbol.name])] for symbol in symbols(dim)}, 1)[0]


def evaluate_shape(shape: Iterable[Dim], values: Mapping[str, int]) -> tuple[int, ...]:
    """The sizes for given symbols by name; KeyError if one is missing."""
    return tuple(evaluate(dim, values) for dim in shape)


def _multiple(symbol: Symbol, size: int) -> int:
    """How many steps a size is."""
    if size % symbol.step:
        raise ValueError(f"{symbol} is {size}, which is not a multiple of {symbol.step}")
    return size // symbol.step
