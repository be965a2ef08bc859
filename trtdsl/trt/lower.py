"""Lowering: a graph with bound weights becomes a TensorRT network.

In: a :class:`~trtdsl.ir.Graph`.  Out: a :class:`LoweredNetwork`, checked layer by layer, ready to build,
evaluate or look at; nothing has been compiled yet.  :func:`lower_into` emits the same layers into any other
network, as an exporter is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.ir import (
    Graph,
    Node,
    Value,
    Weight,
    bodies_by_name,
    misplaced,
    sums_of_products,
    twins,
    unusable,
    walk,
)
from trtdsl.ops.computed_wide import COMPUTED_WIDE
from trtdsl.ops.lowering import Array, Tensor
from trtdsl.ops.quantization import Dequantize
from trtdsl.ops.refused import Refused
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.naming import TensorRTNames
from trtdsl.trt.network import CheckedNetwork
from trtdsl.trt.registry import PluginName
from trtdsl.trt.target import NetworkTarget
from trtdsl.types import DType, SymbolicDim


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """A TensorRT network and what it was made of.

    ``weights`` are the arrays of each layer by slot (``kernel``, ``bias``, ``weights`` of a constant),
    ``nodes`` the graph node that each layer is of, both by the layer's name; ``tensors`` is what each value
    of the graph became. Of a ``mixed`` network TensorRT may compute float32 in float16.
    """

    graph: Graph
    checked: CheckedNetwork
    tensors: Mapping[Value, Tensor]
    mixed: bool = False

    @property
    def network(self) -> Any:
        """The ``INetworkDefinition``."""
        return self.checked.raw

    @property
    def builder(self) -> Any:
        """The ``Builder`` that made the network and must build it."""
        return self.checked.builder

    @property
    def dialect(self) -> Dialect:
        return self.checked.dialect

    @property
    def weights(self) -> Mapping[str, Mapping[str, Array]]:
        return self.checked.weights

    @property
    def plugins(self) -> Sequence[PluginName]:
        """The plugins that an engine needs to be loaded with."""
        return tuple(dict.fromkeys(self.checked.plugins))

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self.checked.nodes

    @property
    def uses_float16(self) -> bool:
        """Whether some of it is float16, or may become it."""
        return self.mixed or self._uses(DType.FLOAT16)

    @property
    def uses_int8(self) -> bool:
        """Whether some of it is int8."""
        return self._uses(DType.INT8)

    def _uses(self, dtype: DType) -> bool:
        results = (result for node in walk(self.graph) for result in node.results)
        return any(each.type.dtype is dtype for each in (*self.graph.inputs, *self.graph.weights, *results))


def lower(
    graph: Graph,
    runtime: str | Dialect | None = None,
    *,
    mixed: bool = False,
    wide: Collection[Node] = (),
    by_reference: bool = False,
) -> LoweredNetwork:
    """The graph as a network of ``runtime`` (``tensorrt_rtx``, ``tensorrt``; by default the first installed).

    ``mixed`` leaves it to TensorRT which float32 is computed in float16, where that is faster, but for the
    nodes that are ``wide``; only weakly typed networks (those of TensorRT 8.5) can be. Unless tensors are
    quantised, products are of float16, and so is all around them where there are more of them than of
    convolutions. ``by_reference`` has each plugin computed by its reference, so that the network can be
    evaluated.

    Raises RefusedByTensorRT where TensorRT refuses a layer, CompilerBug where it computes another type than
    the graph says, ValueError if a weight has no data.
    """
    dialect = runtime if isinstance(runtime, Dialect) else load_runtime(runtime)
    quantises = any(isinstance(node.op, Dequantize) for node in walk(graph))
    # A layer pinned to float32 could not be computed in int8, and what lies between quantised tensors is
    # float32 without a flag for another type.
    mixes = mixed or (quantises and not _has_halves(graph))
    net = CheckedNetwork(dialect, graph.name, mixed=mixes, wide=wide, by_reference=by_reference)
    tensors = lower_into(graph, net)
    if mixed and not quantises:
        _halve(net)
    dialect.reorder(net.raw)
    return LoweredNetwork(graph, net, tensors, mixed)


def _halve(net: CheckedNetwork) -> None:
    """Pin products to float16, and where they are most of the network all else but norms and the like.

    8.5.3 makes a region of what lies around products, and by one time that it took beside other work computes
    all of it in float32, or all but products that are pinned, with a cast on either side of each.
    """
    kinds = Counter(kind for _, kind, _ in net.free)
    all_of_it = kinds["matrix_multiply"] > kinds["convolution_nd"] + kinds["deconvolution_nd"]
    for layer, kind, node in net.free:
        inside = node is not None and node.op.name in COMPUTED_WIDE
        if kind == "matrix_multiply" or (all_of_it and not inside):
            layer.precision = net.data_type(DType.FLOAT16)


def _has_halves(graph: Graph) -> bool:
    values = (value for node in walk(graph) for value in (*node.operands, *node.results))
    return any(value.type.dtype is DType.FLOAT16 for value in values)


def lower_into(graph: Graph, target: NetworkTarget) -> Mapping[Value, Tensor]:
    """Emit a graph into any network, which is the target's afterwards: what each value became.

    Raises what the target does, DiagnosticError where an operator cannot work in place or with a constant,
    CompilerBug where a lowering contradicts its type rule, ValueError if a weight has no data.
    """
    for node, problem in (*misplaced(graph), *unusable(graph)):
        raise DiagnosticError(Diagnostic.at(problem, node.origins))
    names = _tensor_names(graph)
    target.reserve(names.given.values())
    iterations = (node.op.iterations(**node.operand_types) for node in walk(graph))
    target.loops_vary = any(isinstance(count, SymbolicDim) for count in iterations)
    tensors: dict[Value, Tensor] = {}
    for value in graph.inputs:
        tensors[value] = target.inputs[value.name] = target.add_input(value.name, value.type)
    tensors |= {weight: _weight(target, weight) for weight in graph.weights}
    _lower_nodes(target, graph, tensors, names)
    for output in graph.outputs:
        target.mark_output(tensors[output.value], output.name)
    return tensors


@dataclass(frozen=True)
class _TensorNames:
    """The name of each value's tensor: inputs and outputs have theirs exactly, others give way."""

    given: dict[Value, str]
    free: TensorRTNames

    def of(self, value: Value) -> str:
        """The name of a value that is made now: one of a body may be made several times."""
        return self.given[value] if value in self.given else self.free.claim(value.name)


def _tensor_names(graph: Graph) -> _TensorNames:
    given = {value: value.name for value in graph.inputs}
    taken = {*given.values()}
    for output in graph.outputs:
        if output.name in taken:
            message = f"two inputs or outputs are called `{output.name}`"
            raise DiagnosticError(Diagnostic.at(message, output.origins))
        taken.add(output.name)
        given.setdefault(output.value, output.name)
    free = TensorRTNames(taken)
    for node in graph.nodes:
        for result in node.results:
            if result not in given:
                given[result] = free.claim(result.name)
    return _TensorNames(given, free)


def _weight(net: NetworkTarget, weight: Weight) -> Tensor:
    if weight.data is None:
        raise ValueError(f"weight `{weight.key}` has no data: bind the graph to a checkpoint first")
    return net.weight(weight.key, weight.data)


def _lower_nodes(net: NetworkTarget, graph: Graph, tensors: dict[Value, Tensor], names: _TensorNames) -> None:
    same, sums = twins(graph), sums_of_products(graph)
    for node in graph.nodes:
        results = _lower_node(net, node, tensors, names)
        tensors.update(zip(node.results, results, strict=True))
        net.sums_of_products.update(tensors[value] for value in node.results if value in sums)
        net.twins |= {tensors[value]: tensors[same[value]] for value in node.results if value in same}


def _lower_node(
    net: NetworkTarget, node: Node, tensors: Mapping[Value, Tensor], names: _TensorNames
) -> tuple[Tensor, ...]:
    arguments = node.arguments([tensors[value] for value in node.operands])
    if node.bodies:
        bodies = bodies_by_name(node.op, node.bodies)
        arguments["bodies"] = {name: _as_function(net, body, tensors, names) for name, body in bodies.items()}
    net.begin(node)
    try:
        lowered = node.op.lower(net, **arguments)
    except Refused as refused:
        raise net.refused(refused.message, *([refused.help] if refused.help else [])) from refused
    results = lowered if isinstance(lowered, tuple) else (lowered,)
    net.check_results(results)
    for value, tensor in zip(node.results, results, strict=True):
        net.name_result(tensor, names.of(value))
    net.end()
    return results


def _as_function(
    net: NetworkTarget, body: Graph, around: Mapping[Value, Tensor], names: _TensorNames
) -> Callable[..., tuple[Tensor, ...]]:
    """A body, to be emitted where its operator calls it. Of what is around it sees the weights."""
    weights = {weight: around[weight] for weight in body.weights}

    def emit(*inputs: Tensor) -> tuple[Tensor, ...]:
        tensors = {**weights, **dict(zip(body.inputs, inputs, strict=True))}
        _lower_nodes(net, body, tensors, names)
        return tuple(tensors[output.value] for output in body.outputs)

    return emit
