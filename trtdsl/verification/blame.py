"""Which operator is wrong, once a difference has been seen.

In: a graph without optimisations, computed, and the PyTorch module.  Out: the operators that can be at
fault.  Every tensor that any function of torch returns while the module runs is compared with the
graph's values of its shape; a value that PyTorch has too is right.  What lies between the right values and
the first wrong one holds the fault.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.trt.naming import source_of
from trtdsl.verification.layers import Observation, Values
from trtdsl.verification.oracle import TorchReference, tensors_of
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


def explain(graph: Graph, fault: Fault, right: Collection[Value], tolerance: float) -> Difference:
    """The operators of which one makes the value wrong, in order, where ``right`` are right."""
    target, seen = fault.value, fault.observation
    read = seen.point.operand if seen else None
    # A layer that is given something wrong is not to blame, unless that is right and only misplaced.
    if seen and read and seen.input and not is_close(seen.input, tolerance) and read not in right:
        target = read
    nodes = _between(graph, target, right)
    suspects = tuple(map(suspect, nodes))
    if not seen and target in right:
        return Difference(f"{fault.seen}; PyTorch has this value too, but another output", suspects[-1:])
    if len(suspects) == 1:
        return Difference(f"{suspects[0]} computes something else, from operands that agree", suspects)
    return Difference(f"{fault.seen}; all before these operators agrees:", suspects)


def suspect(node: Node) -> Suspect:
    """A node as the user knows it: a module by its label, a function by the block it stands in."""
    return Suspect(node.scope, node.op.name, source_of(node))


def _between(graph: Graph, target: Value, right: Collection[Value]) -> list[Node]:
    """The nodes on which the target depends without a right value in between; its own in any case.

    Those without operands (numbers in the text) are left out if there are others.
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


def confirmed(
    reference: TorchReference, inputs: Mapping[str, Any], candidates: Values, tolerance: float
) -> set[Value]:
    """The candidates that some function of torch returns while the module runs."""
    from torch.overrides import TorchFunctionMode

    open_values: dict[tuple[int, ...], dict[Value, torch.Tensor]] = {}
    for value, tensor in candidates.items():
        open_values.setdefault(tuple(tensor.shape), {})[value] = tensor
    found: set[Value] = set()

    def see(result: Any) -> None:
        for _, tensor in tensors_of(result):
            alike = open_values.get(tuple(tensor.shape), {})
            same = [v for v, ours in alike.items() if _is_same(ours, tensor, tolerance)]
            found.update(same)
            for value in same:
                del alike[value]

    class Trace(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            see(result)
            return result

    with Trace():
        reference.call(inputs)
    return found


def _is_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    step = max(1, ours.numel() // SAMPLES)
    # A single element may be far off, relatively, in a tensor that is right: a thousandfold allowance.
    if not is_close(measure(ours.flatten()[::step], theirs.flatten()[::step]), 1000 * tolerance):
        return False
    return is_close(measure(ours, theirs), tolerance)
