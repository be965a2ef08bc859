"""Layers in int8 or float8: their tensors and weights quantised, by ranges and a policy.

In: a graph with its weights' values, the ranges of its layers' inputs, and what is asked for.  Out: the graph
with `quantize` and `dequantize` before what the layers read, the quantised weights and the scales beside the
others as `LABEL.weight`, `LABEL.weight_scale` and `LABEL.input_scale`; and for each layer what was decided.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir import Builder, Graph, Node, Value, ValueNames, Weight
from trtdsl.ops.joining import Cat
from trtdsl.ops.pointwise import Add
from trtdsl.ops.quantization import Dequantize, Quantize
from trtdsl.precision.grids import numbers_of
from trtdsl.precision.histogram import LEVELS
from trtdsl.precision.layers import QuantisableLayer, new_parameter, quantisable_layers
from trtdsl.precision.placement import Placement, Policy
from trtdsl.precision.ranges import Ranges
from trtdsl.precision.written import WrittenTensor, written_tensors
from trtdsl.types import DType

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Decision:
    """What becomes of a layer: the type in which it is computed, and why it stays in floating point."""

    label: str
    dtype: DType
    reason: str = ""


@dataclass(frozen=True)
class Quantised:
    """The graph, and a decision for each layer that could be quantised, in order."""

    graph: Graph
    decisions: tuple[Decision, ...]


def quantize(graph: Graph, ranges: Ranges, policy: Policy, around: DType | None = None) -> Quantised:
    """The graph with the policy's layers in its narrow type.

    ``around`` is the type that the rest will be computed in where that is not the graph's own: scales are
    rounded to it before weights are quantised by them. Raises UsageError for a layer without a range.
    """
    chosen = chosen_layers(graph, policy)
    require_ranges(chosen, ranges)
    return Quantised(_Quantisation(graph, chosen, ranges, policy, around).graph(), decisions(graph, policy))


def chosen_layers(graph: Graph, policy: Policy) -> list[QuantisableLayer]:
    """The layers that become narrow."""
    return [layer for layer in quantisable_layers(graph) if policy.reason(layer) is None]


def decisions(graph: Graph, policy: Policy) -> tuple[Decision, ...]:
    """What a policy makes of each layer that could be quantised, in order."""
    layers = list(quantisable_layers(graph))
    return tuple(_decision(layer, policy.reason(layer), policy.dtype) for layer in layers)


def _decision(layer: QuantisableLayer, reason: str | None, dtype: DType) -> Decision:
    if reason is None:
        return Decision(layer.label, dtype)
    return Decision(layer.label, layer.input.type.dtype, reason)


def require_ranges(layers: Sequence[QuantisableLayer], ranges: Ranges) -> None:
    """Refuse layers of whose inputs no range is known; UsageError."""
    missing = [layer.label for layer in layers if layer.label not in ranges.layers]
    if missing:
        text = f"the input of `{missing[0]}` has no range{did_you_mean(missing[0], ranges.layers)}"
        raise UsageError(Diagnostic(text, help=("`trtdsl calibrate` finds it with data",)))


def ends_of(tensors: Sequence[tuple[Value, str]], ranges: Ranges, graph: Graph) -> dict[Value, float]:
    """Where each tensor is cut off, by the labels of its ranges: one end for all readers of a tensor, for all
    tensors of one label, and for what is joined to one.

    TensorRT quantises a joined tensor part by part: a part that a layer reads with another scale is written
    a second time for it, in floating point.
    """
    joins = [node for node in graph.nodes if isinstance(node.op, Cat)]
    ends = {value: 0.0 for value, _ in tensors}
    by_label = {label: ranges.layers[label].input for _, label in tensors}
    before: dict[Value, float] | None = None
    while before != ends:
        before = dict(ends)
        for value, label in tensors:
            by_label[label] = ends[value] = max(by_label[label], ends[value])
        for node in joins:
            parts = [value for value in (*node.operands, node.result) if value in ends]
            if node.result in ends:
                ends.update(dict.fromkeys(parts, max(ends[part] for part in parts)))
    return ends


def _written(
    graph: Graph, layers: Sequence[QuantisableLayer], ranges: Ranges, placement: Placement
) -> Iterator[WrittenTensor]:
    """What convolutions write quantised for others than layers: what pays, and has a range."""
    kinds = {"sum": placement.sums, "pool": placement.average_pools}
    nodes = {layer.node for layer in layers}
    for tensor in written_tensors(graph):
        computed = (tensor.writer, *tensor.others)
        narrow = all(layer.node in nodes for layer in computed)
        if narrow and kinds[tensor.kind] and tensor.label in ranges.layers:
            yield tensor


def _reading(node: Node, value: Value, other: Value) -> Node:
    """A node that reads another value in the place of one."""
    return node.replace(operands=tuple(other if each is value else each for each in node.operands))


class Rewrite(ABC):
    """One graph's new nodes: chosen layers on what :meth:`input` and :meth:`weight` make for them.

    ``around`` is the type that the rest will be computed in; scales have all their digits in that.
    """

    def __init__(self, graph: Graph, layers: Sequence[QuantisableLayer], around: DType | None) -> None:
        self.builder = Builder(ValueNames.of(graph))
        self._graph = graph
        self._layers = {layer.node: layer for layer in layers}
        self._around = around
        self._first = {layer.input: layer for layer in reversed(layers)}
        self._inputs: dict[Value, Value] = {}
        self._weights: dict[Weight, Value] = {}
        self._parameters: dict[str, Value] = {}
        self._kept = {
            value
            for node in graph.nodes
            for value in node.operands
            if isinstance(value, Weight) and node not in self._layers
        }

    def graph(self) -> Graph:
        """The graph with the chosen layers."""
        for node in self._graph.nodes:
            layer = self._layers.get(node)
            self.builder.nodes.append(self.other(node) if layer is None else self._layer(layer))
        return self._graph.replace(nodes=tuple(self.builder.nodes))

    def other(self, node: Node) -> Node:
        """What becomes of a node that is not such a layer."""
        return node

    def input(self, layer: QuantisableLayer) -> Value:
        """What all layers read that read this one's tensor, the first that does; by default that."""
        return layer.input

    @abstractmethod
    def weight(self, layer: QuantisableLayer) -> Value:
        """What they read of its weight."""

    def read(self, value: Value) -> Value | None:
        """What layers read in the place of a tensor; None where none of them reads it."""
        if value not in self._inputs and (layer := self._first.get(value)):
            self._inputs[value] = self.input(layer)
        return self._inputs.get(value)

    def _layer(self, layer: QuantisableLayer) -> Node:
        read = self.read(layer.input)
        if layer.weight not in self._weights:
            self._weights[layer.weight] = self.weight(layer)
        new = {"input": read or layer.input, "weight": self._weights[layer.weight]}
        node = layer.node
        pairs = zip(node.slots, node.operands, strict=True)
        return node.replace(operands=tuple(new.get(slot, value) for slot, value in pairs))

    def held(self, scales: Any, dtype: DType) -> Array:
        """Scales in the type of the graph, such that they have all their digits in that around it too."""
        return held_scales(scales, self._around or dtype).astype(dtype.numpy)

    def codes(self, layer: QuantisableLayer, array: Array) -> Value:
        """A layer's quantised weight: its own key, but for one that another layer reads as it is."""
        slot = "weight_quantised" if layer.weight in self._kept else "weight"
        return self.parameter(layer, slot, array, f"{layer.label}_w")

    def parameter(self, layer: QuantisableLayer, slot: str, array: Array, name: str) -> Value:
        """A tensor at the layer's label; all uses of a label share it."""
        key = f"{layer.label}.{slot}" if layer.label else slot
        if key not in self._parameters:
            origins = layer.node.origins
            self._parameters[key] = new_parameter(self.builder, key, array, name, origins)
        return self._parameters[key]


def held_scales(scales: Any, around: DType) -> Array:
    """Scales in float32, as they are in a type: those of zeros only do not matter, and none is subnormal."""
    least = 2.0**-14 if around is DType.FLOAT16 else 2.0**-126
    scales = np.where(np.asarray(scales) == 0, 1.0, np.maximum(scales, least))
    return np.asarray(scales, np.float32).astype(around.numpy).astype(np.float32)


class _Quantisation(Rewrite):
    """By ranges. A tensor is quantised once, by the largest range of its readers."""

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[QuantisableLayer],
        ranges: Ranges,
        policy: Policy,
        around: DType | None,
    ) -> None:
        super().__init__(graph, layers, around)
        self._convolved = {
            result for layer in layers if layer.is_convolution for result in layer.node.results
        }
        self._dtype = policy.dtype
        self._residuals = policy.placement.residuals
        written = list(_written(graph, layers, ranges, policy.placement))
        self._written = {tensor.reader: tensor for tensor in written}
        pairs = [(layer.input, layer.label) for layer in layers]
        self._ends = ends_of([*pairs, *((tensor.value, tensor.label) for tensor in written)], ranges, graph)

    def other(self, node: Node) -> Node:
        """A sum with a convolution's result reads the other as layers do."""
        if tensor := self._written.get(node):
            return _reading(node, tensor.value, self._narrow(tensor.value, tensor.writer, "output_scale"))
        if not self._residuals or not isinstance(node.op, Add):
            return node
        for number, value in enumerate(node.operands):
            if self._convolved.isdisjoint(node.operands[:number] + node.operands[number + 1 :]):
                continue
            if read := self.read(value):
                return _reading(node, value, read)
        return node

    def input(self, layer: QuantisableLayer) -> Value:
        return self._narrow(layer.input, layer, "input_scale")

    def _narrow(self, value: Value, layer: QuantisableLayer, slot: str) -> Value:
        """A tensor quantised and read back."""
        origins = layer.node.origins
        number = self.held(np.float32(self._ends[value] / LEVELS[self._dtype]), value.type.dtype)
        scale = self.parameter(layer, slot, number, f"{value.name}_scale")
        place = self.builder.value
        q = place(Quantize(self._dtype), value, scale, name=f"{value.name}_q", origins=origins)
        return place(Dequantize(), q, scale, name=f"{value.name}_d", origins=origins)

    def weight(self, layer: QuantisableLayer) -> Value:
        weight = layer.weight
        data, dtype = numbers_of(weight.key, weight.data), weight.type.dtype
        rows = np.abs(data).reshape(len(data), -1).max(axis=1, initial=0)
        scales = self.held(rows / np.float32(LEVELS[self._dtype]), dtype)
        codes = Quantize(self._dtype, axis=0).fold(data, scales)
        assert codes is not None
        q = self.codes(layer, codes)
        scale = self.parameter(layer, "weight_scale", scales, f"{layer.label}_ws")
        named, origins = f"{layer.label}_wd", layer.node.origins
        return self.builder.value(Dequantize(axis=0), q, scale, name=named, origins=origins)
