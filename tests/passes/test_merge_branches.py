"""Branches that are added: which become one convolution, and which do not."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import model, names
from trtdsl.ir import refusals, verify
from trtdsl.passes import fold_batch_norm, merge_branches, remove_dead_nodes
from trtdsl.reference import random_inputs, run

IMAGE = "input x: float32[N, 4, 9, 8]"
MERGED = {
    "3 and 1": "(x -> a: Conv2d(6, 3, padding = 1)) + (x -> b: Conv2d(6, 1))",
    "1 and 3, without biases": "(x -> a: Conv2d(6, 1, bias = false))"
    " + (x -> b: Conv2d(6, 3, padding = 1, bias = false))",
    "5 and 3": "(x -> a: Conv2d(6, 5, padding = 2)) + (x -> b: Conv2d(6, 3, padding = 1))",
    "a row": "(x -> a: Conv2d(6, 3, padding = 1)) + (x -> b: Conv2d(6, (1, 3), padding = (0, 1)))",
    "strides": "(x -> a: Conv2d(6, 3, padding = 1, stride = 2)) + (x -> b: Conv2d(6, 1, stride = 2))",
    "groups": "(x -> a: Conv2d(4, 3, padding = 1, groups = 2)) + (x -> b: Conv2d(4, 1, groups = 2))",
    "equal sizes": "(x -> a: Conv2d(6, 3)) + (x -> b: Conv2d(6, 3))",
    "RepVGG": "(x -> a: Conv2d(4, 3, padding = 1) -> n: BatchNorm2d)"
    " + (x -> b: Conv2d(4, 1) -> m: BatchNorm2d) + (x -> i: BatchNorm2d)",
    "the identity first": "(x -> i: BatchNorm2d) + (x -> a: Conv2d(4, 3, padding = 1))",
    "the identity beside groups": "(x -> a: Conv2d(4, 3, padding = 1, groups = 2)) + (x -> i: BatchNorm2d)",
    "depthwise": "(x -> a: Conv2d(4, 3, padding = 1, groups = 4)) + (x -> i: BatchNorm2d)",
}
KEPT = {
    "of other tensors": "(x -> a: Conv2d(6, 1)) + (relu(x) -> b: Conv2d(6, 1))",
    "an identity": "(x -> a: Conv2d(4, 1)) + x",
    "broadcast": "(x -> a: Conv2d(6, 1)) + (x -> b: Conv2d(1, 1))",
    "with a factor": "add(x -> a: Conv2d(6, 1), x -> b: Conv2d(6, 1), alpha = 2)",
    "two normalisations": "(x -> a: BatchNorm2d) + (x -> b: BatchNorm2d)",
}
REFUSED = {
    "other groups": "(x -> a: Conv2d(8, 3, padding = 1)) + (x -> b: Conv2d(8, 1, groups = 2))",
    "dilated": "(x -> a: Conv2d(6, 3, padding = 2, dilation = 2)) + (x -> b: Conv2d(6, 3, padding = 1))",
}


@pytest.mark.parametrize("case", MERGED)
def test_merges(case: str) -> None:
    graph = model(IMAGE, MERGED[case])
    merged = remove_dead_nodes(merge_branches(fold_batch_norm(graph)))
    assert names(merged) == ["Conv2d"]
    assert verify(merged) == ()
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(merged, inputs), expected(graph, inputs), merge_branches.tolerance)


@pytest.mark.parametrize("case", KEPT)
def test_keeps(case: str) -> None:
    graph = model(IMAGE, KEPT[case])
    assert merge_branches(graph) is graph


def test_keeps_a_normalisation_beside_strides_that_give_the_same_size() -> None:
    text = "(x -> a: Conv2d(4, 3, padding = 2, stride = 2)) + (x -> i: BatchNorm2d)"
    graph = model("input x: float32[N, 4, 3, 3]", text)
    assert merge_branches(graph) is graph


@pytest.mark.parametrize("case", REFUSED)
def test_says_why_not(case: str) -> None:
    graph = model(IMAGE, REFUSED[case])
    with refusals() as heard:
        assert merge_branches(graph) is graph
    assert [each.refusal.reason for each in heard] == [
        "the branches differ in their groups or strides, or their kernels have no one middle"
    ]


def test_keeps_a_branch_that_something_else_reads() -> None:
    graph = model(IMAGE, "a + (x -> n: Conv2d(4, 1)) + relu(a)", "a = x -> m: Conv2d(4, 3, padding = 1)")
    assert merge_branches(graph) is graph


def test_branches_that_are_placed_twice_are_merged_twice() -> None:
    once = "({} -> a: Conv2d(4, 3, padding = 1)) + ({} -> b: Conv2d(4, 1))"
    graph = model(IMAGE, f"({once.format('x', 'x')}) * ({once.format('z', 'z')})", "z = relu(x)")
    merged = remove_dead_nodes(merge_branches(graph))
    assert names(merged).count("Conv2d") == 2
    assert verify(merged) == ()
    assert [weight.key for weight in merged.weights] == ["a+b.weight", "a+b.bias"]
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(merged, inputs), expected(graph, inputs), merge_branches.tolerance)
