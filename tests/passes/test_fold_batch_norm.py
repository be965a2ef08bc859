"""Batch normalisation folds into every layer beside it where that is valid, and nowhere else."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, refusals, show, verify
from trtdsl.passes import fold_batch_norm, fold_constants, operator_counts
from trtdsl.reference import random_inputs, random_weights, run

IMAGE = "input x: float32[2, 8, 9, 9]"
FOLDED = {
    "conv": (IMAGE, "x -> a: Conv2d(6, 3, padding = 1) -> b: BatchNorm2d"),
    "conv without bias": (IMAGE, "x -> a: Conv2d(6, 3, bias = false) -> b: BatchNorm2d"),
    "grouped conv": (IMAGE, "x -> a: Conv2d(6, 3, groups = 2, stride = 2) -> b: BatchNorm2d(eps = 1e-3)"),
    "conv without affine": (IMAGE, "x -> a: Conv2d(6, 3) -> b: BatchNorm2d(affine = false)"),
    "conv1d": ("input x: float32[2, 8, 9]", "x -> a: Conv1d(6, 3) -> b: BatchNorm1d"),
    "conv3d": ("input x: float32[2, 4, 5, 5, 5]", "x -> a: Conv3d(6, 3) -> b: BatchNorm3d"),
    "transposed": (IMAGE, "x -> a: ConvTranspose2d(6, 3, stride = 2) -> b: BatchNorm2d"),
    "grouped transposed": (IMAGE, "x -> a: ConvTranspose2d(6, 3, groups = 2, padding = 1) -> b: BatchNorm2d"),
    "linear": ("input x: float32[5, 8]", "x -> a: Linear(6) -> b: BatchNorm1d"),
    "deformable": (
        IMAGE,
        "(x, x[:, :2] * 0.3) -> a: DeformConv2d(6, 1, groups = 2) -> b: BatchNorm2d",
    ),
    "before conv": (IMAGE, "x -> a: BatchNorm2d -> b: Conv2d(6, 3)"),
    "before grouped conv": (IMAGE, "x -> a: BatchNorm2d -> b: Conv2d(12, 3, groups = 4, bias = false)"),
    "before valid conv": (IMAGE, 'x -> a: BatchNorm2d -> b: Conv2d(6, 3, padding = "valid")'),
    "before linear": ("input x: float32[5, 8]", "x -> a: BatchNorm1d -> b: Linear(6, bias = false)"),
    "on both sides": (IMAGE, "x -> a: BatchNorm2d -> b: Conv2d(6, 3) -> c: BatchNorm2d"),
    "twice behind": (
        "input x: float32[1, 8, 9, 9]",
        "x -> a: Conv2d(6, 1) -> b: BatchNorm2d -> c: BatchNorm2d",
    ),
}
CONSTANT = {
    "kernel": "a: Conv2d(4, 3)(x, weight = full((4, 8, 3, 3), 0.5)) -> b: BatchNorm2d",
    "function": "x -> a: Conv2d(4, 3) -> batch_norm(full((4,), 0.5), full((4,), 2.0))",
    "computed constant": "linear(a: BatchNorm1d()(flatten(x, 1)), full((4, 648), 0.5) * tensor(3.0))",
    "both functions": "batch_norm(conv2d(x, full((4, 8, 1, 1), 0.5)), full((4,), 0.5), full((4,), 2.0))",
    "twice under a label": "(a: Conv2d(4, 1)(x, weight = full((4, 8, 1, 1), 0.5)) -> b: BatchNorm2d)"
    " + (a: Conv2d(4, 1)(x, weight = full((4, 8, 1, 1), 2.0)) -> b: BatchNorm2d)",
}
KEPT = {
    "before padded conv": (IMAGE, "x -> a: BatchNorm2d -> b: Conv2d(6, 3, padding = 1)"),
    "before transposed conv": (IMAGE, "x -> a: BatchNorm2d -> b: ConvTranspose2d(6, 3)"),
    "behind linear over positions": ("input x: float32[5, 7, 8]", "x -> a: Linear(6) -> b: BatchNorm1d"),
    "behind an unbatched conv": ("input x: float32[4, 9]", "x -> a: Conv1d(6, 3) -> b: BatchNorm1d"),
    "without running statistics": (
        IMAGE,
        "x -> a: Conv2d(6, 3) -> b: BatchNorm2d(track_running_stats = false)",
    ),
    "with a relu between": (IMAGE, "x -> a: Conv2d(6, 3) -> relu -> b: BatchNorm2d"),
}


def model(declaration: str, expression: str) -> Graph:
    text = f"model m() {{\n  {declaration}\n  output y = {expression}\n}}"
    return random_weights(elaborate_text(text), seed=0)


def norms(graph: Graph) -> int:
    return sum(count for name, count in operator_counts(graph).items() if name.startswith("BatchNorm"))


def require_same(before: Graph, after: Graph) -> None:
    """The same outputs on one random input, but for what the pass may round."""
    inputs = random_inputs(before, seed=1)
    require_outputs(run(after, inputs), expected(before, inputs), fold_batch_norm.tolerance)


@pytest.mark.parametrize("case", FOLDED)
def test_folds(case: str) -> None:
    graph = model(*FOLDED[case])
    folded = fold_batch_norm(graph)
    assert norms(graph) > norms(folded) == 0
    assert verify(folded) == ()
    require_same(graph, folded)
    assert folded.outputs[0].value.name == graph.outputs[0].value.name


@pytest.mark.parametrize("case", CONSTANT)
def test_folds_constants_in_the_weights_places(case: str) -> None:
    graph = fold_constants(model(IMAGE, CONSTANT[case]))
    with refusals() as heard:
        folded = fold_batch_norm(graph)
    assert heard == []
    assert norms(graph) > norms(folded) == 0
    assert verify(folded) == ()
    assert difference(folded, elaborate_text(show(folded))) is None
    assert len({weight.key for weight in folded.weights}) == len(folded.weights)
    require_same(graph, folded)


PAIRS = {
    "padded": (
        "x -> a: BatchNorm2d -> b: Conv2d(6, 3, padding = 1)",
        ["b: the layer's padding brings in zeros that the normalisation has not seen"],
    ),
    "folded behind": ("x -> a: BatchNorm2d -> b: Conv2d(6, 3)", []),
    "folded on the other side": (
        "x -> a: BatchNorm2d -> b: Conv2d(6, 3, padding = 1) -> c: BatchNorm2d",
        ["b: the layer's padding brings in zeros that the normalisation has not seen"],
    ),
    "alone": ("relu(x) -> a: BatchNorm2d", ["a: no convolution or linear layer is beside it"]),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_pair_is_told_once(case: str) -> None:
    expression, told = PAIRS[case]
    with refusals() as heard:
        fold_batch_norm(model(IMAGE, expression))
    assert [f"{each.node.scope}: {each.refusal.reason}" for each in heard] == told


def test_a_constant_without_values_is_awaited() -> None:
    text = """model m() {
      input x: float32[1, 4, 8, 8]
      kernel = k: Parameter(4, 4, 1, 1)
      output y = conv2d(x, kernel) -> b: BatchNorm2d
    }"""
    with refusals() as heard:
        fold_batch_norm(elaborate_text(text))
    assert [each.refusal.reason for each in heard] == ["the weights have no values yet: give a checkpoint"]


@pytest.mark.parametrize("case", KEPT)
def test_keeps(case: str) -> None:
    graph = model(*KEPT[case])
    assert fold_batch_norm(graph) is graph


def test_keeps_what_another_node_reads() -> None:
    text = """model m() {
      input x: float32[1, 4, 8, 8]
      c = x -> a: Conv2d(4, 1)
      output y = (c -> b: BatchNorm2d) + c
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    assert fold_batch_norm(graph) is graph


def test_keeps_weights_without_values() -> None:
    graph = elaborate_text(
        "model m() { input x: float32[1, 4, 8, 8] output y = x -> a: Conv2d(4, 1) -> b: BatchNorm2d }"
    )
    assert fold_batch_norm(graph) is graph


def test_a_shared_convolution_keeps_its_own_weights() -> None:
    text = """model m() {
      input x: float32[1, 4, 8, 8]
      normal = x -> a: Conv2d(4, 1) -> b: BatchNorm2d
      plain = relu(x) -> a: Conv2d(4, 1)
      output y = normal + plain
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    folded = fold_batch_norm(graph)
    assert {weight.key for weight in folded.weights} == {"a+b.weight", "a+b.bias", "a.weight", "a.bias"}
    require_same(graph, folded)


def test_a_wrong_fold_is_seen() -> None:
    """The check above can fail: here the scale is left out of the bias."""
    graph = model(*FOLDED["conv"])
    folded = fold_batch_norm(graph)
    (node,) = folded.nodes
    bias = node.weights["bias"]
    assert bias.data is not None
    bias.data[...] *= 1.001
    with pytest.raises(AssertionError, match="from float64"):
        require_same(graph, folded)


def test_a_computed_weight_is_not_folded_and_said_so() -> None:
    text = """model m() {
      input x: float32[2, 3, 8, 8]
      input w: float32[4, 3, 3, 3]
      output y = a: Conv2d(4, 3)(x, weight = w) -> b: BatchNorm2d
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    with refusals() as heard:
        assert fold_batch_norm(graph) is graph
    assert [each.refusal.reason for each in heard] == ["`weight` is computed in the graph"]
