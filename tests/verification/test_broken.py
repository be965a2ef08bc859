"""`verify` finds what is wrong: a network broken in one place, and that place named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import trtdsl
from tests.verification.networks import TEXT, TOLERANCE, Net, graph_of, state, verify_text
from trtdsl import passes
from trtdsl.ir import Graph, rebuild

CONV2 = "conv2: Conv2d(8, 3, padding = 1)"
CONV4 = "conv4: Conv2d(16, 3, stride = 2, padding = 1)"
MAXIMUM = "max_pool2d(3, stride = 2, padding = 1)"
AVERAGE = "avg_pool2d(3, stride = 1, padding = 1)"
CAT = "cat([relu(a), b], 1)"
MODE = 'mode = "bilinear"'

BROKEN = {
    "padding mode": (CONV2, 'conv2: Conv2d(8, 3, padding = 1, padding_mode = "reflect")', "conv2"),
    "padding of a pool": (MAXIMUM, "max_pool2d(3, stride = 2, ceil_mode = true)", "max_pool2d"),
    "kernel of a pool": (MAXIMUM, "max_pool2d(2)", "max_pool2d"),
    "kind of a pool": (MAXIMUM, "avg_pool2d(3, stride = 2, padding = 1)", "avg_pool2d"),
    "count_include_pad": (AVERAGE, f"{AVERAGE[:-1]}, count_include_pad = false)", "avg_pool2d"),
    "dilation": (CONV4, "conv4: Conv2d(16, 3, stride = 2, padding = 2, dilation = 2)", "conv4"),
    "eps of BatchNorm": ("BatchNorm2d ->", "BatchNorm2d(eps = 1e-3) ->", "bn1"),
    "eps of LayerNorm": ("LayerNorm(16)", "LayerNorm(16, eps = 1e-3)", "norm"),
    "BatchNorm left out": ("-> bn1: BatchNorm2d ->", "->", "relu"),
    "relu6 for relu": ("BatchNorm2d -> relu", "BatchNorm2d -> relu6", "hardtanh"),
    "gelu's form": ("-> gelu ->", '-> gelu(approximate = "tanh") ->', "gelu"),
    "align_corners": (MODE, f"{MODE}, align_corners = true", "interpolate"),
    "interpolation mode": (f", {MODE}", "", "interpolate"),
    "bias dropped": ("fc1: Linear(16)", "fc1: Linear(16, bias = false)", "fc1"),
    "order of cat": (CAT, "cat([b, relu(a)], 1)", "cat"),
    "activation left out": (CAT, "cat([a, b], 1)", "cat"),
    "sign of a shortcut": ("x + y", "x - y", "sub"),
    "softmax over the batch": ("softmax(1)", "softmax(0)", "softmax"),
}
"""What is changed in the text, into what, and the label or operator that is then to blame."""


@pytest.mark.parametrize("name", BROKEN)
def test_the_guilty_operator_is_named(net: Net, name: str) -> None:
    before, after, guilty = BROKEN[name]
    assert TEXT.count(before) == 1
    found = verify_text(TEXT.replace(before, after), net)
    assert found.difference is not None
    (suspect,) = found.difference.suspects
    assert guilty in (suspect.label, suspect.operator)
    assert suspect.source.startswith("net.trtnet:")


def test_swapped_labels_are_named(net: Net) -> None:
    text = TEXT.replace("fc1:", "fc0:").replace("fc2:", "fc1:").replace("fc0:", "fc2:")
    difference = verify_text(text, net).difference
    assert difference is not None
    assert [suspect.label for suspect in difference.suspects] == ["fc2"]


WEIGHTS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "transposed square matrix": (lambda s: {"fc2.weight": s["fc2.weight"].T}, "fc2"),
    "swapped layers": (lambda s: {"conv2.bias": s["conv3.bias"], "conv3.bias": s["conv2.bias"]}, "conv2"),
    "mean and offset swapped": (
        lambda s: {"bn1.bias": s["bn1.running_mean"], "bn1.running_mean": s["bn1.bias"]},
        "bn1",
    ),
    "input channels reversed": (lambda s: {"conv1.weight": s["conv1.weight"][:, ::-1]}, "conv1"),
    "one value": (lambda s: {"head.bias": s["head.bias"] + np.eye(1, 10, 3, dtype=np.float32)[0]}, "head"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_layer_with_the_wrong_weights_is_named(net: Net, name: str) -> None:
    change, guilty = WEIGHTS[name]
    right = state(net)
    graph = trtdsl.bind(graph_of(TEXT), {**right, **change(right)}).graph
    difference = trtdsl.verify(graph, None, net, tolerance=TOLERANCE).difference
    assert difference is not None
    assert [suspect.label for suspect in difference.suspects] == [guilty]


def test_what_is_computed_from_a_wrong_value_follows(net: Net) -> None:
    rows = verify_text(TEXT.replace("fc1: Linear(16)", "fc1: Linear(16, bias = false)"), net).rows
    verdicts = {row.name: row.verdict for row in rows}
    assert verdicts["norm"] == "equal"
    assert verdicts["fc1"] == "differs"
    assert verdicts["fc2"] == verdicts["scores"] == "follows"


def test_two_faults_in_parallel_both_differ(net: Net) -> None:
    text = TEXT.replace("conv2: Conv2d(8, 3, padding = 1)", "conv2: Conv2d(8, 3, padding = 1, bias = false)")
    text = text.replace("conv3: Conv2d(8, 1)", "conv3: Conv2d(8, 1, bias = false)")
    verdicts = {row.name: row.verdict for row in verify_text(text, net).rows}
    assert verdicts["conv2"] == verdicts["conv3"] == "differs"


def test_an_output_too_early_is_no_operators_fault(net: Net) -> None:
    found = verify_text(TEXT.replace(" -> softmax(1)", ""), net)
    assert found.difference is not None
    assert "PyTorch has this value too, but another output" in found.difference.message


def test_another_shape_differs(net: Net) -> None:
    found = verify_text(TEXT.replace(AVERAGE, "avg_pool2d(3, stride = 1)"), net)
    assert found.difference is not None
    # Behind it nothing has PyTorch's shape, so that the next operator cannot be acquitted.
    operators = [suspect.operator for suspect in found.difference.suspects]
    assert operators == ["avg_pool2d", "adaptive_avg_pool2d"]


def test_a_wrong_pass_is_not_blamed_on_the_model(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def negate_fc1(graph: Graph) -> Graph:
        (node,) = (node for node in graph.nodes if node.scope == "fc1")
        wrong = {w: w.replace(data=-w.data) for w in node.weights.values()}
        return rebuild(graph, graph.nodes, wrong)

    monkeypatch.setattr(passes, "PIPELINE", (*passes.PIPELINE, passes.Pass("negate_fc1", negate_fc1)))
    difference = verify_text(TEXT, net).difference
    assert difference is not None
    assert "a bug in trtdsl" in difference.message
    assert [suspect.label for suspect in difference.suspects] == ["fc1"]
