"""Equalisation: the same numbers, ranges that need no second calibration, and where the factors go."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, difference, require_valid, show
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, operator_counts, optimize
from trtdsl.precision.calibrate import calibrate
from trtdsl.precision.equalise import Equalised, equalise
from trtdsl.precision.layers import quantisable_layers
from trtdsl.precision.placement import Policy
from trtdsl.precision.quantize import quantize
from trtdsl.precision.ranges import Ranges, ranges_of
from trtdsl.reference import random_weights, run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.kernels import readings
from trtdsl.trt.lower import lower
from trtdsl.types import DType


def uneven(array: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """A weight whose outputs are of sizes between a tenth and ten times their own."""
    sizes = 10 ** np.random.default_rng(seed).uniform(-1, 1, len(array) if array.ndim else 1)
    return (array * sizes.reshape(-1, *(1,) * (array.ndim - 1))).astype(array.dtype)


def model(body: str, input: str = "float32[N, 8, 12, 12]") -> Graph:
    text = f"model m {{\n  dim N = 1 .. 4 .. 8\n  input x: {input}\n  {body}\n}}"
    graph = random_weights(elaborate_text(text), 1)
    weights = {
        weight: weight.replace(data=uneven(np.asarray(weight.data), seed))
        for seed, weight in enumerate(graph.weights)
        if not weight.constant
    }
    nodes = [
        node.replace(operands=tuple(weights.get(value, value) for value in node.operands))  # pyright: ignore[reportArgumentType, reportCallIssue]
        for node in graph.nodes
    ]
    return optimize(graph.replace(nodes=tuple(nodes)))


def data(graph: Graph, count: int = 12) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(1)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for value in graph.inputs:
        shape = [int(size) for size in value.type.shape[1:]]  # pyright: ignore[reportArgumentType]
        found[value.name] = generator.normal(0, 1, (count, *shape)).astype(np.float32)
    return found


def ranges(graph: Graph) -> Ranges:
    return ranges_of(calibrate(graph, data(graph)), "m", "max", 12)


def equalised(graph: Graph, labels: Collection[str] | None = None, **options: Any) -> Equalised:
    chosen = [layer.label for layer in quantisable_layers(graph)] if labels is None else labels
    found = equalise(graph, ranges(graph), chosen, **options)
    require_valid(found.graph, "bound")
    return found


def require_same_numbers(graph: Graph, found: Equalised) -> None:
    """The outputs are equal within float rounding, and the ranges are those of the new graph's tensors."""
    inputs = {name: array[:8] for name, array in data(graph).items()}
    wanted, got = run(graph, inputs), run(found.graph, inputs)
    for name, tensor in wanted.items():
        assert float((got[name] - tensor).norm() / tensor.norm()) < 3e-6
    again = ranges(found.graph)
    assert again.layers.keys() == found.ranges.layers.keys()
    for label, layer in again.layers.items():
        told = found.ranges.layers[label]
        # Channels are rounded up to four digits, so that a range is never less than what was seen.
        np.testing.assert_allclose(told.channels, layer.channels, rtol=2.1e-3)
        assert layer.largest * (1 - 1e-5) <= told.input == told.largest <= layer.largest * 1.0011


def changed(graph: Graph, found: Equalised) -> set[str]:
    """The keys of the weights that have other values, and of those that are new."""
    before = {weight.key: weight.data for weight in graph.weights}
    return {
        weight.key
        for weight in found.graph.weights
        if weight.key not in before or not np.array_equal(weight.data, before[weight.key])  # pyright: ignore[reportArgumentType]
    }


A, B = {"a.weight", "a.bias"}, {"b.weight"}
IMAGE, ROWS = "float32[N, 8, 12, 12]", "float32[N, 6, 8]"

FOLDED = {
    "convolution": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> b: Conv2d(8, 3)", A | B),
    "relu": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> relu -> b: Conv2d(8, 3)", A | B),
    "prelu": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> p: PReLU(16) -> b: Conv2d(8, 3)", A | B),
    "leaky_relu": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> leaky_relu -> b: Conv2d(8, 3)", A | B),
    "max_pool": (
        IMAGE,
        "output y = x -> a: Conv2d(16, 3) -> relu -> max_pool2d(2) -> b: Conv2d(8, 3)",
        A | B,
    ),
    "avg_pool": (
        IMAGE,
        "output y = x -> a: Conv2d(16, 3) -> avg_pool2d(2) -> relu -> b: Conv2d(8, 3)",
        A | B,
    ),
    "adaptive": (
        IMAGE,
        "output y = x -> a: Conv2d(16, 3) -> adaptive_avg_pool2d(2) -> b: Conv2d(8, 1)",
        A | B,
    ),
    "grouped": (IMAGE, "output y = x -> a: Conv2d(16, 3, groups = 2) -> b: Conv2d(8, 3, groups = 4)", A | B),
    "depthwise": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> relu -> b: Conv2d(16, 3, groups = 16)", A | B),
    "no bias": (
        IMAGE,
        "output y = x -> a: Conv2d(16, 3, bias = false) -> relu -> b: Conv2d(8, 3)",
        {"a.weight"} | B,
    ),
    "transposed": (
        IMAGE,
        "output y = x -> a: ConvTranspose2d(16, 2, stride = 2, groups = 2) -> relu -> b: Conv2d(8, 3)",
        A | B,
    ),
    "linear": (ROWS, "output y = x -> a: Linear(16) -> relu -> b: Linear(8)", A | B),
    "layer norm": (ROWS, "output y = x -> a: LayerNorm(8) -> b: Linear(8)", A | B),
    "RMS norm": (ROWS, "output y = x -> a: RMSNorm(8) -> b: Linear(8)", {"a.weight"} | B),
    "group norm": (IMAGE, "output y = x -> a: GroupNorm(2) -> relu -> b: Conv2d(8, 3)", A | B),
    "batch norm": (IMAGE, "output y = relu(x) -> a: BatchNorm2d -> relu -> b: Conv2d(8, 3)", A | B),
    "instance norm": (IMAGE, "output y = x -> a: InstanceNorm2d(affine = true) -> b: Conv2d(8, 3)", A | B),
    "several readers": (
        ROWS,
        "h = x -> a: Linear(16) -> relu\n  output y = (h -> b: Linear(8)) + (h -> c: Linear(8))",
        A | B | {"c.weight"},
    ),
    "moved": (
        IMAGE,
        """h = x -> a: Conv2d(16, 3) -> relu -> permute(0, 2, 3, 1)
  output y = reshape(h, (N, 100, 16)) -> b: Linear(8)""",
        A | B,
    ),
    "attention": (
        ROWS,
        """v = x -> a: Linear(8) -> reshape(N, 6, 2, 4) -> transpose(1, 2)
  s = softmax(matmul(transpose(reshape(x, (N, 6, 2, 4)), 1, 2), reshape(x, (N, 2, 4, 6))), -1)
  output y = matmul(s, v) -> transpose(1, 2) -> reshape(N, 6, 8) -> b: Linear(8)""",
        A | B,
    ),
    "fused attention": (
        ROWS,
        """v = x -> a: Linear(8) -> reshape(N, 6, 2, 4) -> transpose(1, 2)
  q = transpose(reshape(x, (N, 6, 2, 4)), 1, 2)
  output y = scaled_dot_product_attention(q, q, v) -> transpose(1, 2) -> flatten(2) -> b: Linear(8)""",
        A | B,
    ),
    "heads of one product": (
        ROWS,
        """h = x -> a: Linear(24) -> reshape(N, 6, 6, 4) -> transpose(1, 2)
  q, k, v = split(h, 2, 1)
  y = scaled_dot_product_attention(q, k, v, scale = 1.0) -> transpose(1, 2)
  output z = y -> flatten(2) -> b: Linear(8)""",
        A | B,
    ),
}


@pytest.mark.parametrize("case", FOLDED)
def test_factors_are_folded_into_the_producer(case: str) -> None:
    input, body, keys = FOLDED[case]
    graph = model(body, input)
    labels = [layer.label for layer in quantisable_layers(graph) if layer.label != "a"]
    found = equalised(graph, labels)
    require_same_numbers(graph, found)
    assert changed(graph, found) == keys
    assert operator_counts(found.graph) == operator_counts(graph)


S = {"b.pre_quant_scale", "b.weight"}
MULTIPLIED = {
    "an input": (IMAGE, "output y = x -> b: Conv2d(16, 3)", S),
    "gelu": (ROWS, "output y = x -> a: Linear(16) -> gelu -> b: Linear(8)", S),
    "hardswish": (IMAGE, "output y = x -> a: Conv2d(16, 3) -> hardswish -> b: Conv2d(8, 3)", S),
    "a residual": (ROWS, "h = x -> a: Linear(8) -> relu\n  output y = h + (h -> b: Linear(8))", S),
    "an output": (ROWS, "output h = x -> a: Linear(8) -> relu\n  output y = h -> b: Linear(8)", S),
    "a sum": (ROWS, "output y = x + (x -> a: Linear(8)) -> relu -> b: Linear(8)", S),
    "a spatial channel": (IMAGE, "output y = x -> a: Conv2d(4, 9) -> flatten(1) -> b: Linear(8)", S),
    "a piece of a dynamic dimension": (
        ROWS,
        """h = x -> a: Linear(8) -> relu -> reshape(6 * N, 8)
  u, v = chunk(h, 2, 0)
  output y = (u -> b: Linear(8)) + v""",
        S,
    ),
    "a norm without weights": (
        ROWS,
        "output y = x -> a: LayerNorm(8, elementwise_affine = false) -> b: Linear(8)",
        S,
    ),
    "a tied producer": (ROWS, "output y = x -> a: Linear(8) -> relu -> a: Linear(8) -> b: Linear(8)", S),
    "a layer that stays": (
        ROWS,
        "h = x -> a: Linear(16) -> relu\n  output y = (h -> b: Linear(8)) + (h -> kept: Linear(8))",
        S,
    ),
    "attention over the rows": (
        ROWS,
        "v = x -> a: Linear(8)\n  output y = matmul(v, transpose(x, 1, 2)) -> relu -> b: Linear(8)",
        S,
    ),
    "shared heads": (
        ROWS,
        """v = x -> a: Linear(4) -> reshape(N, 6, 1, 4) -> transpose(1, 2)
  q = transpose(reshape(x, (N, 6, 2, 4)), 1, 2)
  a = scaled_dot_product_attention(q, v, v, enable_gqa = true)
  output y = a -> transpose(1, 2) -> flatten(2) -> b: Linear(8)""",
        S,
    ),
}


@pytest.mark.parametrize("case", MULTIPLIED)
def test_factors_are_a_product_elsewhere(case: str) -> None:
    input, body, keys = MULTIPLIED[case]
    graph = model(body, input)
    found = equalised(graph, ["b"])
    require_same_numbers(graph, found)
    assert changed(graph, found) == keys
    assert operator_counts(found.graph)["mul"] == 1
    assert difference(found.graph, elaborate_text(show(found.graph))) is None


def test_one_label_in_several_places_has_one_scale() -> None:
    graph = model("output y = x -> gelu -> b: Linear(8) -> gelu -> b: Linear(8)", ROWS)
    found = equalised(graph)
    require_same_numbers(graph, found)
    assert changed(graph, found) == S
    assert operator_counts(found.graph)["mul"] == 2


def test_what_is_left_alone() -> None:
    graph = model("h = x -> a: Linear(8) -> relu\n  output y = h -> b: Linear(8)", ROWS)
    assert equalised(graph, alpha=0).graph is graph
    assert changed(graph, equalised(graph, [])) == set()
    unknown = ranges(graph)
    layers = {
        label: layer.__class__(layer.input, layer.largest, layer.percentile)
        for label, layer in unknown.layers.items()
    }
    plain = Ranges("m", "max", 12, "", layers)
    assert equalise(graph, plain, ["a", "b"]).graph.nodes == graph.nodes
    # Where a weight is read by something else its columns stay as they are.
    tied = model(
        "w = b.weight: Parameter(8, 8)\n  output z = matmul(x, w)\n  output y = x -> b: Linear(8)", ROWS
    )
    assert changed(tied, equalised(tied)) == set()


def test_channels_without_numbers_change_nothing() -> None:
    graph = model("h = relu(x) -> a: Conv2d(16, 3, padding = 1)\n  output y = h -> relu -> b: Conv2d(8, 3)")
    inputs = data(graph)
    inputs["x"][:, 2:4] = -1
    observed = ranges_of(calibrate(graph, inputs), "m", "max", 12)
    found = equalise(graph, observed, ["a", "b"])
    scale = next(np.asarray(w.data) for w in found.graph.weights if w.key == "a.pre_quant_scale").ravel()
    # A channel that was 0 all along is made as small as any, lest it be cut off elsewhere.
    assert scale[2] == scale[3] == scale.min()
    zeros = {"x": np.zeros_like(inputs["x"]) - 1}
    found = equalise(graph, ranges_of(calibrate(graph, zeros), "m", "max", 12), ["a"])
    assert found.graph.nodes == graph.nodes


def test_a_hand_edited_range_keeps_its_share() -> None:
    graph = model("output y = x -> gelu -> b: Linear(8)", ROWS)
    known = ranges(graph)
    entry = known.layers["b"]
    half = Ranges(
        "m",
        "max",
        12,
        "",
        {"b": entry.__class__(entry.input / 2, entry.largest, entry.percentile, 0, entry.channels)},
    )
    found = equalise(graph, half, ["b"]).ranges.layers["b"]
    assert found.input == pytest.approx(found.largest / 2)


# --- Numbers -----------------------------------------------------------------------------------------------

NETWORK = """h = x -> c1: Conv2d(32, 3) -> bn: BatchNorm2d -> relu
  h = h -> c2: Conv2d(32, 3, groups = 32) -> hardswish
  h = h -> c3: Conv2d(32, 1) -> relu -> max_pool2d(2)
  h = permute(h, (0, 2, 3, 1)) -> norm: LayerNorm(32) -> gelu
  output y = h -> f1: Linear(64) -> gelu -> f2: Linear(32)"""
SIXTEEN = "float32[N, 16, 12, 12]"


def error(graph: Graph, wanted: Graph) -> float:
    inputs = {name: array[:8] for name, array in data(wanted).items()}
    one, other = run(graph, inputs)["y"], run(wanted, inputs)["y"]
    return float((one - other).norm() / other.norm())


def test_it_lessens_the_error() -> None:
    graph = model(NETWORK, SIXTEEN)
    policy = Policy(DType.INT8)
    found = equalised(graph)
    require_same_numbers(graph, found)
    plain = error(quantize(graph, ranges(graph), policy).graph, graph)
    assert error(quantize(found.graph, found.ranges, policy).graph, graph) < 0.75 * plain
    assert found.alphas == {"c1+bn": 0.7, "c2": 1.0, "c3": 0.7, "f1": 0.7, "f2": 0.7}
    assert {*equalised(graph, ["f1", "f2"], alpha=0.5).alphas.values()} == {0.5}


@pytest.mark.parametrize("target", ["sm86", "sm89", "sm120"])
def test_tensorrt_computes_equalised_layers_in_int8(target: str) -> None:
    graph = model(NETWORK, SIXTEEN)
    found = equalised(graph)
    assert operator_counts(found.graph)["mul"] == 4
    quantised = quantize(found.graph, found.ranges, Policy(DType.INT8, targets=(target,)), DType.FLOAT16)
    lowered = lower(convert_precision(DType.FLOAT16)(quantised.graph))
    kernels = build_with_facts(lowered, CompileOptions(targets=(target,)), kernels=True).kernels
    computed = {node.scope: str(each) for node, each in readings(kernels, lowered.graph).items()}
    assert computed == dict.fromkeys(("c1+bn", "c2", "c3", "f1", "f2"), "int8 by int8")
    inputs = {name: array[:4] for name, array in data(graph).items()}
    plain = lower(quantize(found.graph, found.ranges, Policy(DType.INT8)).graph)
    wanted = run(plain.graph, inputs)["y"]
    got = evaluate(plain.network, inputs, weights=plain.weights)["y"]
    assert float((got - wanted).norm() / wanted.norm()) < 1e-5


def program(seed: int) -> tuple[str, str]:
    """A network of layers in any order, some of them read twice, some with residuals."""
    rng = random.Random(seed)
    lines: list[str] = []
    image = rng.random() < 0.5
    between = ["relu", "gelu", "leaky_relu", "hardswish", "tanh"]
    between += ["max_pool2d(3, stride = 1, padding = 1)"] if image else ["norm"]
    for index in range(rng.randint(2, 6)):
        groups = rng.choice([1, 1, 2, 8])
        layer = f"Conv2d(8, 3, padding = 1, groups = {groups})" if image else "Linear(8)"
        step = f"l{index}: {layer}"
        chain = " -> ".join(rng.choices(between, k=rng.randint(0, 2)))
        chain = chain.replace("norm", f"n{index}: LayerNorm(8)")
        chain = f"x -> {chain}" if chain else "x"
        lines.append(f"t = {chain}")
        lines.append(f"x = t -> {step}" if rng.random() < 0.6 else f"x = t + (t -> {step})")
        if rng.random() < 0.3:
            lines.append(f"x = x + (t -> k{index}: {layer})")
        if rng.random() < 0.15:
            lines.append(f"output o{index} = x")
    # Two norms at one place would share a label.
    text = "\n  ".join([*lines, "output y = x"])
    return text, IMAGE if image else ROWS


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_compute_the_same(seed: int) -> None:
    body, input = program(seed)
    graph = model(body, input)
    rng = random.Random(seed)
    chosen = [layer.label for layer in quantisable_layers(graph) if rng.random() < 0.8]
    require_same_numbers(graph, equalised(graph, chosen))
