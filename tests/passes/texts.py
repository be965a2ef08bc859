"""Small graphs for the tests of passes, and what is left of them in words."""

from __future__ import annotations

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, walk
from trtdsl.ir.show import show_node
from trtdsl.reference import random_weights


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
