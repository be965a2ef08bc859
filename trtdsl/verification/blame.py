"""Which operator is wrong, once a difference has been seen.

In: a graph without optimisations, computed, and the PyTorch module.  Out: the operators that can be at
fault.  Every tensor that any function of torch returns while the module runs is compared with the
graph's values of its shape; a value that PyTorch has too is right.  What lies between the right values and
the first wrong one holds the fault.  Of these operators, one that only continues from a wrong value is
acquitted if it makes of some call's arguments what that call returns: the same stands in PyTorch. Where
that holds of the last suspect, it is what it reads that is wrong: an operator is missing, or one too many.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.ops.base import Module
from trtdsl.reference import compute_node, to_torch
from trtdsl.trt.naming import source_of
from trtdsl.verification.layers import Observation
from trtdsl.verification.oracle import TorchReference
from trtdsl.verification.result import Difference, Suspect, is_close, measure
from trtdsl.verification.returned import numbers, tensors_of
from trtdsl.verification.setting import Computed

if TYPE_CHECKING:
    import torch

SAMPLES = 64
"""Elements looked at before two tensors are compared as a whole."""


@dataclass(frozen=True, eq=False)
class Fault:
    """A value that is wrong, what was seen of it, and the layer at which it was seen if it was one;
    ``is_shape``: it is its shape that is wrong."""

    value: Value
    seen: str
    observation: Observation | None = None
    is_shape: bool = False


@dataclass(frozen=True, eq=False)
class Evidence:
    """The graph's values, and those among them that are ``right``; the module that they are held against."""

    computed: Computed
    right: Collection[Value]
    reference: TorchReference

    @property
    def graph(self) -> Graph:
        return self.computed.graph

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        return self.computed.sizes


def explain(fault: Fault, evidence: Evidence) -> Difference:
    """The operators of which one makes the value wrong, in order."""
    target, seen = fault.value, fault.observation
    read = seen.point.operand if seen else None
    # A layer that is given something wrong is not to blame, unless that is right and only misplaced.
    misled = seen is not None and seen.input is not None and not is_close(seen.input, seen.tolerance)
    if misled and read and read not in evidence.right:
        target, misled = read, False
    nodes = _between(evidence.graph, target, evidence.right)
    if len(nodes) > 1:
        nodes = _without_acquitted(nodes, evidence)
    suspects = tuple(map(suspect, nodes))
    if not seen and target in evidence.right:
        return Difference(f"{fault.seen}; PyTorch has this value too, but another output", suspects[-1:])
    if len(nodes) == 1:
        theirs = _read_by(seen, evidence) if misled and seen else _operands_of_its_like(nodes[0], evidence)
        if theirs and _reads_the_same(nodes[0], theirs, evidence):
            text = (
                "is the same in PyTorch, and so is what it reads: its TensorRT layers compute something else"
            )
            return Difference(f"{suspects[0]} {text}", suspects)
        if theirs:
            return Difference(_reads_something_else(nodes[0], theirs, evidence), suspects)
        if fault.is_shape and target is fault.value:
            return Difference(f"{fault.seen}: {suspects[0]} computes it, from operands that agree", suspects)
        return Difference(f"{suspects[0]} computes something else, from operands that agree", suspects)
    return Difference(f"{fault.seen}; one of these is at fault, all before them agrees:", suspects)


def suspect(node: Node) -> Suspect:
    """A node as the user knows it: a module by its label, a function by the block it stands in."""
    return Suspect(node.scope, node.op.name, source_of(node))


def _between(graph: Graph, target: Value, right: Collection[Value]) -> list[Node]:
    """The nodes on which the target depends without a right value in between; its own in any case.

    Numbers in the text, which have no operands, are left out if there are others.
    """
    import networkx

    own = graph.producers.get(target)
    if own is None:
        return []
    uses = graph.networkx()
    uses.remove_edges_from([edge[:3] for edge in uses.edges(keys=True, data="value") if edge[3] in right])
    found = networkx.ancestors(uses, own) | {own}
    nodes = [node for node in graph.nodes if node in found]
    return [node for node in nodes if node.operands] or nodes


class _Watch:
    """Sees every call of a function of torch that the module makes."""

    def before(self, tensors: Sequence[torch.Tensor]) -> None:
        """The tensors among a call's arguments, which it may change."""

    def after(self, tensors: Sequence[torch.Tensor], name: str) -> None:
        """The tensors that the call returns, and the function's name."""


def _watch(reference: TorchReference, inputs: Mapping[str, Any], watch: _Watch) -> None:
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            watch.before([*tensors_of((args, tuple(kwargs.values())))])
            result = func(*args, **kwargs)
            watch.after([*tensors_of(result)], getattr(func, "__name__", ""))
            return result

    with Mode():
        reference.call(inputs)


class _Confirming(_Watch):
    """Strikes out the values that a call returns."""

    def __init__(self, computed: Computed) -> None:
        self.computed = computed
        self.found: set[Value] = set()
        self.by_shape: dict[tuple[int, ...], dict[Value, torch.Tensor]] = {}
        for value, tensor in computed.values.items():
            self.by_shape.setdefault(tuple(tensor.shape), {})[value] = tensor

    def after(self, tensors: Sequence[torch.Tensor], name: str) -> None:
        for tensor in tensors:
            alike = self.by_shape.get(tuple(tensor.shape), {})
            same = [v for v, ours in alike.items() if _is_same(ours, tensor, self.computed.tolerance(v))]
            self.found.update(same)
            for value in same:
                del alike[value]


def confirmed(reference: TorchReference, computed: Computed) -> set[Value]:
    """The values that some function of torch returns while the module runs, and the inputs."""
    watch = _Confirming(computed)
    inputs = computed.setting.inputs
    _watch(reference, inputs, watch)
    return watch.found | {value for value in computed.values if value.name in inputs}


class _Acquitting(_Watch):
    """Runs each suspect on the arguments of the calls whose shapes are its own.

    ``acquitted`` are those that make of them what the call returns, with these arguments.
    """

    def __init__(self, suspects: Sequence[Node], evidence: Evidence) -> None:
        self.evidence = evidence
        self.open = [*suspects]
        self.acquitted: dict[Node, list[torch.Tensor]] = {}
        self.replays: list[tuple[Node, list[torch.Tensor], torch.Tensor]] = []

    def before(self, tensors: Sequence[torch.Tensor]) -> None:
        self.replays = [(node, *each) for node in self.open for each in self._replay(node, tensors)]

    def after(self, tensors: Sequence[torch.Tensor], name: str) -> None:
        for node, arguments, made in self.replays:
            tolerance = self.evidence.computed.tolerance(node.results[0])
            if node in self.open and any(_is_same(made, tensor, tolerance) for tensor in tensors):
                self.open.remove(node)
                self.acquitted[node] = arguments

    def _replay(
        self, node: Node, tensors: Sequence[torch.Tensor]
    ) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
        values, given = self.evidence.computed.values, iter(tensors)
        arguments: list[torch.Tensor] = []
        read: list[torch.Tensor] = []
        for operand in node.operands:
            maker = self.evidence.graph.producers.get(operand)
            # A number in the text is not a tensor in PyTorch.
            is_number = maker is not None and not maker.operands
            tensor = values.get(operand) if is_number else next(given, None)
            ours = _bound(operand) if isinstance(operand, Weight) else values.get(operand)
            if tensor is None or ours is None or (tensor.shape, tensor.dtype) != (ours.shape, ours.dtype):
                return
            # Its own weights: whether they are PyTorch's too is a part of the question.
            arguments.append(ours if isinstance(operand, Weight) else tensor)
            read += [] if is_number or isinstance(operand, Weight) else [tensor.clone()]
        yield read, compute_node(node, arguments, self.evidence.sizes)[0]


def _bound(weight: Weight) -> torch.Tensor | None:
    return None if weight.data is None else to_torch(weight.data)


def _without_acquitted(nodes: Sequence[Node], evidence: Evidence) -> Sequence[Node]:
    """The nodes that read right values only, and the others that PyTorch has nothing like."""
    continuing = [
        node
        for node in nodes
        if not isinstance(node.op, Module) and any(v not in evidence.right for v in node.operands)
    ]
    watch = _Acquitting(continuing, evidence)
    _watch(evidence.reference, evidence.computed.setting.inputs, watch)
    return [node for node in nodes if node not in continuing or node in watch.open]


# --- What is missing --------------------------------------------------------------------------------------


def _read_by(seen: Observation, evidence: Evidence) -> list[torch.Tensor]:
    """What PyTorch's module reads at an observation."""
    found: list[torch.Tensor] = []
    calls = itertools.count()

    def hook(module: Any, arguments: Any) -> None:
        if next(calls) == seen.point.call:
            found.extend(tensor.clone() for tensor in itertools.islice(tensors_of(arguments), 1))

    handle = evidence.reference.module.get_submodule(seen.point.path).register_forward_pre_hook(hook)
    try:
        evidence.reference.call(evidence.computed.setting.inputs)
    finally:
        handle.remove()
    return found


def _operands_of_its_like(node: Node, evidence: Evidence) -> list[torch.Tensor]:
    """What PyTorch's call of the same operator reads, if there is one; else nothing."""
    if isinstance(node.op, Module) or not node.operands:
        return []
    watch = _Acquitting([node], evidence)
    _watch(evidence.reference, evidence.computed.setting.inputs, watch)
    return watch.acquitted.get(node, [])


def _reads_the_same(node: Node, theirs: Sequence[torch.Tensor], evidence: Evidence) -> bool:
    """Whether the operator's operands, numbers in the text left out, are PyTorch's, each in its place."""
    computed, graph = evidence.computed, evidence.graph
    ours = [
        v
        for v in node.operands
        if v in graph.inputs or (v in graph.producers and graph.producers[v].operands)
    ]
    return len(ours) == len(theirs) and all(
        v in computed.values and _is_same(computed.values[v], each, computed.tolerance(v))
        for v, each in zip(ours, theirs, strict=True)
    )


class _Bridging(_Watch):
    """Finds the functions that make one of some tensors of another."""

    def __init__(self, ours: Sequence[tuple[torch.Tensor, float]], theirs: Sequence[torch.Tensor]) -> None:
        self.ours, self.theirs = ours, theirs
        self.reads = False
        self.found: dict[str, None] = {}

    def before(self, tensors: Sequence[torch.Tensor]) -> None:
        self.reads = any(_is_same(mine, each, tolerance) for mine, tolerance in self.ours for each in tensors)

    def after(self, tensors: Sequence[torch.Tensor], name: str) -> None:
        tolerance = max(tolerance for _, tolerance in self.ours)
        if self.reads and any(_is_same(each, want, tolerance) for each in tensors for want in self.theirs):
            self.found[name.strip("_")] = None


def _reads_something_else(node: Node, theirs: Sequence[torch.Tensor], evidence: Evidence) -> str:
    """That the operator is right but what it reads is not what PyTorch's reads, and what that is made by."""
    computed = evidence.computed
    ours = [(computed.values[v], computed.tolerance(v)) for v in node.operands if v in computed.values]
    wanted = [each for each in theirs if not any(_is_same(mine, each, tolerance) for mine, tolerance in ours)]
    what = f"{suspect(node)} reads something else than in PyTorch, which is right in itself"
    if not wanted:
        return f"{what}: its operands stand in another order or place"
    watch = _Bridging(ours, wanted)
    _watch(evidence.reference, computed.setting.inputs, watch)
    if watch.found:
        named = " or ".join(f"`{name}`" for name in watch.found)
        return f"{what}: PyTorch computes {named} of that first, which is missing here"
    return f"{what}: before it an operator is missing, or one is too many"


def _is_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    if ours.shape != theirs.shape:
        return False
    step = max(1, ours.numel() // SAMPLES)
    # A single element may be far off, relatively, in a tensor that is right: a thousandfold allowance.
    few, of_few = (numbers(tensor.flatten()[::step]) for tensor in (ours, theirs))
    if not is_close(measure(few, of_few), 1000 * tolerance):
        return False
    return is_close(measure(numbers(ours), numbers(theirs)), tolerance)
