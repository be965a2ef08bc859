"""The verifier: a graph's promises, derived again and held against what it says.

In: a graph, from anywhere.  Out: every violation; nothing stored in the graph is trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from trtdsl.ir.graph import Graph, Node, Value, Weight
from trtdsl.ir.show import show
from trtdsl.ops.base import Refused


@dataclass(frozen=True)
class Violation:
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


def require_valid(graph: Graph) -> Graph:
    """The graph itself; raises :class:`InvalidGraph` with every violation."""
    violations = verify(graph)
    if violations:
        raise InvalidGraph(graph, violations)
    return graph


def verify(graph: Graph) -> tuple[Violation, ...]:
    """Every violation, in the order of the nodes."""
    return tuple(_violations(graph))


def _violations(graph: Graph) -> Iterator[Violation]:
    defined: set[Value] = set(graph.inputs)
    for node in graph.nodes:
        yield from _operands(node, defined)
        yield from _types(node)
        yield from _weights(node)
        if not node.origins:
            yield Violation("it has no origin in the text", node)
        defined.update(node.results)
    for output in graph.outputs:
        if output.value not in defined:
            yield Violation(f"output `{output.name}` is `{output.value.name}`, which nothing makes")
    yield from _names(graph)
    yield from _keys(graph)


def _operands(node: Node, defined: set[Value]) -> Iterator[Violation]:
    if len(node.operands) != len(node.slots):
        yield Violation(f"it has {len(node.operands)} operands in {len(node.slots)} slots", node)
    for value in node.operands:
        if value not in defined and not isinstance(value, Weight):
            yield Violation(f"it reads `{value.name}` before that is made", node)


def _types(node: Node) -> Iterator[Violation]:
    try:
        inferred = node.infer()
    except Refused as refusal:
        yield Violation(f"its operator refuses it: {refusal.message}", node)
        return
    stored = tuple(result.type for result in node.results)
    if inferred != stored:
        yield Violation(f"its types are {_listed(stored)}, but its operator gives {_listed(inferred)}", node)


def _weights(node: Node) -> Iterator[Violation]:
    declared = {operand.name for operand in node.op.operands}
    operands = zip(node.slots, node.operands, strict=False)
    types = {slot: value.type for slot, value in operands if slot in declared}
    variadic = any(operand.variadic for operand in node.op.operands)
    needed = (
        {} if variadic else {name or "value": (name, type) for name, type in node.op.weights(**types).items()}
    )
    for slot, weight in node.weights.items():
        if slot not in needed:
            yield Violation(f"it takes no weight `{slot}`", node)
            continue
        name, type = needed[slot]
        if weight.type != type:
            yield Violation(f"its weight `{slot}` is {weight.type}, not {type}", node)
        key = ".".join(part for part in (node.scope, name) if part)
        if weight.key != key:
            yield Violation(f"its weight `{slot}` has the key `{weight.key}`, not `{key}`", node)
        if weight.data is not None and (
            weight.data.shape != type.shape or weight.data.dtype != type.dtype.numpy
        ):
            yield Violation(
                f"the values of `{weight.key}` are {weight.data.dtype}{list(weight.data.shape)}", node
            )
    for slot in needed:
        if slot not in node.weights:
            yield Violation(f"it has no weight `{slot}`", node)


def _names(graph: Graph) -> Iterator[Violation]:
    results = [result.name for node in graph.nodes for result in node.results]
    counts = Counter([value.name for value in graph.inputs] + results)
    yield from (
        Violation(f"{count} values are called `{name}`") for name, count in counts.items() if count > 1
    )
    outputs = Counter(output.name for output in graph.outputs)
    yield from (
        Violation(f"{count} outputs are called `{name}`") for name, count in outputs.items() if count > 1
    )


def _keys(graph: Graph) -> Iterator[Violation]:
    counts = Counter(weight.key for weight in graph.weights)
    yield from (
        Violation(f"{count} weights have the key `{key}`") for key, count in counts.items() if count > 1
    )


def _listed(types: tuple[object, ...]) -> str:
    return ", ".join(map(str, types))
