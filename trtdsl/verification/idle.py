"""Which parameters a comparison cannot see: bounds that nothing reaches, slopes of what is never negative,
an epsilon far below the tolerance.

In: a graph that agreed with its reference, and its inputs.  Out: the operators of which another number would
have made the same result, with that number's name::

    clamp(x, -100, 100)    # min, max: nothing is so large

Measured, not guessed: each operator is computed again on the operands it had, with a number half as large
again and half as large. What either leaves within the tolerance is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec.structs

from trtdsl.ir import Node, Value, Weight
from trtdsl.reference import ReferenceMismatch, compute_node, symbol_values, to_torch
from trtdsl.verification.result import is_close, measure
from trtdsl.verification.returned import numbers

if TYPE_CHECKING:
    import torch

    from trtdsl.ir import Graph
    from trtdsl.verification.setting import Computed, Values

WITHOUT_EFFECT = frozenset({"p", "dropout", "dropout_p", "momentum"})
"""What only training reads; ``p`` is the order of a norm too, which changes what is computed throughout."""

FACTORS = (1.5, 0.5)
"""Other numbers, near enough to be taken for the right one."""

ELSEWHERE = -3.0
"""What the operand of an operator that seems to do nothing is multiplied by, to see whether it ever does."""


def idle_numbers(graph: Graph, computed: Computed, known: Values) -> Iterator[tuple[Node, str]]:
    """The nodes with the parameters and numbers that the comparison cannot see.

    The name is empty where the operator changes nothing at all of what it reads, as a relu of positive
    numbers. ``computed`` says on which inputs, and how far apart results may be; ``known`` are the values
    that PyTorch computed on them already.
    """
    import torch

    try:
        with torch.no_grad():
            yield from _idle_numbers(graph, computed, known)
    except (RuntimeError, ReferenceMismatch):
        # What PyTorch cannot compute on this machine, such as an operator in float16, says nothing here.
        return


def _idle_numbers(graph: Graph, computed: Computed, known: Values) -> Iterator[tuple[Node, str]]:
    inputs = computed.setting.inputs
    sizes = symbol_values(graph, inputs)
    values = {**{value: to_torch(inputs[value.name]) for value in graph.inputs}, **known}
    for node in graph.nodes:
        operands = [_value(operand, values) for operand in node.operands]
        if not all(value in values for value in node.results):
            values.update(zip(node.results, compute_node(node, operands, sizes), strict=True))
        first = node.results[0]
        run = _Run(graph, node, operands, values[first], sizes, computed.tolerance(first))
        if operands and first.type.dtype.is_floating:
            found = [*run.idle_parameters(), *run.idle_constants()]
            yield from ((node, name) for name in found)
            if not found and run.changes_nothing():
                yield node, ""


def _value(value: Value, values: Mapping[Value, torch.Tensor]) -> torch.Tensor:
    if not isinstance(value, Weight):
        return values[value]
    assert value.data is not None, value.key
    return to_torch(value.data)


@dataclass(frozen=True, eq=False)
class _Run:
    """One node as it was computed, and how far off another result is seen to be another."""

    graph: Graph
    node: Node
    operands: Sequence[torch.Tensor]
    result: torch.Tensor
    sizes: Mapping[str, int]
    tolerance: float

    def idle_parameters(self) -> Iterator[str]:
        for name in self.node.op.parameters:
            number = getattr(self.node.op, name)
            is_number = isinstance(number, float) or (name in ("min", "max") and type(number) is int)
            if is_number and name not in WITHOUT_EFFECT:
                others = (self._with_parameter(name, other) for other in self._others(float(number)))
                if any(self._is_same(other) for other in others):
                    yield name

    def idle_constants(self) -> Iterator[str]:
        """The numbers that the text writes as operands, as in ``x + 1e-12``."""
        for place, (value, tensor) in enumerate(zip(self.node.operands, self.operands, strict=True)):
            maker = self.graph.producers.get(value)
            is_number = maker is not None and not maker.operands and tensor.numel() == 1
            if is_number and tensor.is_floating_point() and tensor.item():
                others = (self._with_operand(place, factor * tensor) for factor in FACTORS)
                if any(self._is_same(other) for other in others):
                    yield f"{tensor.item():g}"

    def changes_nothing(self) -> bool:
        """Whether the result is the operand, though elsewhere it would not be."""
        import torch

        read = self.operands[0]
        if len(self.operands) > 1 or read.dtype != self.result.dtype or not torch.equal(read, self.result):
            return False
        elsewhere = self._with_operand(0, ELSEWHERE * read)
        return elsewhere is not None and not torch.equal(elsewhere, ELSEWHERE * read)

    def _others(self, number: float) -> Iterator[float]:
        """Other numbers; for 0, what is half as large as the operand is in the mean."""
        if number:
            yield from (factor * number for factor in FACTORS)
        else:
            size = float(self.operands[0].double().square().mean().sqrt())
            yield from (size / 2, -size / 2)

    def _with_parameter(self, name: str, number: float) -> torch.Tensor | None:
        op = msgspec.structs.replace(self.node.op, **{name: number})
        return self._again(self.node.replace(op=op), self.operands)

    def _with_operand(self, place: int, tensor: torch.Tensor) -> torch.Tensor | None:
        before, behind = self.operands[:place], self.operands[place + 1 :]
        return self._again(self.node, [*before, tensor, *behind])

    def _again(self, node: Node, operands: Sequence[torch.Tensor]) -> torch.Tensor | None:
        try:
            return compute_node(node, operands, self.sizes)[0]
        except (RuntimeError, ValueError, ReferenceMismatch):
            # Another number may be none that the operator takes, or make another shape.
            return None

    def _is_same(self, other: torch.Tensor | None) -> bool:
        if other is None or other.shape != self.result.shape:
            return False
        return is_close(measure(numbers(other), numbers(self.result)), self.tolerance)
