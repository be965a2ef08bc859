"""Values, nodes and graphs, all frozen; a pass returns a new graph.

Values are in SSA form: each has a name, a type and one producer (an input, a weight or a node).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from trtdsl.diagnostics import Origin
from trtdsl.ops.base import Op
from trtdsl.types import Symbol, TensorType

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One tensor of the graph."""

    name: str
    type: TensorType


@dataclass(frozen=True, eq=False, slots=True)
class Weight(Value):
    """A tensor of the checkpoint: ``key`` is its name there, ``data`` its values once bound."""

    key: str = ""
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator.

    ``operands`` stand beside ``slots``, the operator's names for them; a variadic operand's slot is
    repeated, an absent one has none. ``scope`` is the state-dict path at which the node stands.
    ``origins`` begins with the operator's own place in the text, then where each enclosing block was
    placed. ``bodies`` are the graphs that the operator runs itself (a scan's step, a condition's
    branches). Weights stand only in the slots that the operator's ``weights`` names.
    """

    op: Op
    operands: tuple[Value, ...]
    slots: tuple[str, ...]
    results: tuple[Value, ...]
    scope: str = ""
    origins: tuple[Origin, ...] = ()
    bodies: tuple[Graph, ...] = ()

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result

    def operand(self, slot: str) -> Value | None:
        """The operand in a slot, or None where it is absent."""
        return next((v for v, s in zip(self.operands, self.slots, strict=True) if s == slot), None)

    @property
    def weights(self) -> dict[str, Weight]:
        """The weights among the operands, by slot."""
        pairs = zip(self.slots, self.operands, strict=True)
        return {slot: value for slot, value in pairs if isinstance(value, Weight)}

    def arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """``values``, one for each operand, as keyword arguments of the operator's methods."""
        variadic = {operand.name for operand in self.op.operands if operand.variadic}
        named: dict[str, Any] = {}
        for slot, value in zip(self.slots, values, strict=True):
            if slot in variadic:
                named.setdefault(slot, []).append(value)
            else:
                named[slot] = value
        return named

    def infer(self) -> tuple[TensorType, ...]:
        """The results' types, derived again from the operands'; raises what the operator raises."""
        declared = {operand.name for operand in self.op.operands}
        named = self.arguments([value.type for value in self.operands])
        inferred = self.op.infer(**{slot: type for slot, type in named.items() if slot in declared})
        return inferred if isinstance(inferred, tuple) else (inferred,)


@dataclass(frozen=True, eq=False, slots=True)
class Output:
    """A network output: its name outside, its value inside."""

    name: str
    value: Value
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One optimisation profile: for each dynamic dimension its minimum, optimum and maximum."""

    name: str
    ranges: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model: inputs, nodes in topological order, outputs, dynamic dimensions and profiles.

    ``profiles`` are complete: the first, ``default``, holds the ranges of the `dim` statements, each
    further one every dimension's range too. A symbol's own range spans all profiles.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    symbols: tuple[Symbol, ...] = ()
    profiles: tuple[Profile, ...] = ()
    documentation: str = field(default="", compare=False)

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """Every weight once, in the order of first use."""
        found = {
            id(value): value for node in self.nodes for value in node.operands if isinstance(value, Weight)
        }
        return tuple(found.values())

    @cached_property
    def producers(self) -> Mapping[Value, Node]:
        """The node that made each value; inputs and weights have none."""
        return {result: node for node in self.nodes for result in node.results}

    @cached_property
    def users(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes that read each value, once each, in order."""
        found: dict[Value, dict[Node, None]] = {}
        for node in self.nodes:
            for value in node.operands:
                found.setdefault(value, {})[node] = None
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def output_values(self) -> frozenset[Value]:
        return frozenset(output.value for output in self.outputs)

    def replace(self, **changes: Any) -> Graph:
        """The graph with other fields."""
        return dataclasses.replace(self, **changes)

    def networkx(self) -> networkx.MultiDiGraph[Any]:
        """Nodes, inputs and weights as vertices, one edge per use; for analyses and drawing.

        Vertices are :class:`Node` and :class:`Value` objects; an edge carries ``value`` and ``slot``.
        """
        import networkx

        graph: networkx.MultiDiGraph[Any] = networkx.MultiDiGraph(name=self.name)
        graph.add_nodes_from(self.inputs)
        graph.add_nodes_from(self.weights)
        graph.add_nodes_from(self.nodes)
        for node in self.nodes:
            for value, slot in zip(node.operands, node.slots, strict=True):
                graph.add_edge(self.producers.get(value, value), node, value=value, slot=slot)
        return graph


def rebuild(graph: Graph, nodes: Iterable[Node], replaced: Mapping[Value, Value]) -> Graph:
    """The graph with these nodes, every use of a replaced value (chains included) redirected."""

    def resolve(value: Value) -> Value:
        while value in replaced:
            value = replaced[value]
        return value

    redirected = tuple(_redirect(node, resolve) for node in nodes)
    outputs = tuple(dataclasses.replace(out, value=resolve(out.value)) for out in graph.outputs)
    return graph.replace(nodes=redirected, outputs=outputs)


def _redirect(node: Node, resolve: Any) -> Node:
    operands = tuple(resolve(value) for value in node.operands)
    unchanged = all(new is old for new, old in zip(operands, node.operands, strict=True))
    return node if unchanged else dataclasses.replace(node, operands=operands)


def walk(graph: Graph) -> Iterator[Node]:
    """Every node, those of bodies included, outer before inner."""
    for node in graph.nodes:
        yield node
        for body in node.bodies:
            yield from walk(body)
