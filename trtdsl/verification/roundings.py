"""How far a value may be off by how often it, and what it is computed from, was rounded.

In: a graph, and which of its values are rounded to their types.  Out: a relative error for each value.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

from trtdsl.ir import Graph, Value
from trtdsl.ops.quantization import Dequantize
from trtdsl.precision.lower_floats import PRODUCTS
from trtdsl.types import DType

LOSSES: Mapping[DType, float] = {
    DType.FLOAT16: 2.0**-11,
    DType.BFLOAT16: 2.0**-8,
    DType.FLOAT8: 2.0**-4,
    DType.INT8: 2.4e-2,
}
"""What a rounding to each type may cost a tensor, of its norm. To floating-point types it is the largest
relative error of a number; the root of the mean square over all numbers is 0.42 of that. int8 has steps of
the largest number by 127: where numbers are normally distributed and the largest of them is 4.5 times their
deviation, that root is 4.5 / 127 / sqrt(12), 1.0e-2 of the norm, and as much more as above is allowed."""


def allowed(graph: Graph, counted: Container[Value] | None = None) -> dict[Value, float]:
    """How far each value may be off, relative to its norm, where those that are ``counted`` were rounded to
    their types; without them, all.

    Roundings that are independent of each other add up by their squares, and a value has behind it those of
    the longest way to it. What a layer enlarges, :data:`LOSSES` has room for.
    """

    def lost(value: Value) -> float:
        return _given(value) if counted is None or value in counted else 0.0

    squares = {value: lost(value) for value in graph.inputs}
    for node in graph.nodes:
        # Codes are found by the scale as it is stored, so that they lose nothing by its rounding.
        operands = node.operands[:1] if isinstance(node.op, Dequantize) else node.operands
        read = [squares.get(value, lost(value)) for value in operands]
        # A product is off by what both of its factors are.
        behind = sum(sorted(read)[-2:]) if node.op.name in PRODUCTS else max(read, default=0.0)
        for value in node.results:
            squares[value] = behind + lost(value)
    return {value: math.sqrt(square) for value, square in squares.items()}


def _given(value: Value) -> float:
    """The square of what a value has lost by being rounded to its type."""
    return LOSSES.get(value.type.dtype, 0.0) ** 2
