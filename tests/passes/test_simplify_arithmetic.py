"""What changes nothing goes, what changes something stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.passes.texts import calls, model, names
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import verify
from trtdsl.passes import remove_dead_nodes, simplify_arithmetic
from trtdsl.reference import random_inputs, run
from trtdsl.weights import bind

X = "input x: float32[N, 4]"
GONE = {
    "product with one": "x * 1",
    "one times": "1.0 * x",
    "quotient by one": "x / 1.0",
    "sum with zero": "x + 0",
    "zero and": "0 + x",
    "minus zero": "x - zeros(4)",
    "power of one": "x ** 1",
    "ones of its shape": "x * ones(1, 4)",
    "alpha times zero": "add(x, full((), 0.0), alpha = 3)",
    "two negations": "-(-x)",
    "a choice that is made": "where(full((), true), x, x * 2)",
    "there and back": "x -> to(float32) -> to(float32)",
}
KEPT = {
    "a larger shape": "x[:, 0:1] * ones(4)",
    "another dtype": "(x -> to(int32)) * full((), 1.0)",
    "a factor of the other": "add(full((), 0.0), x, alpha = 3)",
    "from zero": "0 - x",
    "one over": "1 / x",
    "rounded": 'div(x, full((), 1.0), rounding_mode = "floor")',
    "one negation": "-x",
    "a choice of a larger shape": "where(full((3, 1, 1), true), x, x)",
    "a cast that loses": "x -> to(int32) -> to(float32)",
}


@pytest.mark.parametrize("case", GONE)
def test_goes(case: str) -> None:
    graph = model(X, f"exp({GONE[case]})")
    simplified = remove_dead_nodes(simplify_arithmetic(graph))
    assert [name for name in names(simplified) if name != "to"] == ["exp"]
    assert verify(simplified) == ()
    inputs = random_inputs(graph, seed=1)
    assert (run(graph, inputs)["y"] == run(simplified, inputs)["y"]).all()


@pytest.mark.parametrize("case", KEPT)
def test_stays(case: str) -> None:
    graph = model(X, f"exp({KEPT[case]})")
    assert simplify_arithmetic(graph) is graph


def test_a_cast_of_a_wider_one_is_of_the_first() -> None:
    graph = model("input x: float16[N, 4]", "exp(x -> to(float32) -> to(float16))")
    assert names(simplify_arithmetic(graph)) == ["exp"]
    graph = model("input x: float16[N, 4]", "exp(x -> to(float32) -> to(bfloat16))")
    assert calls(simplify_arithmetic(graph)) == ["to(x, bfloat16)", "exp(to_1)"]


@pytest.mark.parametrize(("bias", "left"), [(0.0, "Linear(3, bias = false)"), (0.5, "Linear(3)")])
def test_a_bias_of_zeros_goes(bias: float, left: str) -> None:
    graph = elaborate_text("model m() { input x: float32[2, 4] output y = x -> fc: Linear(3) }")
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = bind(graph, {"fc.weight": weight, "fc.bias": np.full(3, bias, np.float32)}).graph
    simplified = simplify_arithmetic(graph)
    assert calls(simplified) == [f"x -> fc: {left}"]
    inputs = {"x": torch.ones(2, 4)}
    assert (run(graph, inputs)["y"] == run(simplified, inputs)["y"]).all()


EXPANDED = {
    "a column": ("x / expand(amax(x, 1, keepdim = true), (N, 4))", ["amax", "div", "exp"]),
    "both sides": ("expand(x[:, :1], (N, 4)) * expand(x, (3, N, 4))", ["slice", "expand", "mul", "exp"]),
    "a choice": (
        "where(expand(x[0:1] > 0, (N, 4)), x, 1.0)",
        ["slice", "full", "gt", "full", "where", "exp"],
    ),
    "a comparison": ("where(x > expand(x[0:1], (N, 4)), x, 1.0)", ["slice", "gt", "full", "where", "exp"]),
}
"""What stays where nothing else makes the result's size is the expansion that does."""


@pytest.mark.parametrize("case", EXPANDED)
def test_arithmetic_repeats_by_itself(case: str) -> None:
    expression, wanted = EXPANDED[case]
    graph = model(X, f"exp({expression})")
    simplified = remove_dead_nodes(simplify_arithmetic(graph))
    assert names(simplified) == wanted
    assert verify(simplified) == ()
    inputs = random_inputs(graph, seed=1)
    assert (run(graph, inputs)["y"] == run(simplified, inputs)["y"]).all()
