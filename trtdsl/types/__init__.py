"""Element types, symbolic dimensions and tensor types.

In: ``symbol("H", 32, 224, 512)`` and Python arithmetic.  Out: dimensions in a normal form, and answers
that hold for every value of the declared ranges::

    h = symbol("H", 32, 224, 512)
    str((h - 1) // 2 + 1)                           # "(H + 1) // 2"
    equal(((h + 1) // 2 + 1) // 2, (h + 3) // 4)    # True
    less(h, 513)                                    # True
    equal(h, 2 * (h // 2))      # Undecided: whether H and 2 * (H // 2) are equal depends on H
    str(TensorType(DType.FLOAT32, (h, h // 2)))     # "float32[H, H // 2]"
"""

from __future__ import annotations

from trtdsl.types.dim import (
    Atom,
    Dim,
    FloorDiv,
    MinMax,
    Symbol,
    SymbolicDim,
    beside_step,
    bounds,
    divide_exact,
    product,
    symbol,
    symbols,
)
from trtdsl.types.dtype import OTHER_NAMES, PRECISIONS, DType
from trtdsl.types.evaluation import evaluate, evaluate_shape
from trtdsl.types.grouping import dimension_groups
from trtdsl.types.layout import refitting, refitting_help
from trtdsl.types.packing import packed, unpacked
from trtdsl.types.relations import (
    Undecided,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    maximum,
    minimum,
    surely,
    with_sizes,
    within,
)
from trtdsl.types.shortest import shortest
from trtdsl.types.tensor import LARGEST_DIM, TensorType
from trtdsl.types.value_range import ValueRange

__all__ = [
    "LARGEST_DIM",
    "OTHER_NAMES",
    "PRECISIONS",
    "Atom",
    "DType",
    "Dim",
    "FloorDiv",
    "MinMax",
    "Symbol",
    "SymbolicDim",
    "TensorType",
    "Undecided",
    "ValueRange",
    "beside_step",
    "bounds",
    "dimension_groups",
    "divide_exact",
    "equal",
    "evaluate",
    "evaluate_shape",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "maximum",
    "minimum",
    "packed",
    "product",
    "refitting",
    "refitting_help",
    "shortest",
    "surely",
    "symbol",
    "symbols",
    "unpacked",
    "with_sizes",
    "within",
]
