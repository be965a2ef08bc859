"""Sums of two convolutions: the one with the smaller window stands last."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import model
from trtdsl.ir import Graph, verify
from trtdsl.passes import optimize, order_sums
from trtdsl.reference import random_inputs, run

X = "input x: float32[N, 4, 6, 6]"
SMALL = "small = x -> small: Conv2d(8, 1)"
LARGE = "large = x -> large: Conv2d(8, 3, padding = 1)"


def scopes(graph: Graph) -> list[str]:
    return [node.scope for node in graph.nodes if node.op.name == "Conv2d"]


@pytest.mark.parametrize("expression", ["large + small", "small + large", "relu(small + large)"])
def test_the_smaller_window_goes_last(expression: str) -> None:
    graph = model(X, expression, SMALL, LARGE)
    changed = order_sums(graph)
    assert verify(changed) == ()
    assert (scopes(graph), scopes(changed)) == (["small", "large"], ["large", "small"])
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(changed, inputs), expected(graph, inputs), 1e-6)
    assert order_sums(changed) is changed


@pytest.mark.parametrize(
    ("expression", "statements"),
    [
        ("large + small", [LARGE, SMALL]),
        ("small + large + mean(small)", [SMALL, LARGE]),
        ("relu(small) + large", [SMALL, LARGE]),
        ("small * large", [SMALL, LARGE]),
        ("small + other", [SMALL, "other = x -> other: Conv2d(8, 1)"]),
        ("small + small", [SMALL]),
        ("small + x[:, :1]", [SMALL]),
    ],
)
def test_what_stays_in_its_order(expression: str, statements: list[str]) -> None:
    graph = model(X, expression, *statements)
    assert order_sums(graph) is graph


def test_an_output_stays_where_it_is() -> None:
    graph = model(X, "small + large", SMALL, LARGE, "output small")
    assert order_sums(graph) is graph


def test_through_normalisations_and_one_block_after_another() -> None:
    block = (
        "x -> a: Conv2d({c}, 3, padding = 1) -> a_bn: BatchNorm2d() -> relu"
        " -> b: Conv2d({c}, 3, padding = 1) -> b_bn: BatchNorm2d()"
    )
    one = ["s = x -> s: Conv2d(8, 1) -> s_bn: BatchNorm2d()", f"m = {block.format(c=8)}"]
    changed = optimize(model(X, "relu(m + s)", *one))
    assert scopes(changed)[-1].startswith("s")
