"""Channels of a tensor brought to one size before it is quantised, and the weights that read it against that.

In: a graph with its weights' values, the ranges of its layers' inputs with those of each channel, and which
layers will be quantised.  Out: a graph that computes the same, and its ranges, without a second calibration.

A tensor quantised with one scale keeps few levels for its small channels. Channel c of it is divided by
``s[c] = x[c] ** alpha / w[c] ** (1 - alpha)``, of its largest magnitude x and that of the weights that read
it, and these weights are multiplied by ``s[c]``: with alpha near 1 all channels become equally large, with
alpha near 0 all columns of the weights. It is SmoothQuant (Xiao et al., 2023) for every tensor that a layer
reads, and for a depthwise convolution, whose weights have a scale for each channel anyway, alpha is 1.

The division goes into the weights of the layer that makes the tensor where they can take it in
(:mod:`~trtdsl.precision.absorbing`), and is else a product before the tensor is quantised, by
``LABEL.pre_quant_scale``, as NVIDIA's ModelOpt calls it. TensorRT computes that in the kernel that quantises.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx
import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Origin
from trtdsl.ir import Builder, Graph, Node, Value, ValueNames, Weight
from trtdsl.ops.pointwise import Mul
from trtdsl.precision.absorbing import Origins
from trtdsl.precision.layers import QuantisableLayer, new_parameter, quantisable_layers
from trtdsl.precision.ranges import LayerRange, Ranges
from trtdsl.precision.written import written_tensors

Array = npt.NDArray[Any]

ALPHA = 0.7
"""Of the values measured, that with the least error for four convolutional networks and a transformer. One
for each layer, by the error of that layer's own output, was worse than one for all."""

_LEAST = 1e-5
"""Of the largest channel: what is less counts as this, so that no factor is beyond all others."""


@dataclass(frozen=True)
class Equalised:
    """The graph, its ranges, and what alpha was for each layer that reads an equalised tensor."""

    graph: Graph
    ranges: Ranges
    alphas: Mapping[str, float]


def equalise(
    graph: Graph,
    ranges: Ranges,
    labels: Collection[str],
    alpha: float = ALPHA,
    products: bool = True,
) -> Equalised:
    """The graph with equalised inputs of the layers of these labels, where the ranges know their channels.

    With an ``alpha`` of 0 nothing is changed. Without ``products`` only those tensors are equalised whose
    division goes into weights. The values that the graph computes stay the same but for rounding.
    """
    if alpha == 0:
        return Equalised(graph, ranges, {})

    def by_size(group: Sequence[QuantisableLayer]) -> tuple[Array, float] | None:
        sizes = _sizes(group, ranges)
        return None if sizes is None else (_factors_of(group, sizes, alpha), alpha)

    return equalise_by(graph, ranges, labels, by_size, products)


Choose: TypeAlias = Callable[[Sequence[QuantisableLayer]], "tuple[Array, float] | None"]
"""Layers that share a tensor, and what its channels are to be divided by, with the alpha that this stands
for; None leaves them as they are."""


def equalise_by(
    graph: Graph, ranges: Ranges, labels: Collection[str], choose: Choose, products: bool = True
) -> Equalised:
    """The graph with the inputs of the layers of these labels divided as ``choose`` says, group by group."""
    layers = [layer for layer in quantisable_layers(graph) if layer.label in labels]
    work = _Equalisation(graph, ranges, products)
    for group in _groups(graph, layers):
        if chosen := choose(group):
            work.equalise(group, *chosen)
    return work.result()


def _sizes(group: Sequence[QuantisableLayer], ranges: Ranges) -> Array | None:
    """The largest magnitude of each channel that a group reads; None where it is not known, or all are 0."""
    known = [found.channels if (found := ranges.layers.get(layer.label)) else () for layer in group]
    if {*map(len, known)} != {inputs_of(layer) for layer in group} or not np.any(known):
        return None
    return np.max(known, axis=0)


def _groups(graph: Graph, layers: Sequence[QuantisableLayer]) -> Iterator[list[QuantisableLayer]]:
    """Layers that share a tensor, or a weight, must share the factors of its channels.

    Those are left out whose weight is read by something else too.
    """
    origins = Origins(graph)
    links: Any = networkx.Graph()
    for index, layer in enumerate(layers):
        links.add_edge(index, (layer.input, layer.channels))
        links.add_edge(index, layer.weight)
    for component in networkx.connected_components(links):
        group = [layers[index] for index in sorted(each for each in component if isinstance(each, int))]
        uses = Counter(layer.weight for layer in group)
        if all(origins.reads(weight) == count for weight, count in uses.items()):
            yield group


def _groups_of(layer: QuantisableLayer) -> int:
    op: Any = layer.node.op
    return op.groups if layer.is_convolution else 1


class _Equalisation:
    """One graph's new weights and nodes."""

    def __init__(self, graph: Graph, ranges: Ranges, products: bool) -> None:
        self._graph = graph
        self._ranges = ranges
        self._may_multiply = products
        self._origins = Origins(graph)
        self._layers = dict(ranges.layers)
        self._alphas: dict[str, float] = {}
        self._factors: dict[Weight, list[Array]] = {}
        self._written = {each.writer.weight: each.label for each in written_tensors(graph)}
        self._products: dict[Node, _Product] = {}

    def equalise(self, group: Sequence[QuantisableLayer], factors: Array, alpha: float) -> None:
        """Note what becomes of the layers of a group, and of what they read."""
        if not self._scale_tensors(group, factors):
            return
        for layer in {layer.weight: layer for layer in group}.values():
            self._factors.setdefault(layer.weight, []).append(_columns(layer, factors))
        for layer in {layer.label: layer for layer in group}.values():
            if known := self._ranges.layers.get(layer.label):
                self._layers[layer.label] = _divided(known, factors)
            self._alphas[layer.label] = 1.0 if _is_depthwise(layer) else alpha

    def _scale_tensors(self, group: Sequence[QuantisableLayer], factors: Array) -> bool:
        """Divide what the layers read: in the weights that make it, or before they read it; False, and
        nothing is done, where that would take a product and there may be none."""
        inverse = 1 / factors
        into_weights: list[tuple[Weight, Array]] = []
        products: dict[Node, _Product] = {}
        for value in dict.fromkeys(layer.input for layer in group):
            readers = [layer for layer in group if layer.input is value]
            whole = _spread(inverse, value.type.rank, readers[0].channels)
            mine = self._origins.reads(value) == len(readers)
            absorbed = self._origins.absorbed(value, whole) if mine else None
            into_weights += (absorbed or {}).items()
            if absorbed is None:
                product = _Product(value, whole, group[0].label)
                products |= dict.fromkeys((layer.node for layer in readers), product)
        if products and not self._may_multiply:
            return False
        for weight, factor in into_weights:
            self._factors.setdefault(weight, []).append(factor)
            if label := self._written.get(weight):
                self._divide_written(label, 1 / factor.reshape(-1))
        self._products |= products
        return True

    def _divide_written(self, label: str, factors: Array) -> None:
        """The range of what a convolution writes on the way to the layer that its results are divided for."""
        known = self._layers.get(label)
        if known and known.channels:
            self._layers[label] = _divided(known, factors)
        elif known:
            del self._layers[label]

    def result(self) -> Equalised:
        """The graph with all of it."""
        weights = {weight: _scaled(weight, factors) for weight, factors in self._factors.items()}
        nodes = self._placed(weights) if weights else self._graph.nodes
        return Equalised(
            self._graph.replace(nodes=tuple(nodes)),
            dataclasses.replace(self._ranges, layers=self._layers),
            self._alphas,
        )

    def _placed(self, weights: Mapping[Weight, Weight]) -> Sequence[Node]:
        """The nodes with these weights, and a product before the first reader of a tensor that needs one."""
        builder = Builder(ValueNames.of(self._graph))
        parameters: dict[str, Value] = {}
        made: dict[int, Value] = {}
        for node in self._graph.nodes:
            product = self._products.get(node)
            if product and id(product) not in made:
                if product.label not in parameters:
                    parameters[product.label] = product.parameter(builder, node.origins)
                scale, name = parameters[product.label], f"{product.value.name}_equalised"
                operands = (product.value, scale)
                made[id(product)] = builder.value(Mul(), *operands, name=name, origins=node.origins)
            builder.nodes.append(_redirected(node, weights, made.get(id(product))))
        return builder.nodes


@dataclass(frozen=True)
class _Product:
    """A tensor that is multiplied by factors, and the label at which these stand."""

    value: Value
    factors: Array
    label: str

    def parameter(self, builder: Builder, origins: Sequence[Origin]) -> Value:
        """The factors in the tensor's type, without the dimensions before their own."""
        first = next((dim for dim, size in enumerate(self.factors.shape) if size != 1), -1)
        array = self.factors.reshape(self.factors.shape[first:]).astype(self.value.type.dtype.numpy)
        key = f"{self.label}.pre_quant_scale" if self.label else "pre_quant_scale"
        return new_parameter(builder, key, array, key, origins)


def _redirected(node: Node, weights: Mapping[Weight, Weight], input: Value | None) -> Node:
    operands = tuple(weights.get(v, v) if isinstance(v, Weight) else v for v in node.operands)
    if input is not None:
        pairs = zip(node.slots, operands, strict=True)
        operands = tuple(input if slot == "input" else value for slot, value in pairs)
    return node if operands == node.operands else node.replace(operands=operands)


# --- Numbers -----------------------------------------------------------------------------------------------


def inputs_of(layer: QuantisableLayer) -> int:
    """How many channels a layer reads."""
    return int(layer.weight.type.shape[1]) * _groups_of(layer)  # pyright: ignore[reportArgumentType]


def _is_depthwise(layer: QuantisableLayer) -> bool:
    return _groups_of(layer) > 1 and layer.weight.type.shape[1] == 1


def _factors_of(group: Sequence[QuantisableLayer], sizes: Array, alpha: float) -> Array:
    """What each channel is divided by, with a geometric mean of 1.

    A channel that was 0 in all the data is divided by as much as any: it may be other than 0 elsewhere.
    """
    readers = np.max([_column_sizes(layer) for layer in group], axis=0)
    if all(_is_depthwise(layer) for layer in group):
        alpha = 1.0
    live = (sizes > 0) & (readers > 0)
    if not live.any():
        return np.ones(len(sizes))
    x = np.maximum(sizes, sizes.max() * _LEAST)
    w = np.maximum(readers, readers.max() * _LEAST)
    factors = x**alpha / w ** (1 - alpha)
    factors /= np.exp(np.log(factors[live]).mean())
    return np.where(live, factors, factors[live].max())


def _column_sizes(layer: QuantisableLayer) -> Array:
    """The largest magnitude of the weights that read each channel.

    Each row of a weight has a scale of its own, so that what counts is how large its numbers are in that
    row: for MiniLM's linear layers that made the error an eighth less. For convolutions it made it no less.
    """
    data = np.abs(_data(layer.weight))
    groups = _groups_of(layer)
    by_group = data.reshape(groups, len(data) // groups, data.shape[1], -1)
    if not layer.is_convolution:
        rows = by_group.max(axis=(2, 3), keepdims=True)
        by_group = by_group / np.where(rows > 0, rows, 1.0)
    return by_group.max(axis=(1, 3)).reshape(-1)


def _columns(layer: QuantisableLayer, factors: Array) -> Array:
    """What to multiply a layer's weight by where its channels are divided by the factors."""
    rows, columns, *kernel = (int(size) for size in layer.weight.type.shape)  # pyright: ignore[reportArgumentType]
    groups = _groups_of(layer)
    by_row = factors.reshape(groups, columns).repeat(rows // groups, axis=0)
    return by_row.reshape(rows, columns, *(1,) * len(kernel))


def _data(weight: Weight) -> Array:
    if weight.data is None:
        raise ValueError(f"weight `{weight.key}` has no data: bind the graph to a checkpoint first")
    return weight.data.astype(np.float64)


def _scaled(weight: Weight, factors: Sequence[Array]) -> Weight:
    """The weight times all factors, rounded once."""
    data = _data(weight)
    for factor in factors:
        data = data * factor
    return weight.replace(data=data.astype(weight.type.dtype.numpy))


def _divided(layer: LayerRange, factors: Array) -> LayerRange:
    """The range of a tensor whose channels are divided: the same share of its largest is cut off."""
    channels = np.asarray(layer.channels) / factors
    largest = float(channels.max())
    cut = layer.input / layer.largest if layer.largest else 1.0
    return dataclasses.replace(
        layer,
        input=largest * cut,
        largest=largest,
        percentile=layer.percentile * (largest / layer.largest) if layer.largest else 0.0,
        channels=tuple(map(float, channels)),
    )


def _spread(factors: Array, rank: int, dim: int) -> Array:
    return factors.reshape([-1 if each == dim else 1 for each in range(rank)])
