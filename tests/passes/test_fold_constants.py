"""What is too large is left to the engine: neither a result nor anything on the way to it is computed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from tests.closeness import require_close
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes.fold_constants import LARGEST_GROWTH, fold_constants
from trtdsl.reference import run
from trtdsl.weights import bind


def graph_of(expression: str) -> Graph:
    return elaborate_text(f"model m() {{ input x: float32[1] output y = x + ({expression}) }}")


@pytest.mark.parametrize(
    "expression",
    [
        "full((100000, 100000), 1.0) -> sum -> reshape(1)",
        "full((100000, 100000), 1.0)[0, 0]",
        "ones(2000, 1) * ones(1, 2000)",
    ],
)
def test_what_is_too_large_is_not_computed(expression: str) -> None:
    graph = graph_of(expression)
    tracemalloc.start()
    folded = fold_constants(graph)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(folded.nodes) == len(graph.nodes)
    assert most < 2 * LARGEST_GROWTH


@pytest.mark.parametrize("name", ["exp", "log", "sin", "cos", "sqrt"])
def test_functions_are_folded_within_the_tolerance(name: str) -> None:
    graph = elaborate_text(f"model m() {{ input x: float32[1] output y = x * {name}(w: Parameter(2000)) }}")
    graph = bind(graph, {"w": np.linspace(0.01, 5, 2000, dtype=np.float32)}).graph
    folded = fold_constants(graph)
    assert [node.op.name for node in folded.nodes] == ["Parameter", "mul"]
    inputs = {"x": torch.ones(1)}
    require_close(run(folded, inputs)["y"], run(graph, inputs)["y"], fold_constants.tolerance)


def test_what_is_small_is_computed() -> None:
    names = [node.op.name for node in fold_constants(graph_of("full((2, 1), 1.0) + 2")).nodes]
    assert names == ["Parameter", "add"]
