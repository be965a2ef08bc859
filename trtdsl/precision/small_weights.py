"""Weights that a type has no digits for, held in it a power of two larger: the product is made small again.

In: a graph with its weights' values, and the type.  Out: the graph in which layers have such weights, and
the multiplications that are to stay float32.  A layer scale of 1e-6, which :mod:`fold_scales
<trtdsl.passes.fold_scales>` puts into a linear layer's weights, leaves numbers of 1e-8::

    y = x -> fc: Linear(8)

becomes, with weights and bias 2 ** 20 times as large::

    y = mul(x -> fc: Linear(8), 2.0 ** -20)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, Weight, rewrite
from trtdsl.ops.convolution import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from trtdsl.ops.creation import Full
from trtdsl.ops.linear import Linear
from trtdsl.ops.pointwise import Mul
from trtdsl.passes.matching import Array, new_weight, obstacle_in_weights, reads_of_weights
from trtdsl.precision.known import vanishes
from trtdsl.types import DType

_LAYERS = (Linear, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)

IsLeft: TypeAlias = Callable[[Node], bool]
"""Says of a layer that it stays as it is."""


@dataclass(frozen=True)
class LargerWeights:
    """The graph, and why the products with a power of two, by which results are what they were, stay wide."""

    graph: Graph
    products: Mapping[Node, str]


def with_larger_weights(graph: Graph, dtype: DType, is_left: IsLeft, levels: int = 1) -> LargerWeights:
    """Enlarge the weights that lose digits in ``dtype``, or whose rows divided by ``levels`` would, as the
    scales of quantised weights. What is not theirs alone, and what ``is_left``, stays."""
    enlarge = _Enlarge(reads_of_weights(graph), dtype, is_left, levels)
    return LargerWeights(rewrite(graph, enlarge), enlarge.products)


@dataclass
class _Enlarge:
    reads: Counter[Weight]
    dtype: DType
    is_left: IsLeft
    levels: int
    products: dict[Node, str] = field(default_factory=dict[Node, str])

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if not isinstance(node.op, _LAYERS) or self.is_left(node) or obstacle_in_weights(node, self.reads):
            return None
        weights = {slot: weight.data for slot, weight in node.weights.items() if weight.data is not None}
        power = self._power(weights)
        if node.result.type.dtype is not DType.FLOAT32 or power is None:
            return None
        larger = {
            slot: new_weight(weight.key, weight.type, np.ldexp(weights[slot], power))
            for slot, weight in node.weights.items()
        }
        build = around.builder()
        result = Value(build.names.unique(node.result.name), node.result.type)
        operands = [larger.get(slot, value) for slot, value in zip(node.slots, node.operands, strict=True)]
        layer = node.replace(operands=tuple(operands), results=(result,))
        factor = build.value(Full((), 2.0**-power, DType.FLOAT32), origins=node.origins)
        build.place(Mul(), result, factor, origins=node.origins, results=node.results)
        why = f"the weights before it are held a power of two larger, or {self.dtype} would lose their digits"
        self.products[build.nodes[-1]] = why
        return [layer, *build.nodes]

    def _power(self, weights: dict[str, Array]) -> int | None:
        """The power of two with which the largest row has a norm of about 1, so that results are as large as
        what is read; None where that is not needed, or would not do."""
        rows = weights["weight"].reshape(len(weights["weight"]), -1).astype(np.float64)
        if not rows.any() or not self._is_lost(rows):
            return None
        power = -math.frexp(float(np.linalg.norm(rows, axis=1).max()))[1]
        largest = float(np.abs(weights.get("bias", np.zeros(1))).max()) * 2.0**power
        return power if largest <= self.dtype.largest and not self._is_lost(rows * 2.0**power) else None

    def _is_lost(self, rows: Array) -> bool:
        sizes = np.abs(rows)
        return vanishes(sizes, self.dtype) or vanishes(sizes.max(axis=1) / self.levels, self.dtype)
