"""What is computed beforehand: what PyTorch computes, and of what is too large not even what leads to it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from tests.closeness import require_close
from tests.passes.texts import names
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


@pytest.mark.parametrize(
    "expression",
    [
        "clamp(full((3,), 1.0), min = nan)",
        "clamp(full((3,), 1.0), max = nan)",
        "clamp(arange(3), min = -7000000000, max = 1)",
        "clamp(full((3,), 2, dtype = uint8), min = 1, max = 300)",
        "clamp(arange(3), min = 2, max = 1)",
        "div(arange(3), 2)",
        "div(arange(3) - 4, full((), 0))",
        'div(arange(3) - 4, 3, rounding_mode = "floor")',
        'div(to(arange(3), float16) - 4, 3, rounding_mode = "trunc")',
        "index_select(arange(9), 0, tensor([2, 0]))",
        "sum(full((), 3.0), dim = 0)",
        "mean(full((), 3.0), dim = 0)",
    ],
)
def test_constants_are_what_pytorch_computes(expression: str) -> None:
    graph = elaborate_text(f"model m() {{ input x: float32[1] output y = {expression} output z = x }}")
    folded = fold_constants(graph)
    assert names(folded) == ["Parameter"]
    inputs = {"x": torch.ones(1)}
    torch.testing.assert_close(
        run(folded, inputs)["y"], run(graph, inputs)["y"], rtol=1e-6, atol=0, equal_nan=True
    )


def test_what_pytorch_refuses_is_left() -> None:
    divided = 'div(full((2,), 5, dtype = uint8), full((), 256), rounding_mode = "floor")'
    text = f"model m() {{ input x: float32[1] output y = {divided} output z = x }}"
    assert names(fold_constants(elaborate_text(text)))[-1] == "div"
