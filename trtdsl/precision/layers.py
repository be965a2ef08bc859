"""The layers that can be quantised: convolutions and linear layers, by their labels.

In: a graph.  Out: a :class:`QuantisableLayer` for each, with what it reads and which dimension its channels
are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from trtdsl.diagnostics import Origin
from trtdsl.ir import Builder, Graph, Node, Value, Weight
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.creation import Parameter
from trtdsl.ops.linear import Linear
from trtdsl.types import DType, TensorType


@dataclass(frozen=True)
class QuantisableLayer:
    """A layer with a weight of the checkpoint. Its input is summed over the dimension ``channels``."""

    node: Node
    input: Value
    channels: int

    @property
    def label(self) -> str:
        """The state-dict path at which it stands."""
        return self.node.scope

    @property
    def weight(self) -> Weight:
        """The checkpoint's weight."""
        return self.node.weights["weight"]

    @property
    def is_convolution(self) -> bool:
        return isinstance(self.node.op, CONVOLUTIONS)


WHICH = "those count that read floating-point weights of the checkpoint, outside of loops and branches"
"""Which are :func:`quantisable_layers`, in words."""


def quantisable_layers(graph: Graph) -> Iterator[QuantisableLayer]:
    """The model's own layers whose weights are the checkpoint's, in order; those of bodies are left out."""
    for node in graph.nodes:
        if not isinstance(node.op, (*CONVOLUTIONS, Linear)) or "weight" not in node.weights:
            continue
        input = node.operand("input")
        if input is not None and input.type.dtype.is_floating:
            yield QuantisableLayer(node, input, input.type.rank + node.op.channel_dim)


@dataclass(frozen=True)
class RangedTensor:
    """A tensor whose numbers are observed: the label at which its range stands, what it is to a reader of a
    message, and the dimension of its channels."""

    label: str
    named: str
    value: Value
    channels: int


def new_parameter(
    builder: Builder, key: str, array: npt.NDArray[Any], name: str, origins: Sequence[Origin]
) -> Value:
    """A tensor beside the checkpoint's own, such as a layer's scale: a `Parameter` that has its values."""
    type = TensorType(DType.of_numpy(array.dtype), array.shape)
    op, weight = Parameter(tuple(array.shape), type.dtype), Weight(key, type, key, array)
    return builder.value(op, value=weight, name=name, scope=key, origins=origins)
