"""Where a graph and a PyTorch module hold the same tensor.

A label is a path in the state dict, so what stands below ``layer1.0`` in the graph is what the module
``layer1.0`` runs.  Its result is what is used outside of it.  In: graph and module.  Out: the points where
both can be compared, and the comparison, made inside forward hooks so that a later in-place operation
changes nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.verification.alike import measure_alike
from trtdsl.verification.oracle import Array, TorchReference
from trtdsl.verification.result import Measure, is_close
from trtdsl.verification.returned import numbers, tensors_of
from trtdsl.verification.setting import Computed

if TYPE_CHECKING:
    import torch

LINEAR = ("Linear", "Conv", "BatchNorm")
"""How the names of the layers begin that are linear in what they read: unless a weight is 0, or nearly, their
results differ where their operands do."""

Call: TypeAlias = tuple[str, int]
"""A module's path and which of its calls, from 0."""


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """What one call of a module returns, in the graph. ``operand`` is the tensor that a single operator
    reads first, ``calls`` how often the module is called. ``has_parts``: it runs modules itself, such as an
    activation behind a norm, so that it may return more than the operator does."""

    path: str
    call: int
    calls: int
    nodes: tuple[Node, ...]
    values: tuple[Value, ...]
    has_parts: bool = False

    @property
    def is_layer(self) -> bool:
        return len(self.nodes) == 1 and not self.has_parts

    @property
    def kind(self) -> Literal["layer", "block"]:
        return "layer" if self.is_layer else "block"

    @property
    def operand(self) -> Value | None:
        first = self.nodes[0].tensors[:1] if self.is_layer else ()
        return next((value for _, value in first if not isinstance(value, Weight)), None)


Key: TypeAlias = tuple[str, int, int]
"""A module's path, which of its calls, and which of the values that it returns, from 0."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A value of the graph beside PyTorch's, within ``tolerance`` or not.

    ``input`` measures the operand, where both have it. ``theirs``, PyTorch's numbers, are kept where they
    are asked for. ``of_itself``: they are the model's own, for the reference has no such tensor.
    """

    key: Key
    point: ModuleCall
    value: Value
    found: tuple[int, ...]
    expected: tuple[int, ...]
    tolerance: float
    measure: Measure | None
    input: Measure | None
    theirs: Array | None = None
    of_itself: bool = False

    @property
    def agrees(self) -> bool:
        return is_close(self.measure, self.tolerance) and not self.hides_its_input

    @property
    def hides_its_input(self) -> bool:
        """Whether a linear layer reads something else than PyTorch's, which only its weights can hide."""
        if self.input is None or not self.point.nodes[0].op.name.startswith(LINEAR):
            return False
        return is_close(self.measure, self.tolerance) and self.input.relative > math.sqrt(self.tolerance)


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
    owners = {path.rpartition(".")[0] for path in calls}
    for path, nodes in below(graph).items():
        count = calls.get(path, 0)
        for index, run in enumerate(_runs(nodes, count)):
            point = ModuleCall(path, index, count, tuple(run), _results(graph, run), path in owners)
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
    reference: TorchReference,
    points: Mapping[Call, ModuleCall],
    computed: Computed,
    keeps: Callable[[Observation], bool] = lambda seen: not seen.agrees,
) -> list[Observation]:
    """Run the module and measure the graph's values at every point that has them.

    PyTorch's numbers are kept of the observations that ``keeps`` chooses.
    """
    counts: Counter[str] = Counter()
    found: list[Observation] = []

    def hook(path: str, arguments: tuple[Any, ...], output: Any) -> None:
        point = points.get((path, counts[path]))
        counts[path] += 1
        if point is None:
            return
        read = next(tensors_of(arguments), None)
        for index, (value, theirs) in enumerate(_results_of(point, [*tensors_of(output)])):
            if value in computed.values:
                seen = observation(point, index, value, theirs, read, computed)
                if seen.measure is None and not point.is_layer:
                    continue  # The block returns something else.
                # A copy: float64 is not converted, and an activation may work in place.
                found.append(
                    dataclasses.replace(seen, theirs=numbers(theirs).copy()) if keeps(seen) else seen
                )

    with _hooks(reference, hook):
        reference.call(computed.setting.inputs)
    return found


def _results_of(point: ModuleCall, results: Sequence[torch.Tensor]) -> Sequence[tuple[Value, torch.Tensor]]:
    """The values beside what the module returns, which may be more: attention returns its weights too."""
    if len(results) < len(point.values) or (point.is_layer and len(results) != len(point.values)):
        return []
    return list(zip(point.values, results, strict=False))


def observation(
    point: ModuleCall,
    index: int,
    value: Value,
    theirs: torch.Tensor,
    read: torch.Tensor | None,
    computed: Computed,
) -> Observation:
    """A value of the graph beside PyTorch's, which ``read`` something there.

    Results of other shapes have nothing in common where what they are made of has nothing: weights that are
    0 would make any two alike.
    """
    ours = computed.values[value]
    operand = computed.values.get(point.operand) if point.operand else None
    is_exact = not (theirs.is_floating_point() or theirs.is_complex())
    tolerance = 0.0 if is_exact else computed.tolerance(value)
    measured = measure_alike(numbers(ours), numbers(theirs), tolerance)
    of_input = None
    if operand is not None and read is not None:
        of_input = measure_alike(numbers(operand), numbers(read), tolerance)
        if of_input is None and tuple(ours.shape) != tuple(theirs.shape):
            measured = None
    return Observation(
        (point.path, point.call, index),
        point,
        value,
        tuple(ours.shape),
        tuple(theirs.shape),
        tolerance,
        measured,
        of_input,
    )


@contextmanager
def _hooks(reference: TorchReference, hook: Any) -> Generator[None]:
    """Call ``hook(path, arguments, output)`` after every call of every module inside.

    Not in every release of PyTorch do transformer layers call the modules inside but for this switch.
    """
    import torch

    handles: list[Any] = []
    for path, module in reference.module.named_modules(remove_duplicate=False):
        if path:
            handles.append(
                module.register_forward_hook(lambda _, args, out, path=path: hook(path, args, out))
            )
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
