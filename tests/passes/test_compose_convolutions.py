"""Two convolutions as one: where that is fewer multiplications, and only where it computes the same."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import calls, model
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import refusals, verify
from trtdsl.passes import compose_convolutions
from trtdsl.reference import random_inputs, run
from trtdsl.trt.lower import lower

X = "input x: float32[N, 4, 9, 8]"
COMPOSED = {
    "points behind": (
        "a: Conv2d(16, 3, padding = 1) -> b: Conv2d(2, 1)",
        '"a+b": Conv2d(2, 3, padding = 1)',
    ),
    "points in front": (
        "a: Conv2d(16, 1, bias = false) -> b: Conv2d(2, 3, padding = 1, stride = 2)",
        '"a+b": Conv2d(2, 3, stride = 2, padding = 1)',
    ),
    "in front, without padding": (
        "a: Conv2d(16, 1) -> b: Conv2d(2, 3, dilation = 2)",
        '"a+b": Conv2d(2, 3, dilation = 2)',
    ),
    "in front, padded by copies": (
        'a: Conv2d(16, 1) -> b: Conv2d(2, 3, padding = 1, padding_mode = "replicate")',
        '"a+b": Conv2d(2, 3, padding = 1, padding_mode = "replicate")',
    ),
    "points both": (
        "a: Conv2d(8, 1, bias = false) -> b: Conv2d(4, 1, bias = false)",
        '"a+b": Conv2d(4, 1, bias = false)',
    ),
    "a stride of the points": (
        "a: Conv2d(16, 3, padding = 1, stride = 2) -> b: Conv2d(2, 1, stride = (1, 2))",
        '"a+b": Conv2d(2, 3, stride = (2, 4), padding = 1)',
    ),
    "groups of both": (
        "a: Conv2d(16, 3, groups = 2) -> b: Conv2d(2, 1, groups = 2)",
        '"a+b": Conv2d(2, 3, groups = 2)',
    ),
    "groups of the first": (
        "a: Conv2d(32, 3, groups = 2) -> b: Conv2d(1, 1, bias = false)",
        '"a+b": Conv2d(1, 3)',
    ),
    "groups of the second": (
        "a: Conv2d(32, 3) -> b: Conv2d(2, 1, groups = 2)",
        '"a+b": Conv2d(2, 3)',
    ),
    "three": (
        "a: Conv2d(16, 1) -> b: Conv2d(8, 1) -> c: Conv2d(2, 1)",
        '"a+b+c": Conv2d(2, 1)',
    ),
}
LEFT = {
    "more multiplications": "a: Conv2d(4, 3, groups = 4) -> b: Conv2d(8, 1)",
    "as many": "a: Conv2d(2, 1) -> b: Conv2d(4, 1)",
    "neither of points": "a: Conv2d(16, 3) -> b: Conv2d(2, 2)",
    "points that are padded": "a: Conv2d(16, 3) -> b: Conv2d(2, 1, padding = 1)",
    "something between": "a: Conv2d(16, 3) -> relu -> b: Conv2d(2, 1)",
    "a step before": "a: Conv2d(16, 1, stride = 2) -> b: Conv2d(2, 3)",
    "the same again": 'a: Conv2d(16, 3, padding = "same") -> b: Conv2d(2, 1, stride = 2)',
}


@pytest.mark.parametrize("case", COMPOSED)
def test_composes(case: str) -> None:
    expression, wanted = COMPOSED[case]
    graph = model(X, f"x -> {expression} -> relu")
    composed = compose_convolutions(graph)
    assert calls(composed)[0] == f"x -> {wanted}"
    assert len(composed.nodes) == 2
    assert verify(composed) == ()
    inputs = random_inputs(graph, seed=1)
    lowered = lower(composed)
    wanted_values = expected(graph, inputs)
    require_outputs(run(composed, inputs), wanted_values, compose_convolutions.tolerance)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(found, wanted_values, compose_convolutions.tolerance)


@pytest.mark.parametrize("case", LEFT)
def test_leaves(case: str) -> None:
    graph = model(X, f"x -> {LEFT[case]}")
    with refusals() as heard:
        assert compose_convolutions(graph) is graph
    assert heard == []


REFUSED = {
    "x -> a: Conv2d(16, 1) -> b: Conv2d(2, 3, padding = 1)": (
        "the second one's padding brings in zeros where the first one's bias would be"
    ),
    "(x -> a: Conv2d(16, 3) -> b: Conv2d(2, 1)) + (exp(x) -> a: Conv2d(16, 3) -> c: Linear(6))[:, 0:2]": (
        "its weights are read elsewhere too"
    ),
    "conv2d(x -> a: Conv2d(16, 3), exp(w: Parameter(2, 16, 1, 1)))": "a weight is computed in the graph",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_says_why_not(expression: str) -> None:
    graph = model(X, expression)
    with refusals() as heard:
        assert compose_convolutions(graph) is graph
    assert [each.refusal.reason for each in heard] == [REFUSED[expression]]


def test_a_value_that_is_read_elsewhere_stays() -> None:
    graph = model(X, "(wide -> b: Conv2d(2, 1)) + sum(wide)", "wide = x -> a: Conv2d(16, 3)")
    assert compose_convolutions(graph) is graph


def test_weights_without_values_are_awaited() -> None:
    text = "model m() { input x: float32[1, 4, 9, 9] output y = x -> a: Conv2d(16, 3) -> b: Conv2d(2, 1) }"
    with refusals() as heard:
        compose_convolutions(elaborate_text(text))
    assert [each.refusal.reason for each in heard] == ["the weights have no values yet: give a checkpoint"]
