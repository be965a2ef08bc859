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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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
        self._within: list[_Inside] = []
        self._left: dict[Tensor, Tensor | None] = {}

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

    @property
    def in_body(self) -> bool:
        return bool(self._within)

    @contextmanager
    def _inside(self, kind: str, tensors: Sequence[Tensor]) -> Generator[_Inside, None, None]:
        """Layers added within the block are inside if they depend on these tensors."""
        inside = _Inside(kind, {self.stored(each) for each in tensors})
        self._within.append(inside)
        try:
            yield inside
        finally:
            self._within.remove(inside)

    def note_dependence(self, operands: Sequence[Any], results: Sequence[Tensor]) -> None:
        """What is made of something inside is inside."""
        for inside in self._within:
            if any(self._is_in(operand, inside) for operand in operands):
                inside.tensors.update(results)

    def _is_in(self, operand: Any, inside: _Inside) -> bool:
        if isinstance(operand, list):
            return any(self._is_in(each, inside) for each in operand)  # pyright: ignore[reportUnknownVariableType]
        return isinstance(operand, Tensor) and self.stored(operand) in inside.tensors

    @abstractmethod
    def stored(self, tensor: Tensor) -> Tensor:
        """The tensor that layers read for this one: another where the network stores its type otherwise."""

    def read(self, tensor: Tensor) -> Tensor:
        """What a layer reads for a tensor that is read now.

        What a loop or a conditional gives is read within another loop by way of a layer, for TensorRT
        does not find that the one construct stands before the other ("No nesting relationship").
        """
        loop = next((each for each in reversed(self._within) if each.kind == "loop"), None)
        return tensor if loop is None or self._is_in(tensor, loop) else self._behind(tensor)

    def _behind(self, tensor: Tensor) -> Tensor:
        """A tensor, by way of a layer if a loop or a conditional gives it: what another loop begins with.

        Where that reads it as it is, and a loop inside of it by way of the layer, TensorRT-RTX 1.7 finds no
        order for them ("makeScopeNodesContiguous").
        """
        if tensor not in self._left:
            return tensor
        if self._left[tensor] is None:
            # The layer itself reads the tensor as it is.
            self._left[tensor] = tensor
            self._left[tensor] = self.add("identity", tensor, result=tensor.type)
        return self._left[tensor] or tensor

    # Loops

    def scan(
        self, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        sequences = [replace(each, tensor=self._in_branch(self._behind(each.tensor))) for each in sequences]
        initial = [self._in_branch(self._behind(x)) for x in initial]
        loop = self.raw.add_loop()
        loop.name = self.construct_name("loop")
        length = sequences[0].length
        count = self._number(length)
        self.add_to(loop, "trip_limit", count, self.enum("TripLimit.COUNT"), results=())
        elements = [self._element(loop, each) for each in sequences]
        recurrences = [self.add_to(loop, "recurrence", x, results=(x.type,)) for x in initial]
        carried = [tensor for _, (tensor,) in recurrences]
        with ExitStack() as stack:
            inside = stack.enter_context(self._inside("loop", [*elements, *carried]))
            kinds = (elements, *([each] for each in carried))
            sources = [stack.enter_context(self._inside("", each)) for each in kinds]
            emitted, following = step(elements, carried)
        emitted = [Along(self._taken_in(loop, e.tensor, inside), e.dim, e.reverse) for e in emitted]
        following = [self._taken_in(loop, tensor, inside) for tensor in following]
        for (layer, (tensor,)), after in zip(recurrences, following, strict=True):
            self.feed(layer, "recurrence", 1, after, tensor.type)
        moving = self._moving(sources, following)
        moves = [any(self._is_in(each.tensor, source) for source in moving) for each in emitted]
        pairs = zip(emitted, moves, strict=True)
        stacks = tuple(self._stacked(loop, each, length, count, moved) for each, moved in pairs)
        kind = self.enum("LoopOutput.LAST_VALUE")
        last = tuple(self._leaving(loop, x, kind, x.type) for x in carried)
        read = (*(each.tensor for each in (*sequences, *emitted)), *initial, *following, count)
        self.note_dependence(read, [self.stored(each) for each in (*stacks, *last)])
        return stacks, last

    def _in_branch(self, tensor: Tensor) -> Tensor:
        """What a loop begins with, as a layer gives it inside of the branch that the loop stands in.

        TensorRT-RTX 1.7 cannot build a loop there that begins with a constant, not even with one that the
        branch is given ("Assertion tScope == mScopedOp2Scopes.at(op) failed").
        """
        around = next((each for each in reversed(self._within) if each.kind), None)
        if around is None or around.choice is None:
            return tensor
        if not self._is_in(tensor, around):
            tensor = self._entered(around.choice, tensor)
            around.given.add(self.stored(tensor))
            around.tensors.add(self.stored(tensor))
        given = self.stored(tensor) in around.given
        return self.add("identity", tensor, result=tensor.type) if given else tensor

    def _moving(self, sources: Sequence[_Inside], following: Sequence[Tensor]) -> list[_Inside]:
        """The sources, the elements first, that the elements have a part in: what is carried may not."""
        moving = [sources[0]]
        waiting = [*zip(sources[1:], following, strict=True)]
        while found := [pair for pair in waiting if any(self._is_in(pair[1], each) for each in moving)]:
            moving += [source for source, _ in found]
            waiting = [pair for pair in waiting if pair not in found]
        return moving

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

    def _taken_in(self, loop: Any, tensor: Tensor, inside: _Inside) -> Tensor:
        """A tensor inside of the loop: what does not change with the iterations is carried unchanged."""
        if self._is_in(tensor, inside):
            return tensor
        begins = self._behind(tensor)
        layer, (carried,) = self.add_to(loop, "recurrence", begins, results=(tensor.type,))
        self.feed(layer, "recurrence", 1, carried, tensor.type)
        return carried

    def _stacked(self, loop: Any, each: Along, length: Dim, count: Tensor, moves: bool) -> Tensor:
        """What an iteration emits, put together; ``moves`` says whether the elements have a part in it.

        What no iterator has a part in TensorRT puts together along the first dimension only, and not in
        reverse ("No scan input/output tensor to derive shape"): the rest is done after the loop.
        """
        x, dim = each.tensor, each.dim
        kind = self.enum(f"LoopOutput.{'REVERSE' if each.reverse and moves else 'CONCATENATE'}")
        if moves:
            shape = (*x.shape[:dim], length, *x.shape[dim:])
            return self._leaving(loop, x, kind, x.type.with_shape(shape), dim, count)
        stack = self._leaving(loop, x, kind, x.type.with_shape((length, *x.shape)), 0, count)
        if each.reverse:
            rest = (0,) * x.rank
            stack = self.slice(stack, (length - 1, *rest), stack.shape, (-1, *(1 for _ in rest)))
        return self.transpose(stack, (*range(1, dim + 1), 0, *range(dim + 1, x.rank + 1)))

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
        self._left[self.stored(output)] = None
        return output

    # Conditionals

    def choose(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        if {each.kind for each in self._within} == {"branch"}:
            return self._chosen_in_a_loop(flag, operands, then, otherwise)
        choice = self.raw.add_if_conditional()
        choice.name = self.construct_name("conditional")
        self.add_to(choice, "condition", flag, results=())
        branches = [self._branch(choice, operands, branch) for branch in (then, otherwise)]
        results = tuple(self._chosen(choice, *each) for each in zip(*branches, strict=True))
        self.note_dependence([flag], [self.stored(each) for each in results])
        return results

    def _branch(self, choice: Any, operands: Sequence[Tensor], branch: Branch) -> list[Tensor]:
        """The results of a branch. Each has inputs of its own: no layer may be in both."""
        entered = [self._entered(choice, x) for x in operands]
        with self._inside("branch", entered) as inside:
            inside.choice, inside.given = choice, {*inside.tensors}
            results = branch(entered)
        return [x if self._is_in(x, inside) else self._entered(choice, x) for x in results]

    def _chosen_in_a_loop(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        """A conditional that stands in a branch of another by way of a loop of one iteration.

        TensorRT-RTX 1.7 cannot build one that stands there directly ("CHECK(static_cast<size_t>(i) <
        op->input_size()) failed"); within loops it can.
        """
        once = self.constant(np.zeros(1, np.int32))

        def step(elements: Sequence[Tensor], carried: Sequence[Tensor]) -> tuple[list[Along], list[Tensor]]:
            return [Along(x, 0) for x in self.choose(flag, operands, then, otherwise)], []

        stacks, _ = self.scan(step, [Along(once, 0)], [])
        return tuple(self.reshape(stack, stack.shape[1:]) for stack in stacks)

    def _entered(self, choice: Any, x: Tensor) -> Tensor:
        _, (entered,) = self.add_to(choice, "conditional_input", x, results=(x.type,))
        return entered

    def _chosen(self, choice: Any, then: Tensor, otherwise: Tensor) -> Tensor:
        _, (chosen,) = self.add_to(choice, "conditional_output", then, otherwise, results=(then.type,))
        self._left[self.stored(chosen)] = None
        return chosen


@dataclass(eq=False)
class _Inside:
    """The tensors of a ``loop``, of a conditional's ``branch``, or that depend on some others."""

    kind: str
    tensors: set[Tensor]
    choice: Any = None
    """the conditional whose branch it is"""
    given: set[Tensor] = field(default_factory=set[Tensor])
    """what that branch is given"""
