"""In which types an engine computes its layers, by TensorRT's own list: no GPU is needed."""

from __future__ import annotations

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.reference import random_weights
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.kernels import Held, Kernel, Reading, read_kernels, readings
from trtdsl.trt.lower import lower
from trtdsl.types import DType

CONV = """
model conv() {
  input x: float16[2, 32, 16, 16]
  s = conv.input_scale: Parameter((), dtype = float16)
  w = conv.weight: Parameter((64, 32, 3, 3), dtype = DTYPE)
  ws = conv.weight_scale: Parameter(64, dtype = float16)
  xd = x -> quantize(s, dtype = DTYPE) -> dequantize(s)
  output y = conv: Conv2d(64, 3)(xd, weight = dequantize(w, ws, axis = 0)) -> relu
}
"""
LINEAR = """
model linear() {
  dim N = 1 .. 8 .. 16
  input x: float16[N, 8, 64]
  s = fc.input_scale: Parameter((), dtype = float16)
  w = fc.weight: Parameter((128, 64), dtype = DTYPE)
  ws = fc.weight_scale: Parameter(128, dtype = float16)
  xd = x -> quantize(s, dtype = DTYPE) -> dequantize(s)
  output y = fc: Linear(128)(xd, weight = dequantize(w, ws, axis = 0)) -> relu
}
"""
WEIGHT_ONLY = """
model weight_only() {
  input x: float16[2, 256]
  w = fc.weight: Parameter((128, 256), dtype = DTYPE)
  ws = fc.weight_scale: Parameter(SCALES, dtype = float16)
  output y = fc: Linear(128)(x, weight = dequantize(w, ws, axis = AXIS))
}
"""
INT8, FLOAT8, INT4, HALF = DType.INT8, DType.FLOAT8, DType.INT4, DType.FLOAT16


def made(text: str, dtype: DType) -> Graph:
    """The model with this type in the place of DTYPE, its weights made up."""
    return random_weights(elaborate_text(text.replace("DTYPE", str(dtype))))


def computed(graph: Graph, *targets: str) -> list[Reading]:
    """How each layer is computed, in order."""
    lowered = lower(optimize(graph))
    kernels = build_with_facts(lowered, CompileOptions(targets=targets), kernels=True).kernels
    return list(readings(kernels, lowered.graph).values())


@pytest.mark.parametrize(
    ("text", "dtype", "target"),
    [
        (CONV, INT8, "sm80"),
        (CONV, INT8, "sm86"),
        (CONV, INT8, "sm89"),
        (CONV, INT8, "sm120"),
        (CONV, FLOAT8, "sm89"),
        (CONV, FLOAT8, "sm120"),
        (LINEAR, INT8, "sm75"),
        (LINEAR, INT8, "sm86"),
        (LINEAR, INT8, "sm89"),
        (LINEAR, INT8, "sm120"),
        (LINEAR, FLOAT8, "sm89"),
        (LINEAR, FLOAT8, "sm120"),
    ],
    ids=lambda each: each.split()[1][:-2] if isinstance(each, str) and "\n" in each else str(each),
)
def test_quantised_layers_are_computed_in_the_narrow_type(text: str, dtype: DType, target: str) -> None:
    (reading,) = computed(made(text, dtype), target)
    assert (reading.input, reading.weight) == (dtype, dtype), str(reading.kernel)


def test_turing_computes_quantised_convolutions_in_float16() -> None:
    (reading,) = computed(made(CONV, INT8), "sm75")
    assert (reading.input, reading.weight) == (HALF, HALF)


@pytest.mark.parametrize("dtype", [INT8, FLOAT8], ids=str)
def test_transposed_convolutions_are_computed_in_float16(dtype: DType) -> None:
    text = CONV.replace("(64, 32, 3, 3)", "(32, 64, 3, 3)").replace("Conv2d(64, 3)", "ConvTranspose2d(64, 3)")
    (reading,) = computed(made(text.replace("Parameter(64", "Parameter(32"), dtype), "sm89")
    assert (reading.input, reading.weight) == (HALF, HALF)


@pytest.mark.parametrize(
    ("dtype", "scales", "axis"), [(INT8, "128", "0"), (FLOAT8, "128", "0"), (INT4, "128, 2", "1")], ids=str
)
def test_quantised_weights_alone_stay_narrow(dtype: DType, scales: str, axis: str) -> None:
    text = WEIGHT_ONLY.replace("SCALES", scales).replace("AXIS", axis)
    (reading,) = computed(made(text, dtype), "sm89")
    assert (reading.input, reading.weight) == (HALF, dtype), str(reading.kernel)


def test_products_of_float4_are_computed_in_it() -> None:
    text = """
    model m() {
      input x: float16[32, 256]
      g = fc.input_scale: Parameter((), dtype = float16)
      q, s = dynamic_quantize(x, g)
      xd = dequantize(q, dequantize(s, g), axis = 1)
      w = fc.weight: Parameter((128, 256), dtype = float4_e2m1fn)
      ws = fc.weight_scale: Parameter((128, 16), dtype = float8_e4m3fn)
      wg = fc.outer_scale: Parameter((), dtype = float16)
      output y = fc: Linear(128)(xd, weight = dequantize(w, dequantize(ws, wg), axis = 1))
    }
    """
    graph = made(text, HALF)
    (reading,) = computed(graph, "sm120")
    assert (reading.input, reading.weight) == (DType.FLOAT4, DType.FLOAT4), str(reading.kernel)


def test_weights_that_the_text_quantises_are_held_narrow() -> None:
    text = """
    model m() {
      input x: float16[2, 64, 64]
      s = fc.input_scale: Parameter((), dtype = float16)
      w = fc.weight: Parameter((128, 64), dtype = float16)
      ws = fc.weight_scale: Parameter((128, 1), dtype = float16)
      xd = x -> quantize(s) -> dequantize(s)
      output y = fc: Linear(128)(xd, weight = w -> quantize(ws) -> dequantize(ws))
    }
    """
    (reading,) = computed(made(text, INT8), "sm89")
    assert (reading.input, reading.weight) == (INT8, INT8)


def test_plain_layers_are_found_by_their_places() -> None:
    text = """
    model m() {
      input x: float16[2, 32, 8, 8]
      h = x -> c1: Conv2d(32, 3) -> relu -> fc1: Conv2d(16, 3) -> flatten(1)
      output y = h -> 1: Linear(32) -> relu -> 11: Linear(16)
    }
    """
    found = computed(made(text, HALF), "sm89")
    assert [(each.input, each.weight) for each in found] == [(HALF, HALF)] * 4
    assert len({each.kernel.name for each in found}) == 4


ENTRY = (
    "Layers:\nName: conv1_myl0_2, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [-1,16,8,8], "
    "Strides: [1024,1,128,16], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }]"
    ", Constants: [ { Name: b, Dimensions: [32,16,3,3], Strides: [144,1,48,16], StrideOrder: [3,0,2,1], "
    "Datatype: Int8, Format: (NHWC) Channel major format }, { Name: c, Dimensions: [], Strides: [], "
    "StrideOrder: [], Datatype: Half, Format: (Linear) Row major linear format }], Outputs: [ { Name: d, "
    "Dimensions: [-1,32,8,8], Strides: [2048,1,256,32], StrideOrder: [3,0,2,1], Datatype: Float, "
    "Format: (NHWC) Channel major format }], TacticName: stub, StreamId: 0, Metadata: conv1 m.trtnet:3:5\n"
    "Name: shapes, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, "
    "Metadata: \n\nI/O Tensors:\n Name: a, IOMode: Input\n"
)


def test_the_list_is_read() -> None:
    conv, shapes = read_kernels(ENTRY)
    assert conv == Kernel(
        "conv1_myl0_2",
        "correlation",
        (Held("a", "Int8", (-1, 16, 8, 8)),),
        (Held("b", "Int8", (32, 16, 3, 3)), Held("c", "Half", ())),
        (Held("d", "Float", (-1, 32, 8, 8)),),
        "conv1 m.trtnet:3:5",
    )
    assert str(conv) == (
        "correlation conv1_myl0_2: Int8[-1, 16, 8, 8], Int8[32, 16, 3, 3] -> Float[-1, 32, 8, 8]"
    )
    assert (shapes.kind, shapes.inputs, shapes.metadata) == ("shape_call", (), "")


@pytest.mark.parametrize("text", ["", "Layers:\nconv1", "Engine generation completed"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        read_kernels(text)
