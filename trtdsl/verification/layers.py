"""Where a graph and a PyTorch module hold the same tensor.

A label is a path in the state dict, so what stands below ``layer1.0`` in the graph is what the module
``layer1.0`` runs.  Its result is what is used outside of it.  In: graph and module.  Out: the points where
both can be compared, and the comparison, made inside forward hooks so that a later in-place operation
changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.verification.oracle import TorchReference, numbers, tensors_of
from trtdsl.verification.result import Measure, measure

if TYPE_CHECKING:
    import torch

Values: TypeAlias = Mapping[Value, "torch.Tensor"]
Call: TypeAlias = tuple[str, int]
"""A module's path and which of its calls, from 0."""


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """What one call of a module returns, in the graph. ``operand`` is the tensor that a single operator
    reads first, ``calls`` how often the module is called."""

    path: str
    call: int
    calls: int
    nodes: tuple[Node, ...]
    values: tuple[Value, ...]

    @property
    def is_layer(self) -> bool:
        return len(self.nodes) == 1

    @property
    def kind(self) -> Literal["layer", "block"]:
        return "layer" if self.is_layer else "block"

    @property
    def operand(self) -> Value | None:
        first = self.nodes[0].operands[:1] if self.is_layer else ()
        return next((value for value in first if not isinstance(value, Weight)), None)


@dataclass(frozen=True, eq=False)
class Observation:
    """A value of the graph beside PyTorch's. ``input`` measures the operand, where both have it."""

    point: ModuleCall
    value: Value
    found: tuple[int, ...]
    expected: tuple[int, ...]
    is_floating: bool
    measure: Measure | None
    input: Measure | None


def below(graph: Graph) -> dict[str, list[Node]]:
    """The nodes at and below each state-dict path, in order."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        parts = node.scope.split(".") if node.scope else []
        for end in range(1, len(parts) + 1):
            found.setdefault(".".join(parts[:end]), []).append(node)
    return found


def match(graph: Graph, calls: Mapping[str, int]) -> dict[Call, ModuleCall]:
    """A point for each call of each module path that the graph has too.

    A path called several times has its nodes in as many equal runs, or is left out. Of points with one
    value the innermost stays: what a wrapper returns is no news.
    """
    found: dict[Call, ModuleCall] = {}
    for path, nodes in below(graph).items():
        count = calls.get(path, 0)
        for index, run in enumerate(_runs(nodes, count)):
            point = ModuleCall(path, index, count, tuple(run), _results(graph, run))
            found[path, index] = point
    innermost: dict[tuple[Value, ...], Call] = {}
    for call in sorted(found, key=lambda call: call[0].count(".")):
        innermost[found[call].values] = call
    return {call: point for call, point in found.items() if innermost[point.values] == call}


def _runs(nodes: Sequence[Node], count: int) -> Iterator[Sequence[Node]]:
    if not count or len(nodes) % count:
        return
    size = len(nodes) // count
    runs = [nodes[start : start + size] for start in range(0, len(nodes), size)]
    if all([n.op.name for n in run] == [n.op.name for n in runs[0]] for run in runs):
        yield from runs


def _results(graph: Graph, nodes: Sequence[Node]) -> tuple[Value, ...]:
    """What the nodes compute for others, or for nobody."""
    inside = {*nodes}
    used = tuple(
        value
        for node in nodes
        for value in node.results
        if value in graph.output_values or any(user not in inside for user in graph.users.get(value, ()))
    )
    return used or nodes[-1].results


def count_calls(reference: TorchReference, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, int]]:
    """What the module returns, and how often each of its modules was called."""
    counts: Counter[str] = Counter()

    def hook(path: str, *_: Any) -> None:
        counts[path] += 1

    with _hooks(reference, hook):
        return reference.call(inputs), dict(counts)


def compare(
    reference: TorchReference, inputs: Mapping[str, Any], points: Mapping[Call, ModuleCall], values: Values
) -> list[Observation]:
    """Run the module and measure the graph's values at every point that has them."""
    counts: Counter[str] = Counter()
    found: list[Observation] = []

    def hook(path: str, arguments: tuple[Any, ...], output: Any) -> None:
        point = points.get((path, counts[path]))
        counts[path] += 1
        if point is None:
            return
        results = [tensor for _, tensor in tensors_of(output)]
        if len(results) == len(point.values):
            pairs = zip(point.values, results, strict=True)
            found.extend(_observe(point, v, values[v], r, arguments, values) for v, r in pairs if v in values)

    with _hooks(reference, hook):
        reference.call(inputs)
    return found


def _observe(
    point: ModuleCall,
    value: Value,
    ours: torch.Tensor,
    theirs: torch.Tensor,
    arguments: tuple[Any, ...],
    values: Values,
) -> Observation:
    operand = values.get(point.operand) if point.operand else None
    read = next((tensor for _, tensor in tensors_of(arguments)), None)
    return Observation(
        point,
        value,
        tuple(ours.shape),
        tuple(theirs.shape),
        theirs.is_floating_point(),
        measure(numbers(ours), numbers(theirs)),
        measure(numbers(operand), numbers(read)) if operand is not None and read is not None else None,
    )


@contextmanager
def _hooks(reference: TorchReference, hook: Any) -> Generator[None]:
    """Call ``hook(path, arguments, output)`` after every call of every module inside."""
    handles: list[Any] = []
    for path, module in reference.module.named_modules(remove_duplicate=False):
        if path:
            handles.append(
                module.register_forward_hook(lambda _, args, out, path=path: hook(path, args, out))
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
