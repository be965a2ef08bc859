"""Loops and conditionals: what is computed again and again, or only if it is needed.

In: an iteration, or two branches, as functions that emit layers.  Out: TensorRT's boundary layers around what
they emit.  TensorRT has no bodies: a layer is inside of a loop if what it reads depends on one of the loop's
iterators or recurrences, and in a conditional's branch if it depends on one of its inputs. So what does not
change with the iterations is outside by itself, wherever it was emitted; and what leaves a loop or a branch
but does not depend on it has to be taken in first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtdsl.ops.lowering import Along, Branch, Network, Step, Tensor
from trtdsl.types import Dim, TensorType

ADDED_BY: Mapping[str, str] = {
    "trip_limit": "add_trip_limit",
    "iterator": "add_iterator",
    "recurrence": "add_recurrence",
    "loop_output": "add_loop_output",
    "condition": "set_condition",
    "conditional_input": "add_input",
    "conditional_output": "add_output",
}
"""The method of a loop or a conditional that makes each of its boundary layers."""


class ControlFlowNetwork(Network):
    """A network with TensorRT's own loops and conditionals."""

    raw: Any
    """the ``INetworkDefinition``"""

    def __init__(self) -> None:
        super().__init__()
        self._within: list[set[Tensor]] = []

    @abstractmethod
    def add_to(
        self,
        owner: Any,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Add a boundary layer of a loop or conditional: the layer, and its outputs."""

    @abstractmethod
    def feed(self, layer: Any, kind: str, index: int, tensor: Tensor, result: TensorType) -> None:
        """Set an input of a layer whose output is in use, which must still be of the type ``result``."""

    @abstractmethod
    def construct_name(self, kind: str) -> str:
        """A name for a loop or a conditional."""

    # What is inside

    @contextmanager
    def _inside(self, tensors: Sequence[Tensor]) -> Generator[set[Tensor], None, None]:
        """Layers added within the block are inside if they depend on these tensors: the set of what is."""
        self._within.append({*tensors})
        try:
            yield self._within[-1]
        finally:
            self._within.pop()

    def note_dependence(self, operands: Sequence[Any], results: Sequence[Tensor]) -> None:
        """What is made of something inside is inside."""
        for inside in self._within:
            if any(self._depends(operand, inside) for operand in operands):
                inside.update(results)

    def _depends(self, operand: Any, inside: set[Tensor]) -> bool:
        if isinstance(operand, list):
            return any(self._depends(each, inside) for each in operand)  # pyright: ignore[reportUnknownVariableType]
        return isinstance(operand, Tensor) and self.stored(operand) in inside

    @abstractmethod
    def stored(self, tensor: Tensor) -> Tensor:
        """The tensor that layers read for this one: another where the network stores its type otherwise."""

    # Loops

    def scan(
        self, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        loop = self.raw.add_loop()
        loop.name = self.construct_name("loop")
        count = self._number(sequences[0].length)
        self.add_to(loop, "trip_limit", count, self.enum("TripLimit.COUNT"), results=())
        elements = [self._element(loop, each) for each in sequences]
        recurrences = [self.add_to(loop, "recurrence", x, results=(x.type,)) for x in initial]
        carried = [tensor for _, (tensor,) in recurrences]
        with self._inside([self.stored(each) for each in (*elements, *carried)]) as inside:
            emitted, following = step(elements, carried)
            emitted = [Along(self._taken_in(loop, e.tensor, inside), e.dim, e.reverse) for e in emitted]
            following = [self._taken_in(loop, tensor, inside) for tensor in following]
        for (layer, (tensor,)), after in zip(recurrences, following, strict=True):
            self.feed(layer, "recurrence", 1, after, tensor.type)
        kind = self.enum("LoopOutput.LAST_VALUE")
        stacks = tuple(self._stacked(loop, each, sequences[0].length, count) for each in emitted)
        last = tuple(self._leaving(loop, x, kind, x.type) for x in carried)
        read = (*(each.tensor for each in (*sequences, *emitted)), *initial, *following, count)
        self.note_dependence(read, [self.stored(each) for each in (*stacks, *last)])
        return stacks, last

    def _number(self, length: Dim) -> Tensor:
        """A length as a tensor of rank 0."""
        if isinstance(length, int):
            return self.constant(np.asarray(length, np.int64))
        return self.reshape(self.shape_tensor([length]), ())

    def _element(self, loop: Any, each: Along) -> Tensor:
        shape = each.tensor.shape
        result = each.tensor.type.with_shape((*shape[: each.dim], *shape[each.dim + 1 :]))
        _, (element,) = self.add_to(loop, "iterator", each.tensor, each.dim, each.reverse, results=(result,))
        return element

    def _taken_in(self, loop: Any, tensor: Tensor, inside: set[Tensor]) -> Tensor:
        """A tensor inside of the loop: what does not change with the iterations is carried unchanged."""
        if self.stored(tensor) in inside:
            return tensor
        layer, (carried,) = self.add_to(loop, "recurrence", tensor, results=(tensor.type,))
        self.feed(layer, "recurrence", 1, carried, tensor.type)
        return carried

    def _stacked(self, loop: Any, each: Along, length: Dim, count: Tensor) -> Tensor:
        shape = each.tensor.shape
        result = each.tensor.type.with_shape((*shape[: each.dim], length, *shape[each.dim :]))
        kind = self.enum(f"LoopOutput.{'REVERSE' if each.reverse else 'CONCATENATE'}")
        return self._leaving(loop, each.tensor, kind, result, each.dim, count)

    def _leaving(
        self,
        loop: Any,
        tensor: Tensor,
        kind: Any,
        result: TensorType,
        dim: int = 0,
        count: Tensor | None = None,
    ) -> Tensor:
        inputs = {1: count} if count is not None else {}
        _, (output,) = self.add_to(loop, "loop_output", tensor, kind, dim, results=(result,), inputs=inputs)
        return output

    # Conditionals

    def choose(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        choice = self.raw.add_if_conditional()
        choice.name = self.construct_name("conditional")
        self.add_to(choice, "condition", flag, results=())
        entered = [self._entered(choice, x) for x in operands]
        with self._inside([self.stored(x) for x in entered]) as inside:
            pairs = [
                tuple(x if self.stored(x) in inside else self._entered(choice, x) for x in branch(entered))
                for branch in (then, otherwise)
            ]
        results = tuple(self._chosen(choice, *each) for each in zip(*pairs, strict=True))
        self.note_dependence([flag], [self.stored(each) for each in results])
        return results

    def _entered(self, choice: Any, x: Tensor) -> Tensor:
        _, (entered,) = self.add_to(choice, "conditional_input", x, results=(x.type,))
        return entered

    def _chosen(self, choice: Any, then: Tensor, otherwise: Tensor) -> Tensor:
        _, (chosen,) = self.add_to(choice, "conditional_output", then, otherwise, results=(then.type,))
        return chosen
