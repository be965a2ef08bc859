"""Run a read-back network: demand driven, with loops and conditionals.

In: a :class:`~.readback.Program` and input values.  Out: the value of every tensor that was needed.

A tensor is computed when something needs it, so the branch of a conditional that is not taken is never
run.  A loop is a :class:`Frame` of its own for each iteration: it holds what changes with the iteration
and asks its parent for everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .readback import Program
from .registry import NARROW_FLOATS, Context, EvaluationError, LayerNode, Operands, evaluator_of

LOOP_KINDS = ("TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT")


@dataclass
class Loop:
    """The boundary layers of one loop, and the layers whose values change with its iterations."""

    name: str
    limits: list[LayerNode] = field(default_factory=list)
    recurrences: list[LayerNode] = field(default_factory=list)
    iterators: list[LayerNode] = field(default_factory=list)
    outputs: list[LayerNode] = field(default_factory=list)
    variant: frozenset[int] = frozenset()

    def boundary(self) -> Iterator[LayerNode]:
        yield from (*self.limits, *self.recurrences, *self.iterators, *self.outputs)


class Machine:
    """A program with its control flow worked out, ready to run."""

    def __init__(self, program: Program, context: Context) -> None:
        self.program = program
        self.context = context
        self.loops = _find_loops(program)
        self.loop_of = {node.index: loop for loop in self.loops for node in loop.boundary()}
        self.edges = 16 + 2 * sum(len(node.inputs) for node in program.nodes)
        self.conditions = [node for node in program.nodes if node.kind == "CONDITION"]
        for loop in self.loops:
            loop.variant = self._variant(loop)
        self.guarded = self._guarded()

    def run(self, inputs: dict[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """The values of the wanted tensors and of all they needed, outside of loop bodies."""
        frame = Frame(self, inputs)
        elsewhere = self.guarded.union(*(loop.variant for loop in self.loops))
        for node in self.program.nodes:
            if node.kind == "ASSERTION" and node.index not in elsewhere:
                frame.execute(node)
        for name in wanted:
            frame.demand(name)
        return frame.values

    def condition_of(self, node: LayerNode) -> str:
        """The name of the tensor that decides a conditional, from any of its boundary layers."""
        handle = node.layer.conditional
        found = [each.input(0) for each in self.conditions if each.layer.conditional == handle]
        if not found or found[0] is None:
            node.refuse("its conditional has no condition")
        return found[0]

    def _dependencies(self, node: LayerNode) -> Iterator[str]:
        """All tensors a layer may need; a loop's output needs what bounds and feeds the loop."""
        yield from (name for name in node.inputs if name is not None)
        if node.kind == "LOOP_OUTPUT":
            for other in self.loop_of[node.index].boundary():
                yield from (name for name in other.inputs if name is not None)
        if node.kind == "CONDITIONAL_OUTPUT":
            yield self.condition_of(node)

    def _variant(self, loop: Loop) -> frozenset[int]:
        """The layers that depend on a recurrence or iterator of the loop, its outputs excepted."""
        changing = {name for node in (*loop.recurrences, *loop.iterators) for name in node.outputs}
        variant = {node.index for node in (*loop.recurrences, *loop.iterators)}
        own = {node.index for node in loop.outputs}
        grew = True
        while grew:
            grew = False
            for node in self.program.nodes:
                if node.index in variant or node.index in own:
                    continue
                if not changing.isdisjoint(self._dependencies(node)):
                    variant.add(node.index)
                    changing.update(node.outputs)
                    grew = True
        return frozenset(variant)

    def _guarded(self) -> frozenset[int]:
        """Layers after a conditional's input; assertions among them are not checked."""
        changing = {
            name for node in self.program.nodes if node.kind == "CONDITIONAL_INPUT" for name in node.outputs
        }
        guarded: set[int] = set()
        grew = bool(changing)
        while grew:
            grew = False
            for node in self.program.nodes:
                if node.index in guarded or node.kind == "CONDITIONAL_OUTPUT":
                    continue
                if not changing.isdisjoint(name for name in node.inputs if name is not None):
                    guarded.add(node.index)
                    changing.update(node.outputs)
                    grew = True
        return frozenset(guarded)


def _find_loops(program: Program) -> list[Loop]:
    found: list[tuple[Any, Loop]] = []

    def loop_of(node: LayerNode) -> Loop:
        handle = node.layer.loop
        for known, loop in found:
            if known == handle:
                return loop
        found.append((handle, Loop(handle.name)))
        return found[-1][1]

    slots = {"TRIP_LIMIT": "limits", "RECURRENCE": "recurrences", "ITERATOR": "iterators"}
    for node in program.nodes:
        if node.kind in LOOP_KINDS:
            getattr(loop_of(node), slots.get(node.kind, "outputs")).append(node)
    return [loop for _, loop in found]


class Frame:
    """The values of one run: of the whole network, or of one iteration of a loop."""

    def __init__(
        self,
        machine: Machine,
        values: dict[str, torch.Tensor],
        parent: Frame | None = None,
        loop: Loop | None = None,
    ) -> None:
        self.machine = machine
        self.values = values
        self.parent = parent
        self.loop = loop

    def owns(self, node: LayerNode) -> bool:
        return self.loop is None or node.index in self.loop.variant

    def demand(self, name: str) -> torch.Tensor:
        """The value of a tensor, computing it and what it needs without recursing over layers."""
        waiting = [name]
        while waiting:
            current = waiting[-1]
            missing = [] if current in self.values else self._step(current)
            if missing:
                waiting.extend(missing)
                if len(waiting) > self.machine.edges:
                    raise EvaluationError(f"tensor `{current}` depends on itself outside of a loop")
            else:
                waiting.pop()
        return self.values[name]

    def execute(self, node: LayerNode) -> None:
        """Compute a layer, its inputs first."""
        values = tuple(None if name is None else self.demand(name) for name in node.inputs)
        self._store(node, values)

    def _step(self, name: str) -> list[str]:
        """Compute a tensor if its inputs are there; otherwise the inputs that are not."""
        node = self.machine.program.producers.get(name)
        if node is None or not self.owns(node):
            return self._from_parent(name)
        if node.kind == "LOOP_OUTPUT":
            run_loop(self, self.machine.loop_of[node.index])
            return []
        if node.kind == "CONDITIONAL_OUTPUT":
            return self._choose(node)
        missing = [each for each in node.inputs if each is not None and each not in self.values]
        if not missing:
            self._store(node, tuple(None if each is None else self.values[each] for each in node.inputs))
        return missing

    def _from_parent(self, name: str) -> list[str]:
        if self.parent is None:
            raise EvaluationError(f"tensor `{name}` is produced by no layer and is no input")
        self.values[name] = self.parent.demand(name)
        return []

    def _choose(self, node: LayerNode) -> list[str]:
        condition = self.machine.condition_of(node)
        if condition not in self.values:
            return [condition]
        chosen = node.inputs[0 if bool(self.values[condition]) else 1]
        if chosen is None:
            node.refuse("the branch it takes has no tensor")
        if chosen not in self.values:
            return [chosen]
        self.values[node.outputs[0]] = self.values[chosen]
        return []

    def _store(self, node: LayerNode, values: Sequence[torch.Tensor | None]) -> None:
        """Compute a layer and keep its results in their types, their shapes held against TensorRT's."""
        context = self.machine.context
        expected = [self._shape(node, name) for name in node.outputs]
        operands = Operands(node, tuple(_widen(value, context) for value in values))
        results = _call(node, operands, context)
        rounded = self._is_rounded(node, values)
        for name, dtype, value, shape in zip(node.outputs, node.dtypes, results, expected, strict=True):
            # An attention's inner tensor is TensorRT's own business.
            if node.kind != "ATTENTION_INPUT" and not fits(shape, value):
                node.refuse(f"computed shape {tuple(value.shape)}, TensorRT says {shape}")
            self.values[name] = value.to(context.storage(dtype, rounded))

    def _is_rounded(self, node: LayerNode, values: Sequence[torch.Tensor | None]) -> bool:
        """Whether a layer's results are of their own types, though the precision be a wider one.

        What a network casts is rounded, and so is what it computes from that, as PyTorch computes it too.
        Only what it makes of narrow inputs that are kept wide stays wide.
        """
        program = self.machine.program
        if program.is_cast(node):
            return True
        dtypes = [None if name is None else program.tensors[name].dtype for name in node.inputs]
        operands = zip(dtypes, values, strict=True)
        return not any(
            value is not None and dtype in NARROW_FLOATS and value.dtype == self.machine.context.compute
            for dtype, value in operands
        )

    def _shape(self, node: LayerNode, name: str) -> tuple[int, ...]:
        shape = self.machine.program.tensors[name].shape
        if shape is None:
            node.refuse(f"TensorRT cannot infer the shape of its output `{name}`")
        return shape


def fits(shape: tuple[int, ...], value: torch.Tensor) -> bool:
    """Whether a value has a shape whose unknown lengths are -1."""
    return len(shape) == value.dim() and all(
        want in (-1, have) for want, have in zip(shape, value.shape, strict=True)
    )


def _call(node: LayerNode, operands: Operands, context: Context) -> Sequence[torch.Tensor]:
    """A layer's results; what torch refuses (shapes that do not fit at run time) names the layer."""
    function = evaluator_of(node)
    try:
        result = function(node, operands, context)
    except (RuntimeError, IndexError, ValueError) as error:
        shapes = [None if value is None else tuple(value.shape) for value in operands.values]
        raise EvaluationError(f"layer `{node.name}` ({node.kind}) of inputs {shapes}: {error}") from error
    results = (result,) if isinstance(result, torch.Tensor) else tuple(result)
    if len(results) != len(node.outputs):
        node.refuse(f"{len(results)} results for {len(node.outputs)} outputs")
    return results


def _widen(value: torch.Tensor | None, context: Context) -> torch.Tensor | None:
    return value.to(context.compute) if value is not None and value.is_floating_point() else value


def run_loop(frame: Frame, loop: Loop) -> None:
    """Run a loop to its end and store the values of its outputs in the frame.

    The COUNT limit is evaluated once before the loop, the WHILE limit at the start of every iteration.
    A recurrence is its first input in the first iteration, afterwards what its second input was in the
    iteration before (NvInfer.h: IRecurrenceLayer, ITripLimitLayer).
    """
    count, condition = _limits(frame, loop)
    state = {node.outputs[0]: frame.demand(_named(node, 0)) for node in loop.recurrences}
    collected: dict[int, list[torch.Tensor]] = {node.index: [] for node in loop.outputs}
    trip = 0
    while count is None or trip < count:
        values = dict(state) | {
            node.outputs[0]: _element(frame, node, trip, count) for node in loop.iterators
        }
        body = Frame(frame.machine, values, frame, loop)
        if condition is not None and not bool(body.demand(condition)):
            break
        for node in loop.outputs:
            if node.layer.kind.name != "LAST_VALUE":
                collected[node.index].append(body.demand(_named(node, 0)))
        _assert_inside(body, loop)
        state = {node.outputs[0]: body.demand(_named(node, 1)) for node in loop.recurrences}
        trip += 1
    if trip == 0:
        collected = _emptied(frame, loop, state)
    for node in loop.outputs:
        stacked = collected.get(node.index, [])
        frame.values[node.outputs[0]] = _loop_output(frame, node, state, stacked, trip)


def _emptied(frame: Frame, loop: Loop, state: dict[str, torch.Tensor]) -> dict[int, list[torch.Tensor]]:
    """For each output what an iteration would collect: none was run, so one is, of zeros, for its shapes."""
    values = dict(state)
    for node in loop.iterators:
        sequence = frame.demand(_named(node, 0))
        shape = list(sequence.shape)
        del shape[node.layer.axis]
        values[node.outputs[0]] = sequence.new_zeros(shape)
    body = Frame(frame.machine, values, frame, loop)
    stacked = [node for node in loop.outputs if node.layer.kind.name != "LAST_VALUE"]
    return {node.index: [body.demand(_named(node, 0))] for node in stacked}


def _named(node: LayerNode, index: int) -> str:
    name = node.input(index)
    if name is None:
        node.refuse(f"input {index} is missing")
    return name


def _limits(frame: Frame, loop: Loop) -> tuple[int | None, str | None]:
    counts = [int(frame.demand(_named(n, 0))) for n in loop.limits if n.layer.kind.name == "COUNT"]
    conditions = [_named(node, 0) for node in loop.limits if node.layer.kind.name == "WHILE"]
    if not counts and not conditions:
        raise EvaluationError(f"loop `{loop.name}` has no trip limit")
    if len(counts) > 1 or len(conditions) > 1:
        raise EvaluationError(f"loop `{loop.name}` has several trip limits of one kind")
    return (counts[0] if counts else None), (conditions[0] if conditions else None)


def _element(frame: Frame, node: LayerNode, trip: int, count: int | None) -> torch.Tensor:
    value = frame.demand(_named(node, 0))
    axis = node.layer.axis
    index = trip
    if node.layer.reverse:
        if count is None:
            node.refuse("a reverse iterator needs a trip limit of kind COUNT")
        index = count - 1 - trip
    if not 0 <= index < value.shape[axis]:
        node.refuse(f"iteration {trip} reads element {index} of {value.shape[axis]} along axis {axis}")
    return value.select(axis, index)


def _assert_inside(body: Frame, loop: Loop) -> None:
    """Run the assertions of a loop's own body; those of a loop inside it are run there."""
    inner = [
        each
        for each in body.machine.loops
        if each is not loop and any(node.index in loop.variant for node in each.outputs)
    ]
    elsewhere = body.machine.guarded.union(*(each.variant for each in inner))
    for node in body.machine.program.nodes:
        if node.kind == "ASSERTION" and node.index in loop.variant - elsewhere:
            body.execute(node)


def _loop_output(
    frame: Frame,
    node: LayerNode,
    state: dict[str, torch.Tensor],
    collected: Sequence[torch.Tensor],
    trips: int,
) -> torch.Tensor:
    kind = node.layer.kind.name
    source = _named(node, 0)
    if kind == "LAST_VALUE":
        if source not in state:
            node.refuse("LAST_VALUE must take the output of a recurrence of the same loop")
        return state[source]
    length = int(frame.demand(_named(node, 1)))
    if length != trips:
        node.refuse(f"concatenates {length} iterations, the loop made {trips}")
    ordered = collected if kind == "CONCATENATE" else collected[::-1]
    return torch.stack([*ordered], dim=node.layer.axis).narrow(node.layer.axis, 0, length)
