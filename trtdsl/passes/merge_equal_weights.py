"""Parameters that hold the same numbers are one, stored once.

The masks of shifted windows are folded or imported once for each layer. What reads them is then more often
the same, too. A module's weight stays the module's, under its own key.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Outcome, Surroundings, rewrite
from trtdsl.ops.creation import Parameter
from trtdsl.passes.declare import graph_pass
from trtdsl.types import TensorType

SAMPLE = 256
"""How many numbers at either end tell most arrays apart without reading the others."""


@graph_pass(
    after=["fold_constants"],
    before=["merge_common_subexpressions"],
    why="nodes that read equal weights are then equal nodes",
)
def merge_equal_weights(graph: Graph) -> Graph:
    """Keep the first of parameters with equal values.

    before::

        model example() {
          input x: float32[2, 1024]
          a = table: Parameter(1024)
          b = table_copy: Parameter(1024)
          y = add(mul(x, a), b)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 1024]
          a = table: Parameter(1024)
          y = add(mul(x, a), a)
          output y = y
        }
    """
    return rewrite(graph, _Merge)


class _Merge:
    """Remembers the parameters of one graph, those alone that look alike together."""

    def __init__(self) -> None:
        self._seen: dict[tuple[TensorType, int], list[Node]] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        data = _data(node)
        if data is None:
            return None
        alike = self._seen.setdefault((node.result.type, _fingerprint(data)), [])
        first = next((each for each in alike if _is_same(_data(each), data)), None)
        if first is None:
            alike.append(node)
        return first


def _data(node: Node) -> npt.NDArray[Any] | None:
    """The values of a parameter, once it is bound; None for any other node."""
    if not isinstance(node.op, Parameter):
        return None
    (weight,) = node.weights.values()
    return weight.data


def _fingerprint(data: npt.NDArray[Any]) -> int:
    """Equal for equal arrays, of which it reads the ends alone."""
    flat: Any = data.flat
    return crc32(flat[-SAMPLE:].tobytes(), crc32(flat[:SAMPLE].tobytes()))


def _is_same(one: npt.NDArray[Any] | None, other: npt.NDArray[Any]) -> bool:
    """Whether all bits are the same, NaN included."""
    if one is None:
        return False
    return one is other or np.array_equal(_bytes(one), _bytes(other))


def _bytes(data: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(data).view(np.uint8)
