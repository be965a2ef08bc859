"""What is too large is left to the engine: neither a result nor anything on the way to it is computed."""

from __future__ import annotations

import tracemalloc

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes.fold_constants import LARGEST_GROWTH, fold_constants


def graph_of(expression: str) -> Graph:
    return elaborate_text(f"model m() {{ input x: float32[1] output y = x + ({expression}) }}")


@pytest.mark.parametrize(
    "expression",
    [
        "full((100000, 100000), 1.0) -> sum -> reshape(1)",
        "full((100000, 100000), 1.0)[0, 0]",
        "ones(1000, 1) * ones(1, 1000)",
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


def test_what_is_small_is_computed() -> None:
    names = [node.op.name for node in fold_constants(graph_of("full((2, 1), 1.0) + 2")).nodes]
    assert names == ["Parameter", "add"]
