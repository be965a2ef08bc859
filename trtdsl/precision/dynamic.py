"""Linear layers in nvfp4 or mxfp8: tensors in blocks whose scales are found while the network runs.

In: a graph with its weights' values, a policy, and for nvfp4 the ranges of its layers' inputs.  Out: the
graph with `dynamic_quantize` before what the layers read, and their weights in blocks beside it::

    nvfp4    float4_e2m1fn by 16, scales of float8_e4m3fn, in relation to one of the whole tensor
             (`LABEL.input_scale`; of weights `LABEL.weight_scale` and `LABEL.weight_scale_2`)
    mxfp8    float8_e4m3fn by 32, scales that are powers of two, float8_e8m0fnu

A weight's scales are those of least squared error, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtdsl.ir import Graph, Value
from trtdsl.ops.quantization import Dequantize, DynamicQuantize
from trtdsl.precision.grids import LARGEST, Array, Grid, Hold, nearest, numbers_of
from trtdsl.precision.layers import QuantisableLayer
from trtdsl.precision.placement import Policy
from trtdsl.precision.quantize import (
    Quantised,
    Rewrite,
    chosen_layers,
    decisions,
    ends_of,
    held_scales,
    require_ranges,
)
from trtdsl.precision.ranges import Ranges
from trtdsl.types import DType

OF_BOTH = LARGEST[DType.FLOAT4] * LARGEST[DType.FLOAT8]
"""The largest number of a block by the largest scale of one: what a tensor's largest number is to become."""

LEAST = 2.0**-9
"""The smallest number of float8_e4m3fn: a scale that is less would be 0."""


def quantize_in_blocks(graph: Graph, ranges: Ranges, policy: Policy, around: DType) -> Quantised:
    """The graph with the policy's layers in its format; UsageError for a layer without a range, if that has
    them."""
    layers = chosen_layers(graph, policy)
    if policy.format.needs_ranges:
        require_ranges(layers, ranges)
        rewrite: Rewrite = _Nvfp4(graph, layers, around, ranges)
    else:
        rewrite = _Mxfp8(graph, layers, around)
    return Quantised(rewrite.graph(), decisions(graph, policy))


class _Nvfp4(Rewrite):
    def __init__(
        self, graph: Graph, layers: Sequence[QuantisableLayer], around: DType, ranges: Ranges
    ) -> None:
        super().__init__(graph, layers, around)
        self._ends = ends_of([(layer.input, layer.label) for layer in layers], ranges, graph)
        self._final = around

    def input(self, layer: QuantisableLayer) -> Value:
        value, origins = layer.input, layer.node.origins
        number = self.held(np.float32(self._ends[value] / OF_BOTH), value.type.dtype)
        outer = self.parameter(layer, "input_scale", number, f"{value.name}_scale")
        names = (f"{value.name}_q", f"{value.name}_qs")
        q, s = self.builder.place(DynamicQuantize(), value, outer, name=names, origins=origins)
        return self._read(q, s, outer, -1, f"{value.name}_d", layer)

    def weight(self, layer: QuantisableLayer) -> Value:
        numbers = numbers_of(layer.weight.key, layer.weight.data)
        outer = held_scales(np.abs(numbers).max() / OF_BOTH, self._final)
        found = nearest(numbers, Grid(DType.FLOAT4, 16), _in_float8(outer))
        scales = (found.scales / outer).astype(DType.FLOAT8.numpy)
        dtype = layer.weight.type.dtype.numpy
        codes = self.codes(layer, found.codes)
        held = self.parameter(layer, "weight_scale", scales, f"{layer.label}_ws")
        whole = self.parameter(layer, "weight_scale_2", outer.astype(dtype), f"{layer.label}_ws2")
        return self._read(codes, held, whole, 1, f"{layer.label}_wd", layer)

    def _read(
        self, q: Value, scales: Value, outer: Value, axis: int, name: str, layer: QuantisableLayer
    ) -> Value:
        """Numbers of float4 by the scales of their blocks, and that of the tensor."""
        place, origins = self.builder.value, layer.node.origins
        each = place(Dequantize(), scales, outer, name=f"{name}s", origins=origins)
        return place(Dequantize(axis=axis), q, each, name=name, origins=origins)


def _in_float8(outer: Array) -> Hold:
    """Scales as float8 in relation to one of the whole tensor holds them."""

    def held(scales: Array) -> Array:
        share = np.clip(scales / outer, LEAST, LARGEST[DType.FLOAT8])
        return share.astype(DType.FLOAT8.numpy).astype(np.float32) * outer

    return held


class _Mxfp8(Rewrite):
    def input(self, layer: QuantisableLayer) -> Value:
        value, origins = layer.input, layer.node.origins
        names = (f"{value.name}_q", f"{value.name}_qs")
        op = DynamicQuantize(dtype=DType.FLOAT8)
        q, s = self.builder.place(op, value, name=names, origins=origins)
        back = Dequantize(value.type.dtype, axis=-1)
        return self.builder.value(back, q, s, name=f"{value.name}_d", origins=origins)

    def weight(self, layer: QuantisableLayer) -> Value:
        numbers = numbers_of(layer.weight.key, layer.weight.data)
        found = nearest(numbers, Grid(DType.FLOAT8, 32), powers_of_two)
        codes = self.codes(layer, found.codes)
        scales = found.scales.astype(DType.FLOAT8_E8M0.numpy)
        held = self.parameter(layer, "weight_scale", scales, f"{layer.label}_ws")
        back = Dequantize(layer.weight.type.dtype, axis=1)
        named = f"{layer.label}_wd"
        return self.builder.value(back, codes, held, name=named, origins=layer.node.origins)


def powers_of_two(scales: Array) -> Array:
    """The least powers of two that are not below the scales."""
    return np.exp2(np.clip(np.ceil(np.log2(scales)), -126, 127)).astype(np.float32)
