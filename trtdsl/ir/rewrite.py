"""Rewriting: a rule says what one node becomes, a driver does it everywhere and keeps the books.

In: a graph and a rule.  Out: a graph, and why the rule refused what it refused::

    def remove_double_negation(node: Node, around: Surroundings) -> Outcome:
        match node.op:
            case Neg():
                inner = around.producer(node.operands[0])
                if inner and isinstance(inner.op, Neg):
                    return inner.operands[0]        # the result is this value
        return None                                 # nothing to do here

    rewrite(graph, remove_double_negation)

A rule returns what stands for the node's results:

- a value that is there already, of the result's own type;
- a node, or several in order, that make the very same results (:meth:`Surroundings.builder` places them);
- another node of the graph that computes the same, which takes on this one's origins;
- a :class:`Refusal` where it would have rewritten but for a reason that its user may want to know;
- None.

The driver visits the nodes in order, a body's before the node that holds it, sends every reader of a replaced
result to what replaced it, and drops the nodes that nothing reads any more because of that.  A rule that
remembers what it has seen is a class: every graph, bodies included, gets an object of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import msgspec

from trtdsl.diagnostics import Origin
from trtdsl.ir.builder import Builder
from trtdsl.ir.graph import Graph, Node, Value, Weight, with_bodies
from trtdsl.ir.names import ValueNames


class Refusal(msgspec.Struct, frozen=True):
    """Why a rule leaves a node that looks like one it is for.

    The reason stands after the node's name: ``fold_batch_norm leaves `bn1`, BatchNorm2d: `` and then
    ``it takes the statistics of the batch``.

    ``about`` are further nodes that take part, such as the convolution before a normalisation.
    """

    reason: str
    about: tuple[Node, ...] = ()


class RefusedNode(msgspec.Struct, frozen=True):
    """A refusal and the node that was refused."""

    node: Node
    refusal: Refusal

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The node's own places, then those of the others that take part."""
        return tuple(dict.fromkeys(o for node in (self.node, *self.refusal.about) for o in node.origins))


Outcome: TypeAlias = "Node | Sequence[Node] | Value | Refusal | None"
"""What a rule makes of a node. Several nodes stand in order; together they make the node's results."""


class Rule(Protocol):
    """A function on one node and what is around it."""

    def __call__(self, node: Node, around: Surroundings) -> Outcome: ...


class _Ledger:
    """Who makes and who reads each value of one graph, kept up to date while it changes."""

    def __init__(self, graph: Graph) -> None:
        self.uses = Counter(value for node in graph.nodes for value in node.operands)
        self.uses.update(output.value for output in graph.outputs)
        self.outputs = set(graph.output_values)
        self.producers: dict[Value, Node] = {}

    def keep(self, node: Node) -> None:
        self.producers.update(dict.fromkeys(node.results, node))

    def read(self, values: Iterable[Value], times: int = 1) -> None:
        for value in values:
            self.uses[value] += times

    def stand_in(self, old: Value, new: Value) -> None:
        """What read or put out one value now does so with another."""
        self.read([new], self.uses.pop(old, 0))
        if old in self.outputs:
            self.outputs.add(new)


class Surroundings:
    """What a rule can ask about the graph as it is at that moment."""

    def __init__(self, ledger: _Ledger, names: ValueNames) -> None:
        self._ledger = ledger
        self._names = names

    def producer(self, value: Value | None) -> Node | None:
        """The node of this graph that makes a value; None for an input, a weight or None."""
        return self._ledger.producers.get(value) if value is not None else None

    def is_output(self, value: Value) -> bool:
        return value in self._ledger.outputs

    def is_read_once(self, value: Value) -> bool:
        """Whether one operand of one node is all that reads a value: no output, no second reader."""
        return self._ledger.uses[value] == 1 and value not in self._ledger.outputs

    def builder(self) -> Builder:
        """Places new nodes, under names that the graph does not have: its ``nodes`` are the outcome."""
        return Builder(self._names)


def rewrite(graph: Graph, rule: Rule | type[Rule], *, until_stable: bool = False) -> Graph:
    """The graph with the rule applied to every node, bodies included; the same object if nothing changed.

    One sweep, or with ``until_stable`` as many as change something. Refusals are told to whoever listens
    with :func:`refusals`.
    """
    names = ValueNames.of(graph)
    while True:
        # What an earlier sweep refused the last one refuses again, if it is still there.
        with refusals() as heard:
            changed = _rewritten(graph, rule, names)
        if changed is graph or not until_stable:
            for each in heard:
                refuse(each.node, each.refusal)
            return changed
        graph = changed


_LISTENER: ContextVar[list[RefusedNode] | None] = ContextVar("listener", default=None)


@contextmanager
def refusals() -> Generator[list[RefusedNode], None, None]:
    """Collect what rules refuse within the block, in order."""
    heard: list[RefusedNode] = []
    token = _LISTENER.set(heard)
    try:
        yield heard
    finally:
        _LISTENER.reset(token)


def refuse(node: Node, refusal: Refusal) -> None:
    """Tell a refusal of a pass that is not a rule."""
    heard = _LISTENER.get()
    if heard is not None:
        heard.append(RefusedNode(node, refusal))


def _rewritten(graph: Graph, rule: Rule | type[Rule], names: ValueNames) -> Graph:
    sweep = _Sweep(graph, rule() if isinstance(rule, type) else rule, names)
    for node in graph.nodes:
        inside = with_bodies(node, [_rewritten(body, rule, names) for body in node.bodies])
        sweep.visit(sweep.redirected(inside), node)
    return sweep.result()


class _Sweep:
    """One pass over one graph's nodes."""

    def __init__(self, graph: Graph, rule: Rule, names: ValueNames) -> None:
        self._graph = graph
        self._rule = rule
        self._ledger = _Ledger(graph)
        self._around = Surroundings(self._ledger, names)
        self._kept: dict[int, Node] = {}
        self._places: dict[Value, int] = {}
        self._replaced: dict[Value, Value] = {}
        self._changed = False

    def redirected(self, node: Node) -> Node:
        """The node reading what its operands have become."""
        if not self._replaced or not any(value in self._replaced for value in node.operands):
            return node
        operands = tuple(self._resolved(value) for value in node.operands)
        return node.replace(operands=operands)

    def _resolved(self, value: Value) -> Value:
        while value in self._replaced:
            value = self._replaced[value]
        return value

    def visit(self, node: Node, before: Node) -> None:
        """Apply the rule to a node, which was ``before`` in the graph."""
        self._changed = self._changed or node is not before
        outcome = self._rule(node, self._around)
        if isinstance(outcome, Refusal):
            refuse(node, outcome)
        if outcome is None or outcome is node or isinstance(outcome, Refusal):
            self._keep(node)
            return
        self._changed = True
        if isinstance(outcome, Value):
            self._replace(node.result, outcome)
        elif isinstance(outcome, Node) and outcome.results[0] in self._places:
            self._merge(node, outcome)
        elif isinstance(outcome, Node):
            self._stand(node, [outcome])
        else:
            self._stand(node, _nodes(outcome))
        self._drop(node)

    def _keep(self, node: Node) -> None:
        place = len(self._places)
        self._places.update(dict.fromkeys(node.results, place))
        self._kept[place] = node
        self._ledger.keep(node)

    def _replace(self, old: Value, new: Value) -> None:
        if old.type != new.type:
            raise TypeError(f"a rule puts {new.type} in place of `{old.name}`, which is {old.type}")
        if new not in self._places and new not in self._graph.inputs and not isinstance(new, Weight):
            raise TypeError(f"a rule puts `{new.name}` in place of `{old.name}`, before that is made")
        self._replaced[old] = new
        self._ledger.stand_in(old, new)

    def _merge(self, node: Node, other: Node) -> None:
        place = self._places[other.results[0]]
        other = self._kept[place]
        self._kept[place] = kept = other.replace(origins=merged_origins([other, node]))
        self._ledger.keep(kept)
        for old, new in zip(node.results, other.results, strict=True):
            self._replace(old, new)

    def _stand(self, node: Node, new: Sequence[Node]) -> None:
        made = {result for each in new for result in each.results}
        if not made.issuperset(node.results):
            names = ", ".join(result.name for result in node.results)
            raise TypeError(f"the nodes that a rule puts in place of `{node.op.name}` do not make {names}")
        for each in new:
            self._ledger.read(each.operands)
            self._keep(each)

    def _drop(self, node: Node) -> None:
        """A node is gone, and so is every node before it that nothing reads because of that."""
        waiting = [node]
        while waiting:
            gone = waiting.pop()
            self._ledger.read(gone.operands, -1)
            for value in dict.fromkeys(gone.operands):
                maker = self._ledger.producers.get(value)
                if maker and not any(self._ledger.uses[result] for result in maker.results):
                    # Asked twice, it is gone already.
                    waiting += [node for node in [self._kept.pop(self._places[value], None)] if node]

    def result(self) -> Graph:
        if not self._changed:
            return self._graph
        outputs = tuple(
            out if (new := self._resolved(out.value)) is out.value else out.replace(value=new)
            for out in self._graph.outputs
        )
        return self._graph.replace(nodes=tuple(self._kept.values()), outputs=outputs)


def _nodes(outcome: Any) -> Sequence[Node]:
    """The nodes of an outcome; TypeError for what a rule, whoever wrote it, may not return."""
    if not outcome or not all(isinstance(each, Node) for each in outcome):
        raise TypeError(f"a rule returned {outcome!r}, which is none of its outcomes")
    return outcome


def merged_origins(nodes: Iterable[Node]) -> tuple[Origin, ...]:
    """The origins of a node that stands for several, each once, in their order."""
    return tuple(dict.fromkeys(origin for node in nodes for origin in node.origins))
