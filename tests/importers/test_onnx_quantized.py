"""Quantised ONNX files: they compute what they do in onnxruntime; zero points are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtdsl import DiagnosticError
from trtdsl.importers.onnx_file import read_model
from trtdsl.importers.onnx_import import import_onnx
from trtdsl.reference import run, to_numpy

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def network() -> Any:
    """A convolution, an activation and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], name="/conv/Conv"),
        helper.make_node("Relu", ["a"], ["b"], name="/Relu"),
        helper.make_node("Flatten", ["b"], ["c"], name="/Flatten"),
        helper.make_node("Gemm", ["c", "fc.weight", "fc.bias"], ["y"], transB=1, name="/fc/Gemm"),
    ]
    weights = {
        "conv.weight": floats(4, 2, 3, 3), "conv.bias": floats(4),
        "fc.weight": floats(3, 36), "fc.bias": floats(3),
    }  # fmt: skip
    infos = [
        helper.make_tensor_value_info("x", FLOAT, ["N", 2, 5, 5]),
        helper.make_tensor_value_info("y", FLOAT, ["N", 3]),
    ]
    arrays = [numpy_helper.from_array(each, name) for name, each in weights.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def quantised(folder: Path, *, is_symmetric: bool, per_channel: bool = False) -> Path:
    """The file that onnxruntime's tool makes."""
    from onnxruntime import quantization as tool  # pyright: ignore[reportMissingTypeStubs]

    class Reader(tool.CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, Any]] = iter([{"x": floats(2, 2, 5, 5)}])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    onnx.save(network(), folder / "float.onnx")
    tool.quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        Reader(),
        quant_format=tool.QuantFormat.QDQ,
        activation_type=tool.QuantType.QInt8,
        weight_type=tool.QuantType.QInt8,
        per_channel=per_channel,
        extra_options={"ActivationSymmetric": is_symmetric, "WeightSymmetric": True},
    )
    return folder / "int8.onnx"


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_file_with_symmetric_ranges(tmp_path: Path, per_channel: bool) -> None:
    path = quantised(tmp_path, is_symmetric=True, per_channel=per_channel)
    found = import_onnx(path)
    assert found.graph
    assert found.weights["conv.weight"].dtype == np.int8
    assert found.weights["conv.weight_scale"].shape == ((4,) if per_channel else ())
    # A layer is one statement, its integers beside their scale.
    assert "-> quantize(scale) -> dequantize(scale)\n           -> conv: Conv2d(4, 3)(\n" in found.text
    assert "-> fc: Linear(3)(\n           weight = dequantize(\n" in found.text
    assert "fc.bias" in found.weights
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    x = floats(3, 2, 5, 5)
    wanted: Any = session.run(None, {"x": x})[0]
    (computed,) = map(to_numpy, run(found.graph, {"x": x}, found.weights).values())
    assert np.allclose(computed, wanted, rtol=1e-5, atol=1e-5)
    assert len(np.unique(computed)) > 3


def test_zero_points_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        import_onnx(quantised(tmp_path, is_symmetric=False))
    messages = [each.message for each in caught.value.diagnostics]
    assert any("its zero point is not 0, and TensorRT has none" in each for each in messages)
    assert any("(QInt8, ActivationSymmetric, WeightSymmetric)" in each for each in messages)


def test_unsigned_types_are_refused() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"])
    infos = [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_empty_tensor_value_info("y")]
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [scale])
    with pytest.raises(DiagnosticError, match="it quantises to uint8, which TensorRT does not compute with"):
        read_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "m")
