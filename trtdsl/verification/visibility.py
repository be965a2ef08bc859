"""Which operators a comparison cannot see.

In: a graph that agreed with its reference, and the values that were compared.  Out: the operators whose
results could be wrong throughout without a compared value changing by more than the tolerance, as after a
head that is 0, in a branch that is scaled by 1e-6, or below an offset of 1e6.

The graph is run in PyTorch, and how much the compared values depend on each other one is what autograd says.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trtdsl.ir import Graph, Node, Output, Value, Weight
from trtdsl.reference import compute_node, symbol_values, to_torch
from trtdsl.verification.result import OWN_ERRORS
from trtdsl.verification.setting import Computed, Values

if TYPE_CHECKING:
    import torch

ROUNDING = 2.0**-24
"""Half a unit in the last place of float32: what varies by less about a large mean is not in the numbers."""


@dataclass(frozen=True)
class Unseen:
    """The operators whose results no compared value shows, and the outputs that no input changes.

    ``shown`` are the values that are surely seen: others may reach what was compared through integers only.
    ``values`` are the graph's as PyTorch computed them, none where it could not.
    """

    nodes: tuple[Node, ...] = ()
    outputs: tuple[Output, ...] = ()
    shown: frozenset[Value] = frozenset()
    values: Values = field(default_factory=dict[Value, "torch.Tensor"])


def unseen(graph: Graph, compared: Collection[Value], computed: Computed) -> Unseen:
    """What the comparison cannot see; nothing where PyTorch cannot differentiate the graph."""
    import torch

    try:
        with torch.enable_grad():
            run = _run(graph, computed.setting.inputs)
            shown = _shown_values(compared, computed, run)
            nodes = _unseen_nodes(graph, {*compared} | shown, run)
            outputs = _blind_outputs(graph, computed, run)
            values = {value: tensor.detach() for value, tensor in run.values.items()}
            return Unseen(nodes, outputs, shown, values)
    except RuntimeError:
        # Autograd does not know the operator, or a reference writes in place.
        return Unseen()


@dataclass(frozen=True, eq=False)
class _Differentiable:
    """Every value of a graph; ``dynamic`` are those that follow from the inputs, ``sources`` the floats among
    them that follow from no float."""

    values: Values
    dynamic: Collection[Value]
    sources: Sequence[Value]


def _run(graph: Graph, inputs: Mapping[str, Any]) -> _Differentiable:
    sizes = symbol_values(graph, inputs)
    values = {value: _leaf(to_torch(inputs[value.name]).clone()) for value in graph.inputs}
    dynamic = {*graph.inputs}
    sources = [value for value in graph.inputs if values[value].requires_grad]
    for node in graph.nodes:
        tensors = [
            _weight(operand) if isinstance(operand, Weight) else values[operand] for operand in node.operands
        ]
        results = compute_node(node, tensors, sizes)
        follows = any(operand in dynamic for operand in node.operands)
        for value, result in zip(node.results, results, strict=True):
            dynamic |= {value} if follows else set[Value]()
            if result.requires_grad:
                result.retain_grad()
            elif result.is_floating_point():
                result = _leaf(result)
                sources += [value] if follows else []
            values[value] = result
    return _Differentiable(values, dynamic, sources)


def _weight(weight: Weight) -> torch.Tensor:
    assert weight.data is not None, weight.key
    return to_torch(weight.data)


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor


def _shown_values(compared: Collection[Value], computed: Computed, run: _Differentiable) -> frozenset[Value]:
    """The values whose errors would be found in those that were compared."""
    import torch

    random = torch.Generator().manual_seed(0)
    shown = [value for value in compared if value in run.dynamic and run.values[value].requires_grad]
    loss = sum((_shown(run.values[v], computed.tolerance(v), random) for v in shown), start=torch.zeros(()))
    if not loss.requires_grad:
        return frozenset()
    loss.backward(retain_graph=True)
    return frozenset(value for value in run.dynamic if _is_shown(run.values[value]))


def _unseen_nodes(graph: Graph, seen: Collection[Value], run: _Differentiable) -> tuple[Node, ...]:
    return tuple(
        node
        for node in graph.nodes
        if not any(value in seen for value in node.results)
        and any(value in run.dynamic and run.values[value].grad is not None for value in node.results)
    )


def _shown(tensor: torch.Tensor, tolerance: float, random: torch.Generator) -> torch.Tensor:
    """A random sum of the finite values, in units of the error that a comparison finds in them."""
    import torch

    signs = torch.randn(tensor.shape, generator=random)
    finite = tensor.isfinite()
    if not finite.all():
        signs, tensor = signs[finite], tensor[finite]
    values = tensor.detach().double()
    whole = float(values.norm())
    spread = float((values - values.mean()).norm()) if values.numel() > 1 else 0.0
    found = tolerance * whole
    if spread > OWN_ERRORS * ROUNDING * whole:
        found = min(found, math.sqrt(tolerance) * spread)
    return (signs * tensor).sum() / (found or 1.0)


def _is_shown(tensor: torch.Tensor) -> bool:
    """Whether an error of the size of the values themselves would be found."""
    return tensor.grad is not None and not _effect(tensor, tensor.grad) < 1


def _effect(tensor: torch.Tensor, gradient: torch.Tensor) -> float:
    """How far such an error moves what the gradient is of."""
    values = tensor.detach().double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return float(values.square().mean().sqrt()) * float(gradient.double().norm())


def _blind_outputs(graph: Graph, computed: Computed, run: _Differentiable) -> tuple[Output, ...]:
    import torch

    random = torch.Generator().manual_seed(0)
    sources = [run.values[value] for value in run.sources]
    found: list[Output] = []
    for output in graph.outputs:
        is_dynamic = output.value in run.dynamic and run.values[output.value].requires_grad
        if not is_dynamic or not sources:
            continue
        shown = _shown(run.values[output.value], computed.tolerance(output.value), random)
        grads = torch.autograd.grad(shown, sources, retain_graph=True, materialize_grads=True)
        if all(_effect(source, grad) < 1 for source, grad in zip(sources, grads, strict=True)):
            found.append(output)
    return tuple(found)
