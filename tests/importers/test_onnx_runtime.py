"""onnxruntime's own operators: each text computes what onnxruntime does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtdsl import DiagnosticError, elaborate_text
from trtdsl.importers.module import Imported
from trtdsl.importers.onnx_file import read_model
from trtdsl.importers.onnx_import import import_onnx, import_onnx_program
from trtdsl.reference import run, to_numpy

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
KINDS: Mapping[Any, int] = {np.dtype("float32"): FLOAT, np.dtype("int32"): INT32, np.dtype("int64"): INT64}
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def model_of(
    operator: str, inputs: Mapping[str, Any], arrays: Mapping[str, Any], outputs: int = 1, **attributes: Any
) -> Any:
    """A model of one node, whose operands stand in the order of ``inputs`` and ``arrays`` by their names."""
    given = {**inputs, **arrays}
    count = max(int(name[1:]) for name in given) + 1
    names = [f"i{index}" if f"i{index}" in given else "" for index in range(count)]
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(operator, names, results, domain="com.microsoft", **attributes)
    infos = [
        helper.make_tensor_value_info(name, KINDS[each.dtype], each.shape) for name, each in inputs.items()
    ]
    unknown = [helper.make_empty_tensor_value_info(name) for name in results]
    weights = [numpy_helper.from_array(each, name) for name, each in arrays.items()]
    graph = helper.make_graph([node], "g", infos, unknown, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def compare(model: Any, inputs: Mapping[str, Any]) -> Imported:
    """The text of a model, whose outputs must be onnxruntime's."""
    found = import_onnx_program(*read_model(model, "m"))
    computed = run(elaborate_text(found.text), inputs, found.constants)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted: Any = session.run(None, dict(inputs))
    for ours, theirs in zip(map(to_numpy, computed.values()), wanted, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    return found


IMAGE = {"i0": floats(1, 2, 5, 5)}
KERNEL = {"i1": floats(3, 2, 3, 3), "i2": floats(3)}
TOKENS = {"i0": floats(2, 5, 8)}
NORM = {"i2": floats(8), "i3": floats(8)}


@pytest.mark.parametrize(
    ("activation", "numbers", "line"),
    [
        ("Relu", [], "relu"),
        ("LeakyRelu", [0.2], "leaky_relu(negative_slope = 0.2)"),
        ("Clip", [0.0, 6.0], "relu6"),
        ("HardSigmoid", [0.2, 0.5], "clamp"),
    ],
)
def test_convolutions(activation: str, numbers: list[float], line: str) -> None:
    options: dict[str, Any] = {"activation_params": numbers} if numbers else {}
    model = model_of("FusedConv", IMAGE, KERNEL, activation=activation, pads=[1, 1, 1, 1], **options)
    assert line in compare(model, IMAGE).text


def test_a_convolution_with_a_sum() -> None:
    inputs = {**IMAGE, "i3": floats(1, 3, 5, 5)}
    model = model_of("FusedConv", inputs, KERNEL, activation="Relu", pads=[1, 1, 1, 1])
    assert "relu" in compare(model, inputs).text


def test_linear_layers() -> None:
    inputs = {"i0": floats(4, 8)}
    model = model_of(
        "FusedGemm", inputs, {"i1": floats(3, 8), "i2": floats(3)}, transB=1, activation="LeakyRelu",
        activation_alpha=0.25,
    )  # fmt: skip
    assert "leaky_relu(negative_slope = 0.25)" in compare(model, inputs).text


def test_products() -> None:
    inputs = {"i0": floats(2, 3, 4), "i1": floats(2, 3, 4)}
    compare(model_of("FusedMatMul", inputs, {}, transB=1, alpha=0.5), inputs)
    compare(model_of("FusedMatMul", inputs, {}, transA=1), inputs)


@pytest.mark.parametrize("operator", ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"])
def test_activations(operator: str) -> None:
    arrays = {"i1": floats(8)} if operator in ("BiasGelu", "FastGelu") else {}
    found = compare(model_of(operator, TOKENS, arrays), TOKENS)
    assert ("gelu" in found.text) == (operator != "QuickGelu")


def test_norms_of_sums() -> None:
    inputs = {**TOKENS, "i1": floats(2, 5, 8)}
    for more in ({}, {"i4": floats(8)}):
        found = compare(model_of("SkipLayerNormalization", inputs, {**NORM, **more}, epsilon=1e-5), inputs)
        assert "LayerNorm" in found.text
    rms = model_of("SkipSimplifiedLayerNormalization", inputs, {"i2": floats(8)}, epsilon=1e-5)
    assert "RMSNorm" in compare(rms, inputs).text


def test_embeddings() -> None:
    inputs = {
        "i0": np.array([[1, 2, 3], [0, 4, 4]], np.int32),
        "i7": np.array([[1, 1, 0], [1, 1, 1]], np.int32),
    }
    arrays = {"i2": floats(6, 8), "i3": floats(9, 8), "i5": floats(8), "i6": floats(8)}
    compare(model_of("EmbedLayerNormalization", inputs, arrays, 2), inputs)
    segments = {**inputs, "i1": np.array([[0, 1, 0], [1, 1, 1]], np.int32)}
    compare(model_of("EmbedLayerNormalization", segments, {**arrays, "i4": floats(2, 8)}, 2), segments)


MASKS = {
    "none": None,
    "lengths": np.array([5, 2], np.int32),
    "keys": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32),
    "pairs": np.tril(np.ones((2, 5, 5), np.int32)),
}


@pytest.mark.parametrize("mask", MASKS)
def test_attention(mask: str) -> None:
    inputs = {**TOKENS} if MASKS[mask] is None else {**TOKENS, "i3": MASKS[mask]}
    arrays = {"i1": floats(8, 24), "i2": floats(24)}
    found = compare(model_of("Attention", inputs, arrays, num_heads=2), inputs)
    assert "scaled_dot_product_attention" in found.text
    if mask == "none":
        compare(model_of("Attention", inputs, arrays, num_heads=2, unidirectional=1, scale=0.3), inputs)
        added = {**inputs, "i5": floats(2, 2, 5, 5)}
        compare(model_of("Attention", added, arrays, num_heads=2), added)


def test_attention_of_three_tensors() -> None:
    inputs = {
        **TOKENS,
        "i1": floats(2, 4, 8),
        "i2": floats(2, 4, 8),
        "i4": np.array([[1, 1, 1, 0]] * 2, np.int32),
    }
    compare(model_of("MultiHeadAttention", inputs, {"i3": floats(24)}, num_heads=2), inputs)


@pytest.mark.parametrize(
    ("domain", "operator", "reason"),
    [
        ("com.microsoft.nchwc", "Conv", "with at most ORT_ENABLE_EXTENDED"),
        ("com.microsoft", "GroupQueryAttention", "it keeps earlier keys and values in a cache"),
        ("com.microsoft", "MatMulNBits", "import the model before it was quantised"),
        ("com.microsoft", "MoE", "import the file before onnxruntime optimised it"),
        ("ai.onnx.ml", "LinearClassifier", "it is not of a neural network"),
        ("ai.onnx.contrib", "BertTokenizer", "compute it outside the engine"),
        ("my.domain", "Thing", "the file does not define it"),
    ],
)
def test_others_are_refused_with_what_to_do(domain: str, operator: str, reason: str) -> None:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    infos = [helper.make_tensor_value_info(name, FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    with pytest.raises(DiagnosticError) as caught:
        read_model(helper.make_model(graph, opset_imports=opsets), "m")
    assert reason in caught.value.diagnostics[0].message


def test_a_file_that_onnxruntime_optimised(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, FLOAT, ["N", 2, 5, 5]) for name in "xy"]
    weight = numpy_helper.from_array(floats(2, 2, 3, 3), "w")
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    assert any(each.op_type == "FusedConv" for each in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert "Conv2d(2, 3, padding = 1, bias = false) -> relu" in import_onnx(tmp_path / "fused.onnx").text
