"""uint8, which TensorRT has in inputs and outputs only: pictures are moved and joined all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.reference import run, to_numpy
from trtdsl.trt.build import build
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.lower import LoweredNetwork, lower

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)

EXPRESSIONS = [
    "x",
    "to(permute(x, 0, 3, 1, 2), float32) / 255.0",
    "permute(x, 0, 3, 1, 2)",
    "reshape(x, [N, 60])",
    "cat([x, x], 1)",
    "cat([x[:, 2:3], x[:, 0:1]], 1) -> permute(0, 3, 1, 2) -> to(float16)",
    "index_select(x, 3, tensor([2, 1, 0]))",
    "expand(x[:, 0:1], [N, 4, 5, 3])",
    "pad(x, (0, 0, 1, 1), value = 9)",
    "maximum(x, x[:, 0:1])",
    "where(x > 100, x, tensor([1, 2, 255], dtype = uint8))",
    "cat([x, full((1, 4, 5, 3), 7, dtype = uint8)], 0)",
    "tensor([1, 255], dtype = uint8)",
    "to(to(to(x, float32) / 2.0, uint8), float32)",
    "to(to(x, float32) * 1.7, uint8)",
    "to(to(x, int32) * 3, uint8)",
    "to(to(to(x, int32) - 300, uint8), int32)",
    "to(to(x, int64) * 100000, uint8)",
    "to(x > 100, uint8)",
]


def model(expression: str) -> Graph:
    text = f"model m() {{ dim N = 1 .. 3 .. 8  input x: uint8[N, 4, 5, 3]  output y = {expression} }}"
    return elaborate_text(text)


def require_right(graph: Graph, lowered: LoweredNetwork, network: Any) -> None:
    (expected,) = run(graph, {"x": PICTURES}).values()
    (found,) = evaluate(network, {"x": PICTURES}, weights=lowered.weights).values()
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), to_numpy(expected))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_bytes_build_and_are_right(expression: str) -> None:
    graph = model(expression)
    lowered = lower(graph)
    require_right(graph, lowered, lowered.network)
    assert build(lowered)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_bytes_on_the_oldest_release(expression: str) -> None:
    graph = model(expression)
    dialect = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, dialect)
    require_right(graph, lowered, dialect.network)


def test_one_tensor_as_two_outputs() -> None:
    text = """
        model m() {
          dim N = 1 .. 3 .. 8
          input x: uint8[N, 4, 5, 3]
          output y = reshape(x, [N, 60])
          output z = y
          output w = to(y, int32)
        }
    """
    graph = elaborate_text(text)
    lowered = lower(graph)
    assert build(lowered)
    found = evaluate(lowered.network, {"x": PICTURES}, weights=lowered.weights)
    for name, y in found.items():
        np.testing.assert_array_equal(y.numpy(), PICTURES.reshape(3, 60), err_msg=name)
    assert {name: str(y.dtype) for name, y in found.items()} == {
        "y": "torch.uint8",
        "z": "torch.uint8",
        "w": "torch.int32",
    }


def test_a_picture_is_converted_once_and_directly() -> None:
    """From uint8 to float32 in one cast, where nothing is done to the bytes before."""
    layers = lower(model("to(x, float32) / 255.0")).network
    trt = load_runtime("tensorrt_rtx").trt
    assert [layers.get_layer(i).type for i in range(layers.num_layers)].count(trt.LayerType.CAST) == 1
