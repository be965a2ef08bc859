"""Tensors that convolutions write for others than layers, and could write in a narrow type: what sums and
average pools read.

In: a graph.  Out: a :class:`WrittenTensor` for each, whatever the policy is::

    relu((x -> long: Conv2d -> ...) + (x -> short: Conv2d))     `short` writes what the kernel of `long` adds
    x -> conv: Conv2d -> relu -> adaptive_avg_pool2d(1) -> flatten(1) -> fc: Linear     what the pool reads

Of a sum of two convolutions one branch is read so, for its kernel is to be done when that of the other adds:
the one with fewer convolutions that are not the other's too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trtdsl.ir import Graph, Node, Value
from trtdsl.ops.adaptive import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d
from trtdsl.ops.piecewise_linear import Hardtanh, Relu
from trtdsl.ops.pointwise import Add, Clamp
from trtdsl.ops.pooling import AvgPool1d, AvgPool2d, AvgPool3d
from trtdsl.ops.reduction import Mean
from trtdsl.precision.absorbing import Origins
from trtdsl.precision.layers import QuantisableLayer, RangedTensor, quantisable_layers

_POOLS = (
    *(AvgPool1d, AvgPool2d, AvgPool3d),
    *(AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d),
    Mean,
)
_ACTIVATIONS = (Relu, Hardtanh, Clamp)
"""What TensorRT computes in the kernel of the convolution before it, whatever that writes."""


@dataclass(frozen=True)
class WrittenTensor:
    """What the kernel of a convolution, ``writer``, writes for one ``reader``.

    It pays in a narrow type where the ``others`` are computed in it too: the convolution whose kernel adds,
    or the layers after the pool.
    """

    kind: Literal["sum", "pool"]
    value: Value
    reader: Node
    writer: QuantisableLayer
    others: tuple[QuantisableLayer, ...]

    @property
    def label(self) -> str:
        """Where its range stands, beside the layer's own."""
        return f"{self.writer.label}.output" if self.writer.label else "output"

    @property
    def channels(self) -> int:
        """The dimension that the convolution's outputs are in."""
        return self.writer.channels


def ranged_tensors(graph: Graph) -> list[RangedTensor]:
    """All tensors that may be quantised: what layers read, then what convolutions write for others."""
    read = [
        RangedTensor(layer.label, f"the input of `{layer.label}`", layer.input, layer.channels)
        for layer in quantisable_layers(graph)
    ]
    written = [
        RangedTensor(each.label, f"what `{each.writer.label}` writes", each.value, each.channels)
        for each in written_tensors(graph)
    ]
    return read + written


def written_tensors(graph: Graph) -> list[WrittenTensor]:
    """Those of a graph, in the order of their readers; what a layer reads too is left out."""
    return list(_Search(graph).found())


class _Search:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._origins = Origins(graph)
        self._layers = {layer.node: layer for layer in quantisable_layers(graph)}
        self._read = {layer.input for layer in self._layers.values()}
        self._adders: dict[Node, QuantisableLayer] = {}

    def found(self) -> Iterator[WrittenTensor]:
        for node in self._graph.nodes:
            if isinstance(node.op, Add):
                yield from self._of_sum(node)
            elif isinstance(node.op, _POOLS):
                yield from self._of_pool(node)

    def _of_sum(self, node: Node) -> Iterator[WrittenTensor]:
        """Of the operands that may be read so the one of the shorter branch."""
        if not self._read.isdisjoint(node.operands):
            return
        ways = [
            (value, other)
            for value, other in (node.operands, node.operands[::-1])
            if self._writer(value) and self._convolution(other)
        ]
        if ways:
            value, other = min(ways, key=lambda way: self._length(*way))
            writer, adder = self._writer(value), self._convolution(other)
            assert writer and adder
            self._adders[node] = adder
            yield WrittenTensor("sum", value, node, writer, (adder,))

    def _of_pool(self, node: Node) -> Iterator[WrittenTensor]:
        value = node.operands[0]
        writer, behind = self._writer(value), self._behind(node)
        if writer and behind and value not in self._read:
            yield WrittenTensor("pool", value, node, writer, behind)

    def _convolution(self, value: Value) -> QuantisableLayer | None:
        """The convolution whose own result a value is, for one reader."""
        node = self._graph.producers.get(value)
        layer = self._layers.get(node) if node and self._origins.reads(value) == 1 else None
        return layer if layer and layer.is_convolution else None

    def _writer(self, value: Value) -> QuantisableLayer | None:
        """The convolution in whose kernel a value is computed, sums and activations included."""
        node = self._graph.producers.get(value)
        if node is None or self._origins.reads(value) != 1:
            return None
        if isinstance(node.op, _ACTIVATIONS):
            return self._writer(node.operands[0])
        if node in self._adders:
            return self._adders[node]
        if isinstance(node.op, Add):
            return next(filter(None, map(self._convolution, node.operands)), None)
        return self._convolution(value)

    def _behind(self, node: Node) -> tuple[QuantisableLayer, ...]:
        """The layers that read a result, maybe with its elements moved; none where anything else does."""
        users = self._graph.users.get(node.result, ())
        if self._origins.reads(node.result) != len(users):
            return ()
        if len(users) == 1 and users[0].op.moves and len(users[0].results) == 1:
            return self._behind(users[0])
        layers = [self._layers.get(user) for user in users]
        known = [layer for layer in layers if layer and layer.input is node.result]
        return tuple(known) if len(known) == len(users) else ()

    def _length(self, value: Value, other: Value) -> int:
        """How many convolutions a branch has that the other has not."""
        return len(self._before(value) - self._before(other))

    def _before(self, value: Value) -> set[Node]:
        """The convolutions that a value is computed with."""
        seen: set[Node] = set()
        waiting = [value]
        while waiting:
            node = self._graph.producers.get(waiting.pop())
            if node is not None and node not in seen:
                seen.add(node)
                waiting += node.operands
        return seen & self._layers.keys()
