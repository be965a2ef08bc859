"""The value of a dimension where the sizes of its symbols are known.

In: ``(H - 1) // 2`` and ``{"H": 224}``.  Out: ``111``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trtdsl.types.dim import Dim, symbols, values_at


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The value for given symbols by name; KeyError if one is missing, ValueError if one is not a multiple
    of its step."""
    if isinstance(dim, int):
        return dim
    return values_at(dim, {symbol: [symbol.steps(values[symbol.name])] for symbol in symbols(dim)}, 1)[0]


def evaluate_shape(shape: Iterable[Dim], values: Mapping[str, int]) -> tuple[int, ...]:
    """The sizes for given symbols by name; KeyError if one is missing."""
    return tuple(evaluate(dim, values) for dim in shape)
