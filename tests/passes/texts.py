"""Small graphs for the tests of passes, and what is left of them in words."""

from __future__ import annotations

from tests.closeness import expected, require_outputs
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, verify, walk
from trtdsl.ir.show import show_node
from trtdsl.passes import Pass, remove_dead_nodes
from trtdsl.reference import random_inputs, random_weights, run
from trtdsl.trt.lower import lower


def model(declaration: str, expression: str, *statements: str, seed: int = 0) -> Graph:
    """A model of one input and one output `y`, its batch dynamic, its weights random."""
    lines = "\n  ".join(statements)
    text = f"model m() {{\n  dim N = 1 .. 2 .. 8\n  {declaration}\n  {lines}\n  output y = {expression}\n}}"
    return random_weights(elaborate_text(text), seed)


def calls(graph: Graph) -> list[str]:
    """Each node as a text writes it, in order."""
    return [show_node(node) for node in walk(graph)]


def names(graph: Graph) -> list[str]:
    """The operators, in order."""
    return [node.op.name for node in walk(graph)]


def changed_by(step: Pass, graph: Graph) -> Graph:
    """What a pass makes of a graph: it computes the same, as a network too, and the pass leaves it alone."""
    changed = step(graph)
    assert verify(changed) == ()
    assert step(changed) is changed
    inputs = random_inputs(graph, seed=1)
    wanted = expected(graph, inputs)
    lowered = lower(remove_dead_nodes(changed))
    require_outputs(run(changed, inputs), wanted, 1e-5)
    require_outputs(evaluate(lowered.network, inputs, weights=lowered.weights), wanted, 1e-5)
    return changed
