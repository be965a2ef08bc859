"""The layers that can be quantised: convolutions and linear layers, by their labels.

In: a graph.  Out: a :class:`QuantisableLayer` for each, with what it reads and which dimension its channels
are in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.linear import Linear


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


def quantisable_layers(graph: Graph) -> Iterator[QuantisableLayer]:
    """The model's own layers whose weights are the checkpoint's, in order; those of bodies are left out."""
    for node in graph.nodes:
        if not isinstance(node.op, (*CONVOLUTIONS, Linear)) or "weight" not in node.weights:
            continue
        input = node.operand("input")
        if input is not None and input.type.dtype.is_floating:
            yield QuantisableLayer(node, input, input.type.rank + node.op.channel_dim)
