"""Graphs of short texts: a model's body, with the declarations that most of them want."""

from __future__ import annotations

from typing import Any

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph

DECLARED = "dim N = 1 .. 2 .. 64\ninput x: float32[N, 3, 8, 8]\n"


def graph_of(body: str, head: str = "", declared: str = DECLARED, **defines: Any) -> Graph:
    """The graph of ``model m`` with this body; ``head`` stands before the model."""
    return elaborate_text(f"{head}\nmodel m() {{\n{declared}{body}\n}}", defines=defines)


def shape_of(expression: str, declared: str = DECLARED) -> str:
    """The type of an expression that gives a tensor, in words."""
    return str(graph_of(f"output result = {expression}", declared=declared).outputs[0].value.type)


def value_of(expression: str) -> Any:
    """What a compile-time expression that gives integers stands for, as the shape of a constant."""
    graph = graph_of(f"output result = zeros({expression})", declared="dim N = 1 .. 2 .. 64\n")
    return list(graph.outputs[0].value.type.shape)


def mistakes_of(body: str, head: str = "", declared: str = DECLARED) -> list[str]:
    """The messages of a body's mistakes."""
    with pytest.raises(DiagnosticError) as caught:
        graph_of(body, head, declared)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def operators(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def keys(graph: Graph) -> list[str]:
    return [weight.key for weight in graph.weights]
