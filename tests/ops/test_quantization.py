"""Quantised numbers: rounded, scaled and laid out as TensorRT and ONNX do."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import save_file

from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect, trt
from tests.trt.releases import facts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Value, Weight, difference, rebuild, show, verify
from trtdsl.ops.joining import Cat
from trtdsl.ops.quantization import Dequantize, DynamicQuantize, Quantize
from trtdsl.ops.shape import Permute, Reshape
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.reference import Array, random_inputs, random_weights, run, run_node, to_torch
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import DType, packed, unpacked
from trtdsl.weights import bind, load_checkpoint

TIES = torch.tensor([0.25, 0.75, 1.25, -0.75, 1000.0, -1000.0])


def test_halves_go_to_the_even_neighbour_and_the_rest_is_clamped() -> None:
    (found,) = check_equals_torch(Quantize(), TIES, 0.5)
    assert found.tolist() == [0, 2, 2, -2, 127, -128]


@pytest.mark.parametrize("value", [0.2, 0.25, 0.26, 0.75, 1.25, 1.75, 2.5, 3.5, 4.9, 5.0, 5.1, 7.0, 1e9])
def test_float4_is_rounded_as_ml_dtypes_does(value: float) -> None:
    x = torch.tensor([value, -value] * 8)
    (found,) = run_node(Quantize(DType.FLOAT4), {"input": x, "scale": torch.tensor([1.0])})
    wanted = np.float32(min(value, 6.0)).astype(ml_dtypes.float4_e2m1fn)
    assert found[:2].tolist() == [float(wanted), -float(wanted)]


ONNX_TYPES = {
    DType.INT8: onnx.TensorProto.INT8,
    DType.INT4: onnx.TensorProto.INT4,
    DType.FLOAT8: onnx.TensorProto.FLOAT8E4M3FN,
    DType.FLOAT4: onnx.TensorProto.FLOAT4E2M1,
}
SCALES = [((), None), ((6,), 0), ((32,), 1), ((6, 2), 1)]


def onnx_computes(dtype: DType, x: Array, scale: Array, axis: int | None) -> tuple[Array, Array]:
    """What ONNX's QuantizeLinear makes of numbers, and its DequantizeLinear of these, as float32."""
    blocks = 0 if scale.ndim < 2 else x.shape[1] // scale.shape[1]
    given: dict[str, Any] = {} if axis is None else {"axis": axis, "block_size": blocks}
    helper = onnx.helper
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=ONNX_TYPES[dtype], **given),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], **given),
        helper.make_node("Cast", ["q"], ["n"], to=onnx.TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        for name, array in (("x", x), ("s", scale))
    ]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "ny"]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    numbers, back = ReferenceEvaluator(model).run(None, {"x": x, "s": scale})
    return np.asarray(numbers), np.asarray(back)


@pytest.mark.parametrize(("shape", "axis"), SCALES)
@pytest.mark.parametrize("dtype", ONNX_TYPES, ids=str)
def test_computes_what_onnx_does(dtype: DType, shape: tuple[int, ...], axis: int | None) -> None:
    random = np.random.default_rng(0)
    scale = np.asarray(random.uniform(0.1, 0.3, shape), np.float32)
    x = random.normal(0, 1, (6, 32)).astype(np.float32)
    numbers, back = onnx_computes(dtype, x, scale, axis)
    given = {"input": to_torch(x), "scale": to_torch(scale)}
    (q,) = run_node(Quantize(dtype, axis), given)
    (y,) = run_node(Dequantize(axis=axis), {"input": q, "scale": to_torch(scale)})
    assert q.float().tolist() == numbers.tolist()
    assert y.tolist() == back.tolist()
    folded = Quantize(dtype, axis).fold(x, scale)
    assert folded is not None and folded.dtype == dtype.numpy
    assert folded.astype(np.float32).tolist() == numbers.tolist()


@pytest.mark.parametrize("dtype", [DType.INT4, DType.FLOAT4], ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_packing_keeps_the_numbers(dtype: DType, size: int) -> None:
    codes = np.arange(size).astype(np.uint8) % 16
    array = unpacked(packed(codes.view(ml_dtypes.float4_e2m1fn)), dtype, (size, 1))
    assert (array.shape, array.dtype) == ((size, 1), dtype.numpy)
    assert len(packed(array)) == (size + 1) // 2
    assert unpacked(packed(array), dtype, (size, 1)).tolist() == array.tolist()
    wanted = codes.astype(np.int8) - 16 * (codes > 7)
    if dtype is DType.INT4:
        assert array.reshape(-1).astype(np.int8).tolist() == wanted.tolist()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_quantised_numbers_are_moved(dtype: torch.dtype) -> None:
    x = torch.arange(-6.0, 6.0).reshape(2, 6).to(dtype)
    check_equals_torch(Reshape((3, 4)), x)
    check_equals_torch(Permute((1, 0)), x)


def test_quantised_numbers_are_joined() -> None:
    """In int8: the lowest PyTorch joins no float8."""
    x = torch.arange(-6.0, 6.0).reshape(2, 6).to(torch.int8)
    check_equals_torch(Cat(1), [x, x])


def test_what_types_refuse() -> None:
    assert "not int8" in refused(Quantize(), t("int8[2]"), t("float32[]"))
    assert "single number" in refused(Quantize(), t("float32[]"), t("float32[1]"))
    assert "shape [], not [1]" in refused(Quantize(), t("float32[1]"), t("float32[1]"))
    assert "shape [], not [1]" in refused(Dequantize(), t("int8[4, 4]"), t("float32[1]"))
    assert "too coarse" in refused(Dequantize(), t("int4[4, 4]"), t("float32[]"))
    powers = "float8_e8m0fnu[4, 2]"
    assert "32 elements" in refused(Dequantize(axis=1), t("float8_e4m3fn[4, 32]"), t(powers))
    assert "blocks of float8_e4m3fn" in refused(Dequantize(axis=1), t("int8[4, 64]"), t(powers))
    assert "blocks of float8_e4m3fn" in refused(Dequantize(), t("float8_e4m3fn[4, 64]"), t(powers))


def test_what_dynamic_quantisation_refuses() -> None:
    one = t("float32[]")
    assert "rank 2 or 3, not 1" in refused(DynamicQuantize(), t("float32[16]"), one)
    assert "last two dimensions" in refused(DynamicQuantize(0), t("float32[16, 2, 2]"), one)
    assert "20 elements of dimension 1" in refused(DynamicQuantize(), t("float32[2, 20]"), one)
    assert "must be float32, not float16" in refused(DynamicQuantize(), t("float32[2, 16]"), t("float16[]"))
    assert "rank 0, not 1" in refused(DynamicQuantize(), t("float32[2, 16]"), t("float32[1]"))
    assert "needs the `scale` of the whole tensor" in refused(DynamicQuantize(), t("float32[2, 16]"))
    powers = DynamicQuantize(dtype=DType.FLOAT8)
    assert "has no `scale`" in refused(powers, t("float32[2, 32]"), one)
    assert "16 elements of dimension 1 do not make blocks of 32" in refused(powers, t("float32[2, 16]"))
    wanted = "makes float4_e2m1fn and float8_e4m3fn, not int8"
    assert wanted in refused(DynamicQuantize(dtype=DType.INT8), t("float32[2, 32]"))


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_are_quantised_as_they_come(axis: int) -> None:
    """12 and its block have the scale 12 / 6 / 0.5, and zeros 0; -5 is a tie between -4 and -6."""
    x = torch.zeros(1, 32)
    x[0, :4] = torch.tensor([12.0, -5.0, 2.4, 0.4])
    x = x if axis else x.T.contiguous()
    q, scales = run_node(DynamicQuantize(axis), {"input": x, "scale": torch.tensor(0.5)})
    assert scales.float().reshape(-1).tolist() == [4.0, 0.0]
    assert q.reshape(-1)[:4].tolist() == [6.0, -2.0, 1.0, 0.0]
    back = run_node(Dequantize(), {"input": scales, "scale": torch.tensor(0.5)})[0]
    (y,) = run_node(Dequantize(axis=axis), {"input": q, "scale": back})
    assert y.reshape(-1)[:5].tolist() == [12.0, -4.0, 2.0, 0.0, 0.0]


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_have_powers_of_two(axis: int) -> None:
    """900 becomes 450 by 2, which is beyond 448, and 225 by 4; 448 is held by 1, and zeros by anything."""
    x = torch.zeros(1, 96)
    x[0, 0], x[0, 1], x[0, 32] = 900.0, 3.0, 448.0
    x = x if axis else x.T.contiguous()
    q, scales = run_node(DynamicQuantize(axis, DType.FLOAT8), {"input": x})
    assert scales.reshape(-1)[:2].tolist() == [4.0, 1.0]
    assert q.float().reshape(-1)[[0, 1, 32, 64]].tolist() == [224.0, 0.75, 448.0, 0.0]
    (y,) = run_node(Dequantize(DType.FLOAT32, axis), {"input": q, "scale": scales})
    assert y.reshape(-1)[[0, 1, 32, 64]].tolist() == [896.0, 3.0, 448.0, 0.0]


def model(body: str, inputs: str = "input x: float32[2, 64]") -> Graph:
    return elaborate_text(f"model m() {{\n  {inputs}\n  {body}\n}}")


def with_data(graph: Graph, **data: Any) -> Graph:
    """The graph with random weights, and these in the place of those of the same keys, `.` written `_`."""
    made = random_weights(graph)
    changed: dict[Value, Value] = {
        weight: weight.replace(data=np.asarray(data[weight.key.replace(".", "_")], weight.type.dtype.numpy))
        for weight in made.weights
        if weight.key.replace(".", "_") in data
    }
    return rebuild(made, made.nodes, changed)


LINEAR = """
  w = fc.weight: Parameter((8, 64))
  s = fc.weight_scale: Parameter(8)
  y = fc: Linear(8)(x, weight = w -> quantize(s, axis = 0) -> dequantize(s, axis = 0))
  output y
"""


def constants(graph: Graph) -> dict[str, str]:
    return {weight.key: str(weight.type) for weight in graph.weights}


def test_weights_are_quantised_at_compile_time_and_stay_so() -> None:
    graph = with_data(model(LINEAR))
    optimised = optimize(graph)
    assert [node.op.name for node in optimised.nodes if "quantize" in node.op.name] == ["dequantize"]
    assert constants(optimised)["folded.quantize"] == "int8[8, 64]"
    lowered = lower(optimised)
    arrays = [array.dtype for slots in lowered.weights.values() for array in slots.values()]
    assert np.dtype(np.int8) in arrays
    inputs = random_inputs(graph)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)["y"]
    torch.testing.assert_close(found, run(graph, inputs)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "scale", "wanted"),
    [((8, 64), (8, 1), ((8,), 0)), ((8, 64), (1, 1), ((), -1)), ((8, 64), (8, 2), ((8, 2), 1))],
)
def test_scales_of_whole_rows_are_lowered_as_those_of_channels(shape: Any, scale: Any, wanted: Any) -> None:
    weights = f"w = w: Parameter({shape}, dtype = int8)\n  s = s: Parameter({scale})"
    text = f"{weights}\n  output y = dequantize(w, s)"
    lowered = lower(with_data(model(text), s=np.full(scale, 0.5)))
    layers = [lowered.network.get_layer(i) for i in range(lowered.network.num_layers)]
    layer = next(layer for layer in layers if layer.type.name == "DEQUANTIZE")
    layer.__class__ = trt.IDequantizeLayer
    assert tuple(layer.get_input(1).shape) == wanted[0]
    assert layer.axis == wanted[1]


def test_a_model_of_int4_weights_builds_and_computes() -> None:
    text = """
      w = fc.weight: Parameter((1024, 1024), dtype = int4)
      s = fc.weight_scale: Parameter((1024, 8), dtype = float16)
      y = fc: Linear(1024)(x, weight = dequantize(w, s))
      output y
    """
    graph = with_data(model(text, "input x: float16[2, 1024]"))
    assert not verify(graph) and difference(graph, elaborate_text(show(graph))) is None
    lowered = lower(graph)
    inputs = random_inputs(graph)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)["y"]
    torch.testing.assert_close(found, run(graph, inputs)["y"], rtol=4e-3, atol=4e-3)
    # In float16 the weights alone would be 2 MiB.
    assert 512 * 1024 < len(build(lowered, CompileOptions(targets=("sm89",)))) < 800 * 1024


def test_a_scale_that_float16_cannot_hold_is_refused_when_lowered() -> None:
    text = "s = a.input_scale: Parameter(())\n  output y = quantize(x, s)"
    graph = with_data(model(text), a_input_scale=1e-6)
    assert lower(graph)
    with pytest.raises(DiagnosticError, match=r"`a\.input_scale` is .*subnormal in float16"):
        lower(convert_precision(DType.FLOAT16)(graph))


def test_a_scale_that_is_computed_to_be_0_is_refused() -> None:
    text = "s = a.input_scale: Parameter(())\n  zero = s - s\n  output y = quantize(x, zero)"
    graph = with_data(model(text), a_input_scale=0.5)
    with pytest.raises(DiagnosticError, match="the scale `zero` is 0"):
        lower(optimize(graph))


def test_bits_of_a_checkpoint_bind_as_they_are(tmp_path: Any) -> None:
    text = """
      w = fc.weight: Parameter((8, 64), dtype = float8_e4m3fn)
      s = fc.weight_scale: Parameter(())
      i = fc.codes: Parameter((8, 64), dtype = int8)
      output a = dequantize(w, s)
      output b = dequantize(i, s)
    """
    values = torch.arange(512.0).reshape(8, 64) / 4
    tensors = {
        "fc.weight": values.to(torch.float8_e4m3fn),
        "fc.weight_scale": torch.tensor(0.5),
        "fc.codes": values.to(torch.int8),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    bound = bind(model(text, ""), load_checkpoint(tmp_path / "m.safetensors")).graph
    found = run(bound, {})
    assert torch.equal(found["a"], tensors["fc.weight"].float() * 0.5)
    assert torch.equal(found["b"], tensors["fc.codes"].float() * 0.5)


# --- TensorRT 8.5 ------------------------------------------------------------------------------------------

CONV = """
  s = conv.input_scale: Parameter(())
  w = conv.weight: Parameter((4, 3, 3, 3), dtype = int8)
  ws = conv.weight_scale: Parameter(4)
  xd = x -> quantize(s) -> dequantize(s)
  y = conv: Conv2d(4, 3)(xd, weight = dequantize(w, ws, axis = 0))
  output y
"""


def test_on_8_5_constants_are_quantised_in_the_network() -> None:
    graph = with_data(model(CONV, "input x: float32[2, 3, 8, 8]"))
    dialect = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, dialect)
    calls = [use for use in dialect.uses if use.member in ("add_quantize", "add_dequantize")]
    assert {use.arguments for use in calls} == {("ITensor", "ITensor")}
    assert all(array.dtype == np.float32 for slots in lowered.weights.values() for array in slots.values())
    inputs = random_inputs(graph)
    found = evaluate(dialect.network, inputs, weights=lowered.weights)["y"]
    torch.testing.assert_close(found, run(graph, inputs)["y"], rtol=1e-5, atol=1e-5)
    assert "INT8" in dialect.flags_set(float16=False, int8=True)["flags"]
    assert "INT8" not in dialect.flags_set(float16=True)["flags"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("quantize(x, s, dtype = float8_e4m3fn)", "quantises to int8 only, not to float8_e4m3fn"),
        ("dequantize(w, s)", "in int8 only, not in float8_e4m3fn"),
    ],
)
def test_what_8_5_lacks(text: str, reason: str) -> None:
    graph = model(f"s = s: Parameter(())\n  w = w: Parameter(4, dtype = float8_e4m3fn)\n  output y = {text}")
    with pytest.raises(DiagnosticError, match=reason):
        lower(with_data(graph, s=0.5), RecordingDialect(facts("8.5.3")))


def test_weights_are_the_checkpoints_or_computed() -> None:
    graph = model(CONV, "input x: float32[2, 3, 8, 8]")
    conv = graph.nodes[-1]
    assert [isinstance(value, Weight) for value in conv.operands] == [False, False, True]
    assert conv.slots == ("input", "weight", "bias")
