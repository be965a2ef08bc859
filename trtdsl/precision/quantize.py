"""Layers in int8 or float8: their tensors and weights quantised, by ranges and a policy.

In: a graph with its weights' values, the ranges of its layers' inputs, and what is asked for.  Out: the graph
with `quantize` and `dequantize` before what the layers read, the quantised weights and the scales beside the
others as `LABEL.weight`, `LABEL.weight_scale` and `LABEL.input_scale`; and for each layer what was decided.
"""

from __future__ import annotations

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
    layers = list(quantisable_layers(graph))
    reasons = {layer.node: policy.reason(layer) for layer in layers}
    _require_ranges([layer for layer in layers if reasons[layer.node] is None], ranges)
    chosen = [layer for layer in layers if reasons[layer.node] is None]
    decisions = tuple(_decision(layer, reasons[layer.node], policy.dtype) for layer in layers)
    return Quantised(_Quantisation(graph, chosen, ranges, policy, around).graph(), decisions)


def _decision(layer: QuantisableLayer, reason: str | None, dtype: DType) -> Decision:
    if reason is None:
        return Decision(layer.label, dtype)
    return Decision(layer.label, layer.input.type.dtype, reason)


def _require_ranges(layers: Sequence[QuantisableLayer], ranges: Ranges) -> None:
    missing = [layer.label for layer in layers if layer.label not in ranges.layers]
    if missing:
        text = f"the input of `{missing[0]}` has no range{did_you_mean(missing[0], ranges.layers)}"
        raise UsageError(Diagnostic(text, help=("`trtdsl calibrate` finds it with data",)))


def _ends(tensors: Sequence[tuple[Value, str]], ranges: Ranges, graph: Graph) -> dict[Value, float]:
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


class _Quantisation:
    """One graph's new nodes. A tensor is quantised once, by the largest range of its readers."""

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[QuantisableLayer],
        ranges: Ranges,
        policy: Policy,
        around: DType | None,
    ) -> None:
        self._graph = graph
        self._layers = {layer.node: layer for layer in layers}
        self._convolved = {
            result for layer in layers if layer.is_convolution for result in layer.node.results
        }
        self._dtype = policy.dtype
        self._residuals = policy.placement.residuals
        self._around = around
        self._builder = Builder(ValueNames.of(graph))
        self._quantised: dict[Value, Value] = {}
        self._weights: dict[Weight, Value] = {}
        self._parameters: dict[str, Value] = {}
        written = list(_written(graph, layers, ranges, policy.placement))
        self._written = {tensor.reader: tensor for tensor in written}
        self._scales = {layer.input: layer for layer in reversed(layers)}
        pairs = [(layer.input, layer.label) for layer in layers]
        self._ends = _ends([*pairs, *((tensor.value, tensor.label) for tensor in written)], ranges, graph)
        self._kept = {
            value
            for node in graph.nodes
            for value in node.operands
            if isinstance(value, Weight) and node not in self._layers
        }

    def graph(self) -> Graph:
        """The graph with the chosen layers on dequantised tensors."""
        for node in self._graph.nodes:
            layer = self._layers.get(node)
            self._builder.nodes.append(self._other(node) if layer is None else self._layer(layer))
        return self._graph.replace(nodes=tuple(self._builder.nodes))

    def _other(self, node: Node) -> Node:
        """A node that is not such a layer; a sum with a convolution's result reads the other as layers do."""
        if tensor := self._written.get(node):
            return _reading(node, tensor.value, self._narrow(tensor.value, tensor.writer, "output_scale"))
        if not self._residuals or not isinstance(node.op, Add):
            return node
        for number, value in enumerate(node.operands):
            if self._convolved.isdisjoint(node.operands[:number] + node.operands[number + 1 :]):
                continue
            if value in self._scales:
                return _reading(node, value, self._input(value))
        return node

    def _layer(self, layer: QuantisableLayer) -> Node:
        new = {"input": self._input(layer.input), "weight": self._weight(layer)}
        node = layer.node
        pairs = zip(node.slots, node.operands, strict=True)
        return node.replace(operands=tuple(new.get(slot, value) for slot, value in pairs))

    def _input(self, value: Value) -> Value:
        """What layers read, quantised with the scale that stands at the first of them."""
        return self._narrow(value, self._scales[value], "input_scale")

    def _narrow(self, value: Value, layer: QuantisableLayer, slot: str) -> Value:
        """A tensor quantised and read back, once for all its readers."""
        if value not in self._quantised:
            number = self._scale(np.float32(self._ends[value] / LEVELS[self._dtype]), value.type.dtype)
            scale = self._parameter(layer, slot, number, f"{value.name}_scale")
            place = self._builder.value
            origins = layer.node.origins
            q = place(Quantize(self._dtype), value, scale, name=f"{value.name}_q", origins=origins)
            self._quantised[value] = place(Dequantize(), q, scale, name=f"{value.name}_d", origins=origins)
        return self._quantised[value]

    def _weight(self, layer: QuantisableLayer) -> Value:
        weight = layer.weight
        if weight not in self._weights:
            data, dtype = weight.data, weight.type.dtype
            if data is None:
                raise ValueError(f"weight `{weight.key}` has no data: bind the graph to a checkpoint first")
            rows = np.abs(data.astype(np.float32)).reshape(len(data), -1).max(axis=1, initial=0)
            scales = self._scale(rows / np.float32(LEVELS[self._dtype]), dtype)
            codes = Quantize(self._dtype, axis=0).fold(data, scales)
            if codes is None:
                raise ValueError(f"the weight `{weight.key}` has numbers that are not finite")
            # A weight that another layer reads as it is keeps its key.
            slot = "weight_quantised" if weight in self._kept else "weight"
            q = self._parameter(layer, slot, codes, f"{layer.label}_w")
            scale = self._parameter(layer, "weight_scale", scales, f"{layer.label}_ws")
            origins = layer.node.origins
            named = f"{layer.label}_wd"
            self._weights[weight] = self._builder.value(
                Dequantize(axis=0), q, scale, name=named, origins=origins
            )
        return self._weights[weight]

    def _scale(self, scales: Any, dtype: DType) -> Array:
        """Scales in the type of the graph, such that they have all their digits in that around it too."""
        final = (self._around or dtype).numpy
        least = 2.0**-14 if final == np.float16 else 2.0**-126
        # Of zeros only the scale does not matter.
        scales = np.where(np.asarray(scales) == 0, 1.0, np.maximum(scales, least))
        return np.asarray(scales, np.float32).astype(final).astype(dtype.numpy)

    def _parameter(self, layer: QuantisableLayer, slot: str, array: Array, name: str) -> Value:
        key = f"{layer.label}.{slot}" if layer.label else slot
        if key not in self._parameters:
            origins = layer.node.origins
            self._parameters[key] = new_parameter(self._builder, key, array, name, origins)
        return self._parameters[key]
