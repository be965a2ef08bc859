"""Lowering: a graph with bound weights becomes a TensorRT network.

In: a :class:`~trtdsl.ir.Graph`.  Out: a :class:`LoweredNetwork`, checked layer by layer, ready to build,
evaluate or look at; nothing has been compiled yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.ops.base import Refused
from trtdsl.ops.lowering import Array, Tensor
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.naming import TensorRTNames
from trtdsl.trt.network import CheckedNetwork


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """A TensorRT network and what it was made of. Holds the weight buffers that the network points into.

    ``weights`` are the arrays of each layer by slot (``kernel``, ``bias``, ``weights`` of a constant),
    ``nodes`` the graph node behind each layer, both by the layer's name; ``tensors`` is what each value of
    the graph became. Of a ``mixed`` network TensorRT may compute float32 in float16.
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
    def nodes(self) -> Mapping[str, Node]:
        return self.checked.nodes


def lower(graph: Graph, runtime: str | Dialect | None = None, *, mixed: bool = False) -> LoweredNetwork:
    """The graph as a network of ``runtime`` (``tensorrt_rtx``, ``tensorrt``; by default the first installed).

    ``mixed`` leaves it to TensorRT which float32 is computed in float16, where that is faster; only weakly
    typed networks (those of TensorRT 8.5) can be.

    Raises RefusedByTensorRT where TensorRT refuses a layer, CompilerBug where it computes another type than
    the graph says, ValueError if a weight has no data.
    """
    names = _tensor_names(graph)
    dialect = runtime if isinstance(runtime, Dialect) else load_runtime(runtime)
    net = CheckedNetwork(dialect, graph.name, names.values(), mixed=mixed)
    tensors: dict[Value, Tensor] = {value: net.add_input(value.name, value.type) for value in graph.inputs}
    tensors |= {weight: _weight(net, weight) for weight in graph.weights}
    for node in graph.nodes:
        _lower_node(net, node, tensors, names)
    for output in graph.outputs:
        net.mark_output(tensors[output.value], output.name)
    return LoweredNetwork(graph, net, tensors, mixed)


def _tensor_names(graph: Graph) -> dict[Value, str]:
    """The name of each value's tensor: inputs and outputs have theirs exactly, others give way."""
    inputs = {value: value.name for value in graph.inputs}
    taken = {*inputs.values()}
    names = dict(inputs)
    for output in graph.outputs:
        if output.name in taken:
            raise DiagnosticError(
                Diagnostic(
                    f"two inputs or outputs are called `{output.name}`",
                    span=output.origins[0].span if output.origins else None,
                )
            )
        taken.add(output.name)
        names.setdefault(output.value, output.name)
    unique = TensorRTNames(taken)
    for node in graph.nodes:
        for result in node.results:
            if result not in names:
                names[result] = unique.claim(result.name)
    return names


def _weight(net: CheckedNetwork, weight: Weight) -> Tensor:
    if weight.data is None:
        raise ValueError(f"weight `{weight.key}` has no data: bind the graph to a checkpoint first")
    return net.weight(weight.key, weight.data)


def _lower_node(
    net: CheckedNetwork, node: Node, tensors: dict[Value, Tensor], names: Mapping[Value, str]
) -> None:
    net.begin(node)
    arguments = node.arguments([tensors[value] for value in node.operands])
    try:
        lowered = node.op.lower(net, **arguments)
    except Refused as refused:
        raise net.refused(refused.message, *([refused.help] if refused.help else [])) from refused
    results = lowered if isinstance(lowered, tuple) else (lowered,)
    net.end()
    net.check_results(results)
    for value, tensor in zip(node.results, results, strict=True):
        tensors[value] = tensor
        net.name_result(tensor, names[value])
