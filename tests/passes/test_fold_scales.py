"""Numbers behind layers: which fold, through what, and which stay, with the reason."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import model, names
from trtdsl.ir import refusals, verify
from trtdsl.passes import fold_scales, remove_dead_nodes
from trtdsl.reference import random_inputs, run

ROWS = "input x: float32[N, 5, 8]"
IMAGE = "input x: float32[N, 4, 6, 7]"
FOLDED = {
    "a scale": (ROWS, "(x -> a: Linear(3)) * (g: Parameter(3))", ["Linear"]),
    "a scale without a bias": (ROWS, "(x -> a: Linear(3, bias = false)) * (g: Parameter(3))", ["Linear"]),
    "a number": (ROWS, "(x -> a: Linear(3)) * 0.5", ["Linear"]),
    "a quotient": (ROWS, "(x -> a: Linear(3)) / (g: Parameter(1, 3))", ["Linear"]),
    "a shift": (ROWS, "(b: Parameter(3)) + (x -> a: Linear(3, bias = false))", ["Linear"]),
    "a multiple of a shift": (ROWS, "add(x -> a: Linear(3), b: Parameter(3), alpha = 2)", ["Linear"]),
    "less a shift": (ROWS, "(x -> a: Linear(3)) - (b: Parameter(3))", ["Linear"]),
    "both": (ROWS, "(x -> a: Linear(3)) * (g: Parameter(3)) + 2", ["Linear"]),
    "channels": (IMAGE, "(x -> a: Conv2d(3, 3)) * (g: Parameter(3, 1, 1))", ["Conv2d"]),
    "channels of groups": (
        IMAGE,
        "(x -> a: Conv2d(6, 3, groups = 2)) * (g: Parameter(1, 6, 1, 1))",
        ["Conv2d"],
    ),
    "channels of a transposed one": (
        IMAGE,
        "(x -> a: ConvTranspose2d(6, 3, groups = 2)) * (g: Parameter(6, 1, 1))",
        ["ConvTranspose2d"],
    ),
    "channels of a deformable one": (
        IMAGE,
        "((x, x[:, :2], x[:, 2:3]) -> a: DeformConv2d(6, 1, bias = false)) * (g: Parameter(6, 1, 1)) + 1",
        ["slice", "slice", "DeformConv2d"],
    ),
    "permuted channels": (
        IMAGE,
        "(x -> a: Conv2d(3, 3) -> permute(0, 2, 3, 1)) * (g: Parameter(3))",
        ["Conv2d", "permute"],
    ),
    "a number behind a shape": (
        ROWS,
        "(x -> a: Linear(6) -> reshape(N, 5, 2, 3)) * 3",
        ["Linear", "reshape"],
    ),
    "channels behind a shape": (
        ROWS,
        "(x -> a: Linear(6) -> flatten(0, 1)) * (g: Parameter(6))",
        ["Linear", "flatten"],
    ),
    "a normalisation behind a permutation": (
        ROWS,
        "x -> a: Linear(6) -> transpose(1, 2) -> b: BatchNorm1d -> transpose(1, 2)",
        ["Linear", "transpose", "transpose"],
    ),
    "a normalisation behind a shape": (
        ROWS,
        "x -> a: Linear(6) -> flatten(0, 1) -> b: BatchNorm1d -> reshape(N, 5, 6)",
        ["Linear", "flatten", "reshape"],
    ),
    "a normalisation of a map as rows": (
        IMAGE,
        "x -> a: Conv2d(6, 3, groups = 2) -> flatten(2) -> b: BatchNorm1d",
        ["Conv2d", "flatten"],
    ),
}
KEPT = {
    "along another dimension": (ROWS, "(x -> a: Linear(3)) * (g: Parameter(5, 1))"),
    "a larger shape": (ROWS, "(x -> a: Linear(1)) * (g: Parameter(3))"),
    "along two dimensions": (ROWS, "(x -> a: Linear(3)) * (g: Parameter(5, 3))"),
    "behind a shape": (ROWS, "(x -> a: Linear(6) -> reshape(N, 5, 2, 3)) * (g: Parameter(3))"),
    "a normalisation of something else": (ROWS, "x -> a: Linear(6) -> reshape(N, 6, 5) -> b: BatchNorm1d"),
    "a normalisation of the batch": (
        ROWS,
        "x -> a: Linear(6) -> transpose(1, 2) -> b: BatchNorm1d(track_running_stats = false)",
    ),
    "divided by it": (ROWS, "(g: Parameter(3)) / (x -> a: Linear(3))"),
    "taken from it": (ROWS, "(g: Parameter(3)) - (x -> a: Linear(3))"),
    "with a relu between": (ROWS, "(x -> a: Linear(3) -> relu) * 2"),
}
REFUSED = {
    "its weights are read elsewhere too": "((x -> a: Linear(8)) * 2) -> a: Linear(8)",
    "its weights are computed in the graph": "(a: Linear(3)(x, weight = w * w)) * 2",
}


@pytest.mark.parametrize("case", FOLDED)
def test_folds(case: str) -> None:
    declaration, expression, left = FOLDED[case]
    graph = model(declaration, expression)
    folded = remove_dead_nodes(fold_scales(graph))
    assert names(folded) == left
    assert verify(folded) == ()
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(folded, inputs), expected(graph, inputs), fold_scales.tolerance)
    assert folded.outputs[0].value.name == graph.outputs[0].value.name


def test_no_bias_comes_of_a_scale() -> None:
    declaration, expression, _ = FOLDED["a scale without a bias"]
    (node,) = remove_dead_nodes(fold_scales(model(declaration, expression))).nodes
    assert node.slots == ("input", "weight")


@pytest.mark.parametrize("case", KEPT)
def test_keeps(case: str) -> None:
    graph = model(*KEPT[case])
    assert fold_scales(graph) is graph


@pytest.mark.parametrize("reason", REFUSED)
def test_says_why_not(reason: str) -> None:
    graph = model(ROWS, REFUSED[reason], "w = v: Parameter(3, 8)")
    with refusals() as heard:
        assert fold_scales(graph) is graph
    assert [each.refusal.reason for each in heard] == [reason]


def test_keeps_what_something_else_reads() -> None:
    graph = model(ROWS, "h * 2 + relu(h)", "h = x -> a: Linear(3)")
    assert fold_scales(graph) is graph
