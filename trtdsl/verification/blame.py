"""Which operator is wrong, once a difference has been seen.

In: a graph without optimisations, computed, and the PyTorch module.  Out: the operators that can be at
fault.  Every tensor that any function of torch returns while the module runs is compared with the
graph's values of its shape; a value that PyTorch has too is right.  What lies between the right values and
the first wrong one holds the fault.  Of these operators, one that only continues from a wrong value is
acquitted if it makes of some call's arguments what that call returns: the same stands in PyTorch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.ops.base import Module
from trtdsl.reference import run_node
from trtdsl.trt.naming import source_of
from trtdsl.verification.layers import Observation, Values
from trtdsl.verification.oracle import TorchReference, numbers, tensors_of
from trtdsl.verification.result import Difference, Suspect, is_close, measure

if TYPE_CHECKING:
    import torch

SAMPLES = 64
"""Elements looked at before two tensors are compared as a whole."""


@dataclass(frozen=True, eq=False)
class Fault:
    """A value that is wrong, what was seen of it, and the layer at which it was seen if it was one."""

    value: Value
    seen: str
    observation: Observation | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The graph's values, and those among them that are ``right``; the module and what it is run on."""

    graph: Graph
    values: Values
    right: Collection[Value]
    reference: TorchReference
    inputs: Mapping[str, Any]
    sizes: Mapping[str, int]
    tolerance: float


def explain(fault: Fault, evidence: Evidence) -> Difference:
    """The operators of which one makes the value wrong, in order."""
    target, seen = fault.value, fault.observation
    read = seen.point.operand if seen else None
    # A layer that is given something wrong is not to blame, unless that is right and only misplaced.
    misled = seen is not None and seen.input is not None and not is_close(seen.input, evidence.tolerance)
    if misled and read and read not in evidence.right:
        target = read
    nodes = _between(evidence.graph, target, evidence.right)
    if len(nodes) > 1:
        nodes = _without_acquitted(nodes, evidence)
    suspects = tuple(map(suspect, nodes))
    if not seen and target in evidence.right:
        return Difference(f"{fault.seen}; PyTorch has this value too, but another output", suspects[-1:])
    if len(suspects) == 1:
        return Difference(f"{suspects[0]} computes something else, from operands that agree", suspects)
    return Difference(f"{fault.seen}; one of these is at fault, all before them agrees:", suspects)


def suspect(node: Node) -> Suspect:
    """A node as the user knows it: a module by its label, a function by the block it stands in."""
    return Suspect(node.scope, node.op.name, source_of(node))


def _between(graph: Graph, target: Value, right: Collection[Value]) -> list[Node]:
    """The nodes on which the target depends without a right value in between; its own in any case.

    Numbers in the text, which have no operands, are left out if there are others.
    """
    found: set[Node] = set()
    waiting: list[Value] = [target]
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and node not in found:
            found.add(node)
            waiting += [v for v in node.operands if not isinstance(v, Weight) and v not in right]
    reading = {node for node in found if node.operands}
    return [node for node in graph.nodes if node in (reading or found)]


class _Watch:
    """Sees every call of a function of torch that the module makes."""

    def before(self, tensors: Sequence[torch.Tensor]) -> None:
        """The tensors among a call's arguments, which it may change."""

    def after(self, tensors: Sequence[torch.Tensor]) -> None:
        """The tensors that the call returns."""


def _watch(reference: TorchReference, inputs: Mapping[str, Any], watch: _Watch) -> None:
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            watch.before([tensor for _, tensor in tensors_of((args, tuple(kwargs.values())))])
            result = func(*args, **kwargs)
            watch.after([tensor for _, tensor in tensors_of(result)])
            return result

    with Mode():
        reference.call(inputs)


class _Confirming(_Watch):
    """Strikes out the values that a call returns."""

    def __init__(self, values: Values, tolerance: float) -> None:
        self.tolerance = tolerance
        self.found: set[Value] = set()
        self.by_shape: dict[tuple[int, ...], dict[Value, torch.Tensor]] = {}
        for value, tensor in values.items():
            self.by_shape.setdefault(tuple(tensor.shape), {})[value] = tensor

    def after(self, tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            alike = self.by_shape.get(tuple(tensor.shape), {})
            same = [value for value, ours in alike.items() if _is_same(ours, tensor, self.tolerance)]
            self.found.update(same)
            for value in same:
                del alike[value]


def confirmed(
    reference: TorchReference, inputs: Mapping[str, Any], values: Values, tolerance: float
) -> set[Value]:
    """The values that some function of torch returns while the module runs, and the inputs."""
    watch = _Confirming(values, tolerance)
    _watch(reference, inputs, watch)
    return watch.found | {value for value in values if value.name in inputs}


class _Acquitting(_Watch):
    """Runs each suspect on the arguments of the calls whose shapes are its own."""

    def __init__(self, suspects: Sequence[Node], evidence: Evidence) -> None:
        self.evidence = evidence
        self.open = [*suspects]
        self.replays: list[tuple[Node, torch.Tensor]] = []

    def before(self, tensors: Sequence[torch.Tensor]) -> None:
        self.replays = [(node, made) for node in self.open for made in self._replay(node, tensors)]

    def after(self, tensors: Sequence[torch.Tensor]) -> None:
        for node, made in self.replays:
            if node in self.open and any(_is_same(made, t, self.evidence.tolerance) for t in tensors):
                self.open.remove(node)

    def _replay(self, node: Node, tensors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        values, given = self.evidence.values, iter(tensors)
        arguments: list[torch.Tensor] = []
        for operand in node.operands:
            maker = self.evidence.graph.producers.get(operand)
            # A number in the text is no tensor in PyTorch.
            is_number = maker is not None and not maker.operands
            tensor = values.get(operand) if is_number else next(given, None)
            ours = values.get(operand)
            if tensor is None or ours is None or (tensor.shape, tensor.dtype) != (ours.shape, ours.dtype):
                return
            arguments.append(tensor)
        yield run_node(node.op.at(self.evidence.sizes), node.arguments(arguments))[0]


def _without_acquitted(nodes: Sequence[Node], evidence: Evidence) -> Sequence[Node]:
    """The nodes that read right values only, and the others that PyTorch has nothing like."""
    continuing = [
        node
        for node in nodes
        if not isinstance(node.op, Module) and any(v not in evidence.right for v in node.operands)
    ]
    watch = _Acquitting(continuing, evidence)
    _watch(evidence.reference, evidence.inputs, watch)
    return [node for node in nodes if node not in continuing or node in watch.open]


def _is_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    step = max(1, ours.numel() // SAMPLES)
    # A single element may be far off, relatively, in a tensor that is right: a thousandfold allowance.
    few, of_few = (numbers(tensor.flatten()[::step]) for tensor in (ours, theirs))
    if not is_close(measure(few, of_few), 1000 * tolerance):
        return False
    return is_close(measure(numbers(ours), numbers(theirs)), tolerance)
