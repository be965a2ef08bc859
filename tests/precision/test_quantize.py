"""Layers in int8 and float8: the text, the numbers, what TensorRT makes of it, and which layers are left."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import numpy as np
import pytest
import torch

from tests.command import trtdsl
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, alike, difference, require_valid, show
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.calibrate import calibrate
from trtdsl.precision.floating import POLICY
from trtdsl.precision.placement import Placement, Policy
from trtdsl.precision.quantize import Quantised, quantize
from trtdsl.precision.ranges import LayerRange, Ranges, ranges_of
from trtdsl.reference import random_weights, run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.kernels import readings
from trtdsl.trt.lower import lower
from trtdsl.types import DType

INT8, FLOAT8 = DType.INT8, DType.FLOAT8
MODEL = """
model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 16, 12, 12]
  h = x -> conv1: Conv2d(32, 3) -> bn1: BatchNorm2d -> relu
  h = relu((h -> left: Conv2d(32, 1) -> relu) + (h -> right: Conv2d(32, 3, padding = 1))) -> max_pool2d(2)
  y = permute(h, (0, 2, 3, 1)) -> fc1: Linear(64) -> relu -> fc1b: Linear(64)
  output y = y -> tied: Linear(64) -> tied: Linear(64) -> head: Linear(10)
}
"""


def data(graph: Graph, count: int = 16) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    shapes = {value.name: [int(size) for size in value.type.shape[1:]] for value in graph.inputs}  # pyright: ignore[reportArgumentType]
    return {name: random.normal(0, 1, (count, *shape)).astype(np.float32) for name, shape in shapes.items()}


def model(text: str = MODEL) -> Graph:
    return optimize(random_weights(elaborate_text(text), 1))


def ranges(graph: Graph) -> Ranges:
    return ranges_of(calibrate(graph, data(graph)), "m", "max", 16)


def quantised(graph: Graph, dtype: DType = INT8, around: DType | None = None, **options: Any) -> Quantised:
    found = quantize(graph, ranges(graph), Policy(dtype, **options), around)
    require_valid(found.graph, "bound")
    return found


def reasons(found: Quantised) -> dict[str, str]:
    return {decision.label: decision.reason for decision in found.decisions}


def test_the_text_parses_back_and_says_all() -> None:
    graph = quantised(model()).graph
    assert difference(graph, elaborate_text(show(graph))) is None
    # Six tensors to and fro, and six weights back.
    assert show(graph).count("quantize(") == 2 * 6 + 6
    keys = {weight.key: str(weight.type) for weight in graph.weights}
    assert keys["left.weight"] == "int8[32, 32, 1, 1]"
    assert keys["left.weight_scale"] == "float32[32]"
    assert keys["left.input_scale"] == "float32[]"
    assert keys["head.weight"] == "float32[10, 64]"


def test_a_tensor_is_quantised_once_for_all_its_readers() -> None:
    graph = quantised(model()).graph
    readers = [node for node in graph.nodes if node.scope in ("left", "right")]
    assert readers[0].operand("input") is readers[1].operand("input")
    assert not [key for key in (weight.key for weight in graph.weights) if key == "right.input_scale"]


@pytest.mark.parametrize("dtype", [INT8, FLOAT8], ids=str)
def test_the_network_computes_what_the_quantised_graph_does(dtype: DType) -> None:
    plain = model()
    graph = quantised(plain, dtype).graph
    lowered = lower(graph)
    inputs = {name: array[:4] for name, array in data(graph).items()}
    wanted = run(graph, inputs)["y"]
    found = evaluate(lowered.network, inputs, weights=lowered.weights)["y"]
    # One rounding that falls the other way is a step of the narrow type.
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5
    exact = run(plain, inputs)["y"]
    error = float((wanted - exact).norm() / exact.norm())
    assert 1e-4 < error < (0.05 if dtype is INT8 else 0.15)


@pytest.mark.parametrize(
    ("dtype", "target"),
    [(INT8, "sm80"), (INT8, "sm89"), (INT8, "sm120"), (FLOAT8, "sm89"), (FLOAT8, "sm120")],
)
def test_tensorrt_computes_every_chosen_layer_in_the_type(dtype: DType, target: str) -> None:
    found = quantised(model(), dtype, around=DType.FLOAT16, targets=(target,))
    graph = convert_precision(DType.FLOAT16)(found.graph)
    lowered = lower(graph)
    kernels = build_with_facts(lowered, CompileOptions(targets=(target,)), kernels=True).kernels
    computed = {node.scope: reading for node, reading in readings(kernels, lowered.graph).items()}
    chosen = [decision.label for decision in found.decisions if not decision.reason]
    assert len(chosen) >= 6
    assert {label: (computed[label].input, computed[label].weight) for label in chosen} == dict.fromkeys(
        chosen, (dtype, dtype)
    )
    assert computed["head"].input is DType.FLOAT16


def test_scales_are_rounded_to_the_type_around_before_weights_are_quantised() -> None:
    graph = quantised(model(), around=DType.FLOAT16).graph
    scales = {weight.key: weight.data for weight in graph.weights if weight.key.endswith("_scale")}
    assert all(
        np.array_equal(array, array.astype(np.float16).astype(np.float32))
        for array in scales.values()
        if array is not None
    )


LAYERS = """
model m() {
  input x: float32[1, 3, 8, 8]
  h = x -> first: Conv2d(32, 3, padding = 1) -> relu -> mid: Conv2d(32, 3, padding = 1) -> relu
  h = h -> deep: Conv2d(32, 3, padding = 1, groups = 32) -> relu -> wide: Conv2d(32, 7, padding = 3) -> relu
  h = h -> few: Conv2d(8, 1) -> relu -> uneven: Conv2d(17, 1) -> relu -> more: Conv2d(36, 1)
  v = mean(h, (2, 3)) -> vector: Linear(64)
  output y = v
}
"""


def test_layers_that_stay_in_floating_point_say_why() -> None:
    found = reasons(quantised(model(LAYERS)))
    assert found == {
        "first": "3 inputs: fewer than 16",
        "mid": "",
        "deep": "",
        "wide": "",
        "few": "8 outputs: fewer than 16",
        "uneven": "8 inputs: fewer than 16",
        "more": "17 inputs times 36 outputs are not a multiple of 8",
        "vector": "it has one row: reading the weights is all its time",
    }
    found = reasons(quantised(model(LAYERS), FLOAT8, allow=["first"], keep=["mi*"]))
    assert (found["first"], found["mid"]) == ("", "it matches `mi*` in `--keep`")
    assert found["deep"] == "it is depthwise, which float8 is left out for"
    assert found["wide"] == "a kernel of 49 elements: float8 is left out for more than 32"
    assert found["more"] == ""


def test_what_a_target_lacks() -> None:
    found = reasons(quantised(model(), targets=("sm75", "sm89")))
    assert "sm75 would compute an int8 convolution in float16" in found["left"]
    assert found["fc1"] == ""
    found = reasons(quantised(model(), FLOAT8, targets=("sm86", "sm89")))
    assert {*found.values()} == {"sm86 has no float8_e4m3fn"}


def test_a_layer_without_a_range_is_named() -> None:
    graph = model()
    known = ranges(graph)
    layers = {label: each for label, each in known.layers.items() if label != "fc1"}
    with pytest.raises(UsageError, match="the input of `fc1` has no range, did you mean `fc1b`"):
        quantize(graph, Ranges("m", "max", 16, "", layers), Policy(INT8))


def test_a_weight_that_another_operator_reads_keeps_its_key() -> None:
    text = """
    model m() {
      input ids: int64[4, 8] in 0 .. 31
      table = head.weight: Parameter(32, 16)
      output y = table[ids] -> head: Linear(32, bias = false)
    }
    """
    graph = random_weights(elaborate_text(text), 1)
    found = ranges_of(calibrate(graph, {"ids": np.arange(32).reshape(4, 8)}), "m", "max", 1)
    keys = {weight.key for weight in quantize(graph, found, Policy(INT8)).graph.weights}
    assert keys == {"head.weight", "head.weight_quantised", "head.weight_scale", "head.input_scale"}


def test_zeros_have_a_scale_too() -> None:
    graph = model("model m() {\n  input x: float32[2, 16]\n  output y = fc: Linear(16)(x)\n}")
    zero = {"x": np.zeros((2, 16), np.float32)}
    found = quantize(graph, ranges_of(calibrate(graph, zero), "m", "max", 1), Policy(INT8)).graph
    assert torch.isfinite(run(found, zero)["y"]).all()


RESIDUAL = """
model m() {
  input x: float32[4, 16, 12, 12]
  h = x -> conv1: Conv2d(32, 3) -> relu
  k = h -> conv2: Conv2d(32, 3, padding = 1) -> relu -> conv3: Conv2d(32, 1)
  h = relu(k + h)
  output y = h + (h -> last: Conv2d(32, 1)) + 1
}
"""


@pytest.mark.parametrize("residuals", [False, True])
def test_residuals_are_read_quantised_where_that_saves_a_kernel(residuals: bool) -> None:
    graph = model(RESIDUAL)
    found = quantised(graph, placement=Placement(residuals=residuals)).graph
    text = show(found)
    assert ("= add(k, h_d)" in text) is residuals
    assert ("= add(h_1_d, last)" in text) is residuals
    # The text parses back to the same graph, and the sums with numbers are as they were.
    assert difference(found, elaborate_text(text)) is None
    (exact,), (near,) = (run(each, data(graph, 4)).values() for each in (graph, found))
    error = float(torch.linalg.norm(near - exact) / torch.linalg.norm(exact))
    assert 0 < error < 0.03


def test_its_page_says_what_it_does_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    """`trtdsl passes quantize`: its first text becomes the second; its rules are the policy's."""
    assert trtdsl("passes", "quantize") == 0
    page = capsys.readouterr().out
    before, after = (
        elaborate_text(textwrap.dedent(text))
        for text in re.findall(r"(?:before|after)::\n\n(.*?\n    \})\n", page, re.DOTALL)
    )
    ranges = Ranges("example", "max", 1, "", {"fc": LayerRange(3.0, 3.0, 3.0)})
    found = quantize(random_weights(before, seed=0), ranges, Policy(DType.INT8)).graph
    assert alike.difference(found, after) == ""
    assert "fewer than 16 channels on a side" in page and "before sm80" in page
    assert trtdsl("passes", "convert_precision") == 0
    page = capsys.readouterr().out
    assert all(row.why in page for row in POLICY)
    assert trtdsl("passes") == 0
    assert re.findall(r"^(\w+) ", capsys.readouterr().out, re.MULTILINE)[-2:] == [
        "quantize",
        "convert_precision",
    ]
