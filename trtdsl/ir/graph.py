"""Values, nodes and graphs, all frozen; a pass returns a new graph.

Values are in SSA form: each has a name, a type and one producer (an input, a weight or a node).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from trtdsl.diagnostics import Origin, Span
from trtdsl.ops.base import Op, Signature
from trtdsl.ops.refused import Refused
from trtdsl.types import Symbol, TensorType, ValueRange

if TYPE_CHECKING:
    import networkx
    import numpy.typing as npt


P = TypeVar("P", bound="Part")
T = TypeVar("T")


class Part(msgspec.Struct, frozen=True, eq=False):
    """What a graph is made of: each is itself alone, and never changes."""

    def replace(self: P, **changes: Any) -> P:
        """Another one, with other fields."""
        return replace(self, **changes)


class Value(Part, frozen=True, eq=False):
    """One tensor of the graph."""

    name: str
    type: TensorType


Lookup: TypeAlias = Callable[[str, Span], "Weight"]
"""A checkpoint's entry by its key, which stands at a place of a text; raises DiagnosticError without one."""


class Stored(Part, frozen=True, eq=False):
    """Where a `weights` section says that a weight is, which is not at its own key.

    ``text`` says it as the language writes it, with nothing left in it to be looked up. ``key`` is the
    checkpoint's where it is one key. ``graph`` computes the weight in any case: it has one output and no
    inputs, its weights are the entries that it asks for; it raises DiagnosticError for what cannot be.
    """

    text: str
    key: str | None
    span: Span
    graph: Callable[[Lookup], Graph]


class Weight(Value, frozen=True, eq=False):
    """A tensor of the model: ``key`` is its name in the state dict, ``data`` its values once bound.

    A checkpoint has it at that key, or where ``stored`` says. A ``constant`` belongs to the text rather than
    to the state dict: a file beside the checkpoint has it.
    """

    key: str = ""
    data: npt.NDArray[Any] | None = None
    stored: Stored | None = None
    constant: bool = False


class Node(Part, frozen=True, eq=False):
    """One application of an operator.

    ``operands`` stand beside ``slots``, the operator's names for them; a variadic operand's slot is
    repeated, an absent one has none. A module's weights stand after them in the slots that the operator's
    ``weights`` names, where any value may stand: a :class:`Weight` of the checkpoint or one that is computed.
    ``scope`` is the state-dict path at which the node stands. ``origins`` begins with the operator's own
    place in the text, then where each enclosing block was placed.

    ``bodies`` are the graphs that the operator runs itself (a scan's step, a condition's branches), one for
    each name in the operator's ``bodies``. A body sees its own inputs and the model's weights, nothing else
    from around it: what it captures is an operand of the node.
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
        """The checkpoint's weights among the operands, by slot."""
        pairs = zip(self.slots, self.operands, strict=True)
        return {slot: value for slot, value in pairs if isinstance(value, Weight)}

    @property
    def tensors(self) -> list[tuple[str, Value]]:
        """The operands proper with their slots: those that stand in no weight's place."""
        declared = {operand.name for operand in self.op.operands}
        return [(s, v) for s, v in zip(self.slots, self.operands, strict=True) if s in declared]

    @property
    def computed_weights(self) -> dict[str, Value]:
        """What stands in a weight's place and is not the checkpoint's, by slot."""
        declared = {operand.name for operand in self.op.operands}
        pairs = zip(self.slots, self.operands, strict=True)
        return {slot: v for slot, v in pairs if slot not in declared and not isinstance(v, Weight)}

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
        return infer(self.op, self.operand_types, self.bodies)

    @property
    def operand_types(self) -> dict[str, Any]:
        """The types of the operands by name, a list of them for a variadic one, weights left out."""
        return operand_types(self.op, list(zip(self.slots, self.operands, strict=False)))


def operand_types(op: Op, pairs: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    """The types of an operator's operands by name, from pairs of a slot and a value; weights are left out."""
    variadic = {operand.name for operand in op.operands if operand.variadic}
    named: dict[str, Any] = {}
    for slot, value in pairs:
        if slot in variadic:
            named.setdefault(slot, []).append(value.type)
        else:
            named[slot] = value.type
    return op.signature(named)


def bodies_by_name(op: Op, bodies: Sequence[T]) -> dict[str, T]:
    """An operator's bodies, or what stands for each, by name; none where it does without them."""
    names = () if op.bodies_optional and not bodies else op.bodies
    return dict(zip(names, bodies, strict=True))


def infer(op: Op, types: Mapping[str, Any], bodies: Sequence[Graph] = ()) -> tuple[TensorType, ...]:
    """The types of an operator's results, from its operands' by name and its bodies."""
    extra = {"bodies": {name: body.signature for name, body in bodies_by_name(op, bodies).items()}}
    _require_computed(op, types)
    inferred = op.infer(**types, **(extra if op.bodies else {}))
    results = inferred if isinstance(inferred, tuple) else (inferred,)
    if not op.takes_quantised and (made := next((t for t in results if t.dtype.is_quantised), None)):
        raise Refused(f"`{op.name}` does not make {made.dtype}", "dtype", "a `Parameter` holds such numbers")
    return results


def _require_computed(op: Op, types: Mapping[str, Any]) -> None:
    """Refuse operands of types in which nothing is computed, but for operators that take them."""
    for name, given in () if op.takes_quantised else types.items():
        for type in given if isinstance(given, (list, tuple)) else (given,):
            if isinstance(type, TensorType) and type.dtype.is_quantised:
                text = f"`{op.name}` does not compute in {type.dtype}"
                raise Refused(text, name, "`dequantize` it first")


class Output(Part, frozen=True, eq=False):
    """A network output: its name outside, its value inside."""

    name: str
    value: Value
    origins: tuple[Origin, ...] = ()


class Profile(msgspec.Struct, frozen=True):
    """One optimisation profile: for each dynamic dimension its minimum, optimum and maximum."""

    name: str
    ranges: Mapping[str, tuple[int, int, int]]


class Graph(Part, frozen=True, eq=False, dict=True):
    """A model, or the body of a node: inputs, nodes in topological order, outputs.

    A model also has its dynamic dimensions and profiles, which its bodies share. ``profiles`` are complete:
    the first, ``default``, holds the ranges of the `dim` statements, each further one every dimension's range
    too. A symbol's own range spans all profiles. ``ranges`` says by name what values inputs take that say so.
    Names of values are unique over a model and its bodies.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    symbols: tuple[Symbol, ...] = ()
    profiles: tuple[Profile, ...] = ()
    documentation: str = ""
    ranges: Mapping[str, ValueRange] = msgspec.field(default_factory=dict[str, ValueRange])

    def __repr__(self) -> str:
        """In a line; `trtdsl.show` prints the whole."""
        inputs = ", ".join(f"{value.name}: {value.type}" for value in self.inputs)
        outputs = ", ".join(output.name for output in self.outputs)
        return f"<Graph {self.name}({inputs}) -> {outputs}: {len(self.nodes)} nodes>"

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """Every weight once, in the order of first use, those of bodies included."""
        found = {
            id(value): value for node in walk(self) for value in node.operands if isinstance(value, Weight)
        }
        return tuple(found.values())

    @property
    def signature(self) -> Signature:
        """The types of what goes in and of what comes out."""
        return Signature(
            tuple(value.type for value in self.inputs), tuple(output.value.type for output in self.outputs)
        )

    @cached_property
    def producers(self) -> Mapping[Value, Node]:
        """The node that made each value of this graph; inputs and weights have none. A body has its own."""
        return {result: node for node in self.nodes for result in node.results}

    @cached_property
    def users(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes of this graph that read each value, once each, in order. A body has its own."""
        found: dict[Value, dict[Node, None]] = {}
        for node in self.nodes:
            for value in node.operands:
                found.setdefault(value, {})[node] = None
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def output_values(self) -> frozenset[Value]:
        return frozenset(output.value for output in self.outputs)

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
    """The graph with these nodes, every use of a replaced value (chains included) redirected.

    Weights are redirected in bodies too; other values of a graph are not seen there.
    """

    def resolve(value: Value) -> Value:
        while value in replaced:
            value = replaced[value]
        return value

    return _redirected(graph.replace(nodes=tuple(nodes)), resolve)


def _redirected(graph: Graph, resolve: Callable[[Value], Value]) -> Graph:
    nodes = tuple(_redirect(node, resolve) for node in graph.nodes)
    outputs = tuple(
        out if (new := resolve(out.value)) is out.value else out.replace(value=new) for out in graph.outputs
    )
    if _same(nodes, graph.nodes) and _same(outputs, graph.outputs):
        return graph
    return graph.replace(nodes=nodes, outputs=outputs)


def _redirect(node: Node, resolve: Callable[[Value], Value]) -> Node:
    operands = tuple(resolve(value) for value in node.operands)
    bodies = tuple(_redirected(body, resolve) for body in node.bodies)
    if _same(operands, node.operands) and _same(bodies, node.bodies):
        return node
    return node.replace(operands=operands, bodies=bodies)


def _same(new: Sequence[object], old: Sequence[object]) -> bool:
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def graphs(graph: Graph) -> Iterator[Graph]:
    """The graph itself and every body in it, outer before inner."""
    yield graph
    for node in graph.nodes:
        for body in node.bodies:
            yield from graphs(body)


def walk(graph: Graph) -> Iterator[Node]:
    """Every node, those of bodies included, outer before inner."""
    for node in graph.nodes:
        yield node
        for body in node.bodies:
            yield from walk(body)


def map_graphs(change: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """The graph with ``change`` made to every body, innermost first, and then to itself.

    What changes nothing should return the graph that it was given: then so does this.
    """
    nodes = tuple(
        with_bodies(node, [map_graphs(change, body) for body in node.bodies]) for node in graph.nodes
    )
    return change(graph if _same(nodes, graph.nodes) else graph.replace(nodes=nodes))


def with_bodies(node: Node, bodies: Sequence[Graph]) -> Node:
    """The node with other bodies; the same where they are the same."""
    return node if _same(bodies, node.bodies) else node.replace(bodies=tuple(bodies))
