"""The verifier: a graph's promises, derived again and held against what it says.

In: a graph, from anywhere, and how far it says it has come.  Out: every violation; nothing stored in the
graph is trusted, and the bodies of its nodes are looked at like the graph itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from trtdsl.ir.graph import Graph, Node, Value, Weight, bodies_by_name, graphs, infer
from trtdsl.ir.show import show
from trtdsl.ops.refused import Refused


class Violation(msgspec.Struct, frozen=True):
    """A promise that a graph breaks; ``node`` is where, or None where it is the graph as a whole."""

    text: str
    node: Node | None = None

    def __str__(self) -> str:
        if self.node is None:
            return self.text
        names = ", ".join(result.name for result in self.node.results)
        return f"{names} = {self.node.op}: {self.text}"


class InvalidGraph(Exception):
    """A graph that broke its promises: a bug in whatever made it."""

    def __init__(self, graph: Graph, violations: tuple[Violation, ...]) -> None:
        found = "\n".join(f"  {violation}" for violation in violations)
        super().__init__(f"invalid graph `{graph.name}`:\n{found}\n\n{show(graph)}")
        self.violations = violations


Stage: TypeAlias = Literal["elaborated", "bound", "lowerable"]
"""How far a graph has come. From ``bound`` on every weight has its values; a ``lowerable`` graph's inputs
and outputs have names that TensorRT can tell apart."""


def require_valid(graph: Graph, stage: Stage = "elaborated") -> Graph:
    """The graph itself; raises :class:`InvalidGraph` with every violation."""
    violations = verify(graph, stage)
    if violations:
        raise InvalidGraph(graph, violations)
    return graph


def verify(graph: Graph, stage: Stage = "elaborated") -> tuple[Violation, ...]:
    """Every violation, in the order of the nodes; those of bodies stand at their own nodes."""
    return tuple(_violations(graph, stage))


def _violations(graph: Graph, stage: Stage) -> Iterator[Violation]:
    yield from _level(graph)
    yield from _names(graph)
    yield from _keys(graph)
    yield from _ranges(graph)
    if stage != "elaborated":
        unbound = [weight.key for weight in graph.weights if weight.data is None]
        yield from (Violation(f"the weight `{key}` has no values") for key in unbound)
    if stage == "lowerable":
        ends = Counter([*(value.name for value in graph.inputs), *(output.name for output in graph.outputs)])
        yield from (
            Violation(f"{count} inputs or outputs are called `{name}`")
            for name, count in ends.items()
            if count > 1
        )


def _level(graph: Graph) -> Iterator[Violation]:
    """What is wrong with one graph's own nodes and, at each, with its bodies."""
    defined: set[Value] = set(graph.inputs)
    for node in graph.nodes:
        yield from _operands(node, defined)
        operands = node.operand_types
        if len(node.bodies) == len(node.op.bodies) or (node.op.bodies_optional and not node.bodies):
            yield from _bodies(node, operands)
            yield from _types(node, operands)
        else:
            yield Violation(f"it holds {len(node.bodies)} of its {len(node.op.bodies)} bodies", node)
        yield from _weights(node, operands)
        if not node.origins:
            yield Violation("it has no origin in the text", node)
        defined.update(node.results)
    for output in graph.outputs:
        if output.value not in defined:
            yield Violation(f"output `{output.name}` is `{output.value.name}`, which nothing makes")


def _bodies(node: Node, operands: Mapping[str, Any]) -> Iterator[Violation]:
    if not node.bodies:
        return
    wanted = node.op.body_inputs(**operands)
    for name, body in bodies_by_name(node.op, node.bodies).items():
        if body.symbols or body.profiles or body.ranges:
            text = f"its body `{name}` has dimensions or ranges of its own, which only a model has"
            yield Violation(text, node)
        if body.signature.inputs != wanted[name]:
            found = _listed(body.signature.inputs)
            yield Violation(f"its body `{name}` takes {found}, not {_listed(wanted[name])}", node)
        yield from _level(body)


def _operands(node: Node, defined: set[Value]) -> Iterator[Violation]:
    if len(node.operands) != len(node.slots):
        yield Violation(f"it has {len(node.operands)} operands in {len(node.slots)} slots", node)
    for value in node.operands:
        if value not in defined and not isinstance(value, Weight):
            yield Violation(f"it reads `{value.name}` before that is made", node)


def _types(node: Node, operands: Mapping[str, Any]) -> Iterator[Violation]:
    try:
        inferred = infer(node.op, operands, node.bodies)
    except Refused as refusal:
        yield Violation(f"its operator refuses it: {refusal.message}", node)
        return
    stored = tuple(result.type for result in node.results)
    if inferred != stored:
        yield Violation(f"its types are {_listed(stored)}, but its operator gives {_listed(inferred)}", node)


def _weights(node: Node, operands: Mapping[str, Any]) -> Iterator[Violation]:
    needed = node.op.weights(**operands)
    declared = {operand.name for operand in node.op.operands}
    given = {slot: v for slot, v in zip(node.slots, node.operands, strict=False) if slot not in declared}
    for slot, value in given.items():
        if slot not in needed:
            yield Violation(f"it takes no weight `{slot}`", node)
            continue
        if value.type != needed[slot]:
            yield Violation(f"its weight `{slot}` is {value.type}, not {needed[slot]}", node)
        if isinstance(value, Weight):
            yield from _stored(node, slot, value)
    for slot in needed:
        if slot not in given:
            yield Violation(f"it has no weight `{slot}`", node)
    for slot, value in zip(node.slots, node.operands, strict=False):
        if slot in declared and isinstance(value, Weight):
            yield Violation(f"its operand `{slot}` is a weight; place a `Parameter`", node)


def _stored(node: Node, slot: str, weight: Weight) -> Iterator[Violation]:
    """What is wrong with a weight of the checkpoint in its slot."""
    key = node.op.key(slot, node.scope)
    if weight.key != key:
        yield Violation(f"its weight `{slot}` has the key `{weight.key}`, not `{key}`", node)
    data, type = weight.data, weight.type
    if data is not None and (data.shape != type.shape or data.dtype != type.dtype.numpy):
        yield Violation(f"the values of `{weight.key}` are {data.dtype}{list(data.shape)}", node)


def _names(graph: Graph) -> Iterator[Violation]:
    counts = Counter(
        value.name
        for each in graphs(graph)
        for value in (*each.inputs, *(result for node in each.nodes for result in node.results))
    )
    yield from (
        Violation(f"{count} values are called `{name}`") for name, count in counts.items() if count > 1
    )
    for each in graphs(graph):
        outputs = Counter(output.name for output in each.outputs)
        yield from (
            Violation(f"{count} outputs are called `{name}`") for name, count in outputs.items() if count > 1
        )


def _ranges(graph: Graph) -> Iterator[Violation]:
    types = {value.name: value.type for value in graph.inputs}
    for name, (low, high) in graph.ranges.items():
        if name not in types:
            yield Violation(f"`{name}` has a range of values, but is not an input")
        elif types[name].dtype.is_bool or not low <= high:
            yield Violation(f"input `{name}` is {types[name]}, which cannot be in {low} .. {high}")


def _keys(graph: Graph) -> Iterator[Violation]:
    counts = Counter(weight.key for weight in graph.weights)
    yield from (
        Violation(f"{count} weights have the key `{key}`") for key, count in counts.items() if count > 1
    )


def _listed(types: tuple[object, ...]) -> str:
    return ", ".join(map(str, types))
