"""The outputs of graphs that differ in some of their nodes, each computed from where it differs.

In: a graph and samples, whose tensors are computed once and kept.  Out: the outputs of other graphs that have
nodes in common with it: those nodes are computed again only where what they read has changed::

    replay = Replay(graph, batch)
    replay.outputs(graph_with_one_layer_quantised)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.reference import compute_node, symbol_values, to_torch

if TYPE_CHECKING:
    import torch


class Replay:
    """The tensors of a graph for one batch."""

    def __init__(self, graph: Graph, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        self._sizes = symbol_values(graph, inputs)
        self._nodes = {*graph.nodes}
        self._values = {value: to_torch(inputs[value.name]) for value in graph.inputs}
        for node in graph.nodes:
            self._compute(node, self._values)
        self.exact = {output.name: self._values[output.value] for output in graph.outputs}

    def outputs(self, changed: Graph) -> dict[str, torch.Tensor]:
        """The outputs of a graph of the same inputs."""
        values: dict[Value, torch.Tensor] = {}
        for node in changed.nodes:
            if node not in self._nodes or any(value in values for value in node.operands):
                self._compute(node, values)
        return {output.name: self._tensor(output.value, values) for output in changed.outputs}

    def _compute(self, node: Node, values: dict[Value, torch.Tensor]) -> None:
        import torch

        with torch.no_grad():
            operands = [self._tensor(value, values) for value in node.operands]
            results = compute_node(node, operands, self._sizes)
        values.update(zip(node.results, results, strict=True))

    def _tensor(self, value: Value, values: Mapping[Value, torch.Tensor]) -> torch.Tensor:
        if isinstance(value, Weight):
            if value.data is None:
                raise ValueError(f"weight `{value.key}` has no data: bind the graph to a checkpoint first")
            return to_torch(value.data)
        return values[value] if value in values else self._values[value]
