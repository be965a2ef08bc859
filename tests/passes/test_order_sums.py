"""Sums of two convolutions: the one with less work is the first operand."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import model
from trtdsl.ir import Graph, verify
from trtdsl.ops.pointwise import Add
from trtdsl.passes import optimize, order_sums
from trtdsl.reference import random_inputs, run

X = "input x: float32[N, 4, 6, 6]"
SMALL = "small = x -> small: Conv2d(8, 1)"
LARGE = "large = x -> large: Conv2d(8, 3, padding = 1)"
GROUPED = "grouped = x -> grouped: Conv2d(8, 3, padding = 1, groups = 4)"
WIDE = "wide = cat([x, x, x], 1) -> wide: Conv2d(8, 1)"


def first_of_sum(graph: Graph) -> str:
    """The scope of what makes the first operand of the first sum."""
    node = next(node for node in graph.nodes if isinstance(node.op, Add))
    return next(each.scope for each in graph.nodes if node.operands[0] in each.results)


@pytest.mark.parametrize(
    ("expression", "statements", "first"),
    [
        ("large + small", [LARGE, SMALL], "small"),
        ("large + small", [SMALL, LARGE], "small"),
        ("relu(large + small)", [SMALL, LARGE], "small"),
        ("large + grouped", [LARGE, GROUPED], "grouped"),
        ("wide + grouped", [GROUPED, WIDE], "grouped"),
        ("wide + small", [SMALL, WIDE], "small"),
    ],
)
def test_the_one_with_less_work_goes_first(expression: str, statements: list[str], first: str) -> None:
    graph = model(X, expression, *statements)
    changed = order_sums(graph)
    assert verify(changed) == ()
    assert (first_of_sum(graph) == first, first_of_sum(changed)) == (False, first)
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(changed, inputs), expected(graph, inputs), 1e-6)
    assert order_sums(changed) is changed


@pytest.mark.parametrize(
    ("expression", "statements"),
    [
        ("small + large", [LARGE, SMALL]),
        ("large + small + mean(small)", [SMALL, LARGE]),
        ("large + relu(small)", [SMALL, LARGE]),
        ("large * small", [SMALL, LARGE]),
        ("add(large, small, alpha = 2)", [SMALL, LARGE]),
        ("small + other", [SMALL, "other = x -> other: Conv2d(8, 1)"]),
        ("large + large", [LARGE]),
        ("large + x[:, :1]", [LARGE]),
    ],
)
def test_what_stays_in_its_order(expression: str, statements: list[str]) -> None:
    graph = model(X, expression, *statements)
    assert order_sums(graph) is graph


def test_an_output_is_left_alone() -> None:
    graph = model(X, "large + small", SMALL, LARGE, "output small")
    assert order_sums(graph) is graph


def test_without_a_batch() -> None:
    graph = model("input x: float32[4, 6, 6]", "large + small", SMALL, LARGE)
    assert first_of_sum(order_sums(graph)) == "small"


def test_through_normalisations_and_one_block_after_another() -> None:
    block = (
        "x -> a: Conv2d({c}, 3, padding = 1) -> a_bn: BatchNorm2d() -> relu"
        " -> b: Conv2d({c}, 3, padding = 1) -> b_bn: BatchNorm2d()"
    )
    one = ["s = x -> s: Conv2d(8, 1) -> s_bn: BatchNorm2d()", f"m = {block.format(c=8)}"]
    changed = optimize(model(X, "relu(m + s)", *one))
    assert first_of_sum(changed).startswith("s")
