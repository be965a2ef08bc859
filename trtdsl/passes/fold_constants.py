"""What depends on no input is computed now, with numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, Weight, rewrite
from trtdsl.ops.base import Op
from trtdsl.ops.creation import Parameter
from trtdsl.passes.declare import graph_pass
from trtdsl.types import TensorType, evaluate_shape

Array = npt.NDArray[Any]

LARGEST_GROWTH = 1 << 22
"""Bytes that a folded constant may take beyond its operands: a broadcast is better left to the engine."""


@graph_pass(tolerance=1e-6)  # numpy's functions differ from PyTorch's in the last bit
def fold_constants(graph: Graph) -> Graph:
    """Replace nodes on constants by their values, as parameters labelled ``folded.<name>``.

    An operator takes part by its ``fold`` method; a parameter without values stays as it is.

    before::

        model example() {
          input x: float32[2]
          scale = full((2,), 3.0)
          double = add(scale, scale)
          y = mul(x, double)
          output y = y
        }

    after::

        model example() {
          input x: float32[2]
          double = folded.double: Parameter(2)
          y = mul(x, double)
          output y = y
        }
    """
    return rewrite(graph, _Fold())


class _Fold:
    """Remembers which values are known."""

    def __init__(self) -> None:
        self._known: dict[Value, Array] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        folded = self._folded(node)
        if folded is None:
            return None
        self._known.update(zip(node.results, folded, strict=True))
        from_nothing = all(slot in node.weights for slot in node.slots)
        return None if from_nothing else _parameters(node, folded)

    def _folded(self, node: Node) -> tuple[Array, ...] | None:
        """The node's results, or None where they are not known now."""
        arrays: list[Array] = []
        for value in node.operands:
            array = value.data if isinstance(value, Weight) else self._known.get(value)
            if array is None:
                return None
            arrays.append(array)
        if node.bodies or any(not result.type.is_static for result in node.results):
            return None
        # Known from the types: what is too large is not even computed.
        growth = sum(_bytes(result.type) for result in node.results) - sum(array.nbytes for array in arrays)
        return _computed(node.op, node.arguments(arrays)) if growth <= LARGEST_GROWTH else None


def _bytes(type: TensorType) -> int:
    """What an array of this static type takes."""
    return math.prod(evaluate_shape(type.shape, {})) * type.dtype.numpy.itemsize


def _computed(op: Op, operands: dict[str, Any]) -> tuple[Array, ...] | None:
    with np.errstate(all="ignore"):
        results = op.fold(**operands)
    if results is None:
        return None
    return results if isinstance(results, tuple) else (results,)


def _parameters(node: Node, arrays: tuple[Array, ...]) -> list[Node]:
    """A parameter in place of each result, which keeps its name."""
    return [_parameter(node, value, array) for value, array in zip(node.results, arrays, strict=True)]


def _parameter(node: Node, value: Value, array: Array) -> Node:
    dtype = value.type.dtype
    data = np.ascontiguousarray(array, dtype=dtype.numpy).reshape(array.shape)
    key = f"folded.{value.name}"
    op = Parameter(tuple(data.shape), dtype)
    weight = Weight(key, value.type, key, data)
    return node.replace(op=op, operands=(weight,), slots=("value",), results=(value,), scope=key)
