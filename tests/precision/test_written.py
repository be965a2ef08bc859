"""What convolutions write quantised for others than layers, by the kind of TensorRT."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, require_valid, show
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.calibrate import calibrate
from trtdsl.precision.equalise import equalise
from trtdsl.precision.placement import PLACEMENTS, Placement, Policy
from trtdsl.precision.quantize import quantize
from trtdsl.precision.ranges import Ranges, ranges_of
from trtdsl.precision.written import written_tensors
from trtdsl.reference import random_weights, run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.kernels import readings
from trtdsl.trt.lower import lower
from trtdsl.types import DType

TENSORRT = PLACEMENTS["tensorrt"]
MODEL = """
model m() {
  dim N = 1 .. 4 .. 8
  input image: float32[N, 3, 26, 26]
  h = image -> stem: Conv2d(16, 3, bias = false) -> relu -> max_pool2d(2)
  long = h -> l1: Conv2d(16, 1) -> relu -> l2: Conv2d(32, 3, padding = 1)
  h = relu((h -> short: Conv2d(32, 1)) + long)
  h = relu((h -> k1: Conv2d(32, 1)) + h) -> last: Conv2d(32, 1) -> relu6
  output y = h -> adaptive_avg_pool2d(1) -> flatten(1) -> fc: Linear(16)
}
"""
ROWS = {
    "residuals": "= add(k1, h_1_d)",
    "sums": "= add(short_d, long)",
    "average_pools": "= adaptive_avg_pool2d(h_2_d, 1)",
    "image_channels": "Conv2d(16, 3, bias = false)(image_d, weight = stem_wd)",
}
"""What each field of a placement makes of the model."""


def data(graph: Graph, count: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for value in graph.inputs:
        shape = [int(size) for size in value.type.shape[1:]]  # pyright: ignore[reportArgumentType]
        found[value.name] = random.normal(0, 1, (count, *shape)).astype(value.type.dtype.numpy)
    return found


def model(text: str = MODEL) -> Graph:
    return optimize(random_weights(elaborate_text(text), 1))


def ranges(graph: Graph) -> Ranges:
    return ranges_of(calibrate(graph, data(graph)), "m", "max", 8)


def quantised(graph: Graph, placement: Placement, known: Ranges | None = None, **options: Any) -> Graph:
    policy = Policy(DType.INT8, placement=placement, **options)
    found = quantize(graph, known or ranges(graph), policy).graph
    require_valid(found, "bound")
    return found


@pytest.mark.parametrize("row", ROWS)
def test_each_field_of_a_placement_alone(row: str) -> None:
    graph = model()
    assert {*ROWS} == {field.name for field in fields(Placement)}
    found = quantised(graph, Placement(**{row: getattr(TENSORRT, row)}))
    text = show(found)
    assert {name for name, line in ROWS.items() if line in text} == {row}
    assert difference(elaborate_text(text), found) is None


def test_each_kind_of_tensorrt() -> None:
    graph = model()
    found = {name: show(quantised(graph, each)) for name, each in PLACEMENTS.items()}
    assert all(line in found["tensorrt"] for line in ROWS.values())
    assert not any(line in found["tensorrt_rtx"] for line in ROWS.values())
    # The stem, both branches, the sum, the last convolution, the pool and what is behind it; seven weights.
    assert found["tensorrt"].count("= dequantize(") == 8 + 7
    assert found["tensorrt_rtx"].count("= dequantize(") == 5 + 6


def test_the_numbers_stay_near() -> None:
    graph = model()
    inputs = data(graph)
    exact, near = (run(each, inputs)["y"] for each in (graph, quantised(graph, TENSORRT)))
    error = float(torch.linalg.norm(near - exact) / torch.linalg.norm(exact))
    assert 1e-4 < error < 0.03


SUM = "model m {{\n  input x: float32[2, 32, 8, 8]\n  {}\n  output y = h -> end: Conv2d(32, 1)\n}}"
CONV = "Conv2d(32, 1)"


@pytest.mark.parametrize(
    ("lines", "branch"),
    [
        # A bottleneck with a projection, written in either order; two branches of one length: the earlier.
        (f"h = relu((x -> a: {CONV} -> relu -> b: {CONV}) + (x -> p: {CONV}))", "p"),
        (f"h = relu((x -> p: {CONV}) + (x -> a: {CONV} -> relu -> b: {CONV}))", "p"),
        (f"h = relu((x -> a: {CONV}) + (relu(x) -> b: {CONV}))", "a"),
        # What both branches have is not counted.
        (
            f"s = x -> s: {CONV} -> relu -> s2: {CONV}\n"
            f"h = (s -> a: {CONV} -> relu -> b: {CONV}) + (s -> p: {CONV})",
            "p",
        ),
        # The shorter one's activation is its own kernel's; the sum is computed by the one without.
        (f"h = (x -> a: {CONV} -> relu -> b: {CONV}) + (x -> p: {CONV} -> relu)", "p"),
        (f"h = (x -> a: {CONV} -> relu -> b: {CONV} -> relu) + (x -> p: {CONV})", "b"),
        # Of three the sum of two is what the third's kernel adds.
        (f"h = relu((x -> a: {CONV}) + (relu(x) -> b: {CONV}) + (neg(x) -> c: {CONV}))", "a b"),
    ],
)
def test_the_shorter_branch_is_read_quantised(lines: str, branch: str) -> None:
    graph = model(SUM.format(lines))
    found = written_tensors(graph)
    assert " ".join(each.writer.label for each in found) == branch
    text = show(quantised(graph, TENSORRT))
    assert all(f"{each.value.name}_d" in text for each in found)


@pytest.mark.parametrize(
    "lines",
    [
        # A layer reads it quantised, or somebody as it is; there is one convolution; the sum is no kernel's.
        f"a = x -> a: {CONV}\n h = a + (a -> c: {CONV})",
        f"a = x -> a: {CONV}\n b = relu(x) -> b: {CONV}\n h = a + b + sigmoid(a) + sigmoid(b)",
        f"h = (x -> a: {CONV}) + sigmoid(x)",
        f"h = (x -> a: {CONV} -> relu) + (neg(x) -> b: {CONV} -> relu)",
    ],
)
def test_sums_that_are_left(lines: str) -> None:
    graph = model(SUM.format(lines))
    assert "output_scale" not in show(quantised(graph, TENSORRT))


@pytest.mark.parametrize("kept", ["short", "l2", "last", "fc"])
def test_a_layer_in_floating_point_neither_writes_nor_adds_what_is_quantised(kept: str) -> None:
    text = show(quantised(model(), TENSORRT, keep=[kept]))
    assert ("short.output_scale" in text) is (kept not in ("short", "l2"))
    assert ("last.output_scale" in text) is (kept not in ("last", "fc"))


def test_ranges_that_lack_what_is_written_leave_it() -> None:
    graph = model()
    known = ranges(graph)
    assert {"short.output", "last.output"} < {*known.layers}
    layers = {label: each for label, each in known.layers.items() if not label.endswith(".output")}
    found = show(quantised(graph, TENSORRT, Ranges("m", "max", 8, "", layers)))
    assert "output_scale" not in found and "= add(k1, h_1_d)" in found


def test_equalisation_changes_the_range_of_what_is_written() -> None:
    text = """
    model m {
      input x: float32[4, 16, 8, 8]
      output y = x -> c: Conv2d(32, 1) -> relu -> avg_pool2d(8) -> flatten(1) -> fc: Linear(16)
    }
    """
    graph = model(text)
    known = ranges(graph)
    found = equalise(graph, known, ["c", "fc"])
    again = calibrate(found.graph, data(graph))["c.output"]
    assert found.ranges.layers["c.output"].input == pytest.approx(again.magnitudes.largest, rel=1e-3)
    assert known.layers["c.output"].input != pytest.approx(again.magnitudes.largest, rel=1e-2)


# --- What stands between layers, on TensorRT-RTX -----------------------------------------------------------

HEAD = "input x: float16[4, 32, 24, 24]\n  h = x -> a: Conv2d(32, 3, padding = 1) -> relu"
BETWEEN = {
    "max pool": "h = h -> max_pool2d(2) -> b: Conv2d(32, 3)",
    "cat": "h = cat((h, 2 * (h -> b: Conv2d(32, 3, padding = 1) -> relu)), 1) -> c: Conv2d(32, 3)",
}


@pytest.mark.parametrize("target", ["sm86", "sm89", "sm120"])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_between_quantised_layers_is_moved_in_int8(between: str, target: str) -> None:
    """A pool runs on quantised numbers wherever `quantize` stands, and so does what joins tensors of one
    scale: between two layers nothing is written in floating point but sums of products."""
    graph = model(f"model m {{\n  {HEAD}\n  {BETWEEN[between]}\n  output y = h\n}}")
    found = quantised(graph, PLACEMENTS["tensorrt_rtx"], targets=(target,))
    built = build_with_facts(lower(found), CompileOptions(targets=(target,)), kernels=True)
    halves = [
        str(tensor) for kernel in built.kernels[:-1] for tensor in kernel.outputs if "Half" in str(tensor)
    ]
    assert not halves and any("Int8" in str(t) for kernel in built.kernels for t in kernel.outputs)


def test_what_is_joined_has_one_scale() -> None:
    graph = model(f"model m {{\n  {HEAD}\n  {BETWEEN['cat']}\n  output y = h\n}}")
    known = ranges(graph)
    assert known.layers["b"].input < known.layers["c"].input
    found = quantised(graph, Placement(), known)
    data = {weight.key: weight.data for weight in found.weights}
    scales = {label: np.asarray(data[f"{label}.input_scale"]).item() for label in "abc"}
    assert scales["b"] == scales["c"] == pytest.approx(known.layers["c"].input / 127, rel=1e-3)
    # What is not joined keeps its own.
    assert scales["a"] == pytest.approx(known.layers["a"].input / 127, rel=1e-3)


ATTENTION = """
model m() {
  input x: float32[2, 64, 128]
  q, k, v = [x -> "{n}": Linear(128) -> reshape(2, 64, 2, 64) -> transpose(1, 2) for n in ["q", "k", "v"]]
  output y = scaled_dot_product_attention(q, k, v) -> transpose(1, 2) -> flatten(2) -> o: Linear(128)
}
"""


@pytest.mark.parametrize(
    ("dtype", "target"), [(DType.INT8, "sm86"), (DType.INT8, "sm89"), (DType.FLOAT8, "sm89")]
)
def test_attention_between_narrow_layers_stays_one_kernel_in_float16(dtype: DType, target: str) -> None:
    graph = model(ATTENTION)
    found = quantize(graph, ranges(graph), Policy(dtype, targets=(target,)), DType.FLOAT16).graph
    lowered = lower(convert_precision(DType.FLOAT16)(found))
    built = build_with_facts(lowered, CompileOptions(targets=(target,)), kernels=True)
    (attention,) = (kernel for kernel in built.kernels if "mha" in kernel.name)
    assert {str(tensor).partition("[")[0] for tensor in (*attention.inputs, *attention.outputs)} == {"Half"}
    computed = {node.scope: each.input for node, each in readings(built.kernels, lowered.graph).items()}
    assert {*computed.values()} == {dtype}
    assert {part for label in computed for part in label.split("+")} >= {*"qkvo"}
