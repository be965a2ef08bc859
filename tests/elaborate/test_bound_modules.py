"""A module with its label is bound to a name or given on; a pipe's second list holds further tensors."""

from __future__ import annotations

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, verify
from trtdsl.syntax import format_text

BLOCKS = """
block Twice(layer)(x) { return x -> layer -> layer }
block Head(n)(x) { return x -> fc: Linear(n) }
block Inner()(x) {
  layer = fc: Linear(4)
  return x -> body.deep: Twice(layer)
}
block Plus()(x, y) { return x + y }
"""


def graph_of(statements: str) -> Graph:
    declared = "input x: float32[2, 4]\ninput w: float32[4, 4]\ninput p: bool[]"
    text = f"{BLOCKS}model m() {{\n{declared}\n{statements}\noutput out = y\n}}\n"
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    graph = elaborate_text(text)
    assert difference(graph, elaborate_text(formatted)) is None
    assert verify(graph) == ()
    return graph


SAME = {
    "piped into": ("f = fc: Linear(4)\ny = x -> f", "y = x -> fc: Linear(4)"),
    "called": ("f = fc: Linear(4)\ny = f(x)", "y = x -> fc: Linear(4)"),
    "without a list": ("f = act: GELU\ny = x -> f", "y = x -> act: GELU"),
    "labelled later": ("f = Linear(4)\ng = fc: f\ny = x -> g", "y = x -> fc: Linear(4)"),
    "placed twice": ("f = fc: Linear(4)\ny = x -> f -> f", "y = x -> fc: Linear(4) -> fc: Linear(4)"),
    "a block": ("f = head: Head(4)\ny = x -> f", "y = x -> head: Head(4)"),
    "given to a block": (
        "f = fc: Linear(4)\ny = x -> a: Twice(f)",
        "y = x -> fc: Linear(4) -> fc: Linear(4)",
    ),
    "given as it is": ("y = x -> a: Twice(fc: Linear(4))", "y = x -> fc: Linear(4) -> fc: Linear(4)"),
    "at the path where it is written": (
        "y = x -> mid: Inner",
        "y = x -> mid.fc: Linear(4) -> mid.fc: Linear(4)",
    ),
    "chosen from a list": (
        "fs = [a: Linear(4), b: Linear(4)]\ny = x\nfor f in fs { y = y -> f }",
        "y = x -> a: Linear(4) -> b: Linear(4)",
    ),
    "a branch": (
        "f = a: Linear(4)\ny = cond(p, f, b: Linear(4), [x])",
        "y = cond(p, a: Linear(4), b: Linear(4), [x])",
    ),
    "a branch that is a block": (
        "f = a: Head(4)\ny = cond(p, f, b: Head(4), [x])",
        "y = cond(p, a: Head(4), b: Head(4), [x])",
    ),
    "weights by name": ("y = x -> fc: Linear(4)(weight = w)", "y = fc: Linear(4)(x, weight = w)"),
    "weights of a bound one": (
        "f = fc: Linear(4)\ny = x -> f(weight = w)",
        "y = fc: Linear(4)(x, weight = w)",
    ),
    "a second tensor": ("y = x -> Plus()(w[:2])", "y = Plus()(x, w[:2])"),
    "no further tensors": ("y = x -> fc: Linear(4)()", "y = x -> fc: Linear(4)"),
}


@pytest.mark.parametrize("case", SAME)
def test_means_the_same(case: str) -> None:
    text, same = SAME[case]
    found, wanted = graph_of(text), graph_of(same)
    assert [weight.key for weight in found.weights] == [weight.key for weight in wanted.weights]
    assert [(node.op, node.scope) for node in found.nodes] == [(node.op, node.scope) for node in wanted.nodes]
    assert [node.slots for node in found.nodes] == [node.slots for node in wanted.nodes]
    bodies = [
        [body.nodes[0].scope for node in graph.nodes for body in node.bodies] for graph in (found, wanted)
    ]
    assert bodies[0] == bodies[1]
