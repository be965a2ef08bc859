"""Quantise, dequantise and dynamic quantise: per tensor, channel and block, in every type."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import EvaluationError


def test_int8_rounds_ties_to_even_and_clamps(bench: Any) -> None:
    x = bench.input([0.25, 0.75, 1.25, -0.75, 1000.0, -1000.0])
    layer = bench.net.add_quantize(x, bench.constant(0.5), trt.int8)
    value = bench.value(layer)
    # 0.5, 1.5, 2.5, -1.5 to even neighbours.
    assert (value.dtype, value.tolist()) == (torch.int8, [0, 2, 2, -2, 127, -128])


def test_int8_round_trip_keeps_the_output_type(bench: Any) -> None:
    x = bench.input(torch.tensor([1.0, 2.7], dtype=torch.float16))
    scale = bench.constant(0.5, np.float16)
    quantised = bench.net.add_quantize(x, scale, trt.int8).get_output(0)
    value = bench.value(bench.net.add_dequantize(quantised, scale, trt.float16))
    assert (value.dtype, value.tolist()) == (torch.float16, [1.0, 2.5])


@pytest.mark.parametrize(("axis", "want"), [(0, [[1, 2], [2, 4]]), (1, [[1, 4], [2, 6]])])
def test_dequantise_by_channel(bench: Any, axis: int, want: list[Any]) -> None:
    """Scales 1 and 2 along an axis."""
    codes = np.array([[1, 2], [1, 2]] if axis == 0 else [[1, 2], [2, 3]], np.int8)
    constant = bench.net.add_constant((2, 2), trt.Weights(codes)).get_output(0)
    layer = bench.net.add_dequantize(constant, bench.constant([1.0, 2.0]), trt.float32)
    layer.axis = axis
    assert bench.value(layer).tolist() == want


def test_quantise_by_channel(bench: Any) -> None:
    layer = bench.net.add_quantize(
        bench.constant([[1.0, 2.0], [1.0, 2.0]]), bench.constant([1.0, 0.5]), trt.int8
    )
    layer.axis = 0
    assert bench.value(layer).tolist() == [[1, 2], [2, 4]]


def test_fp8(bench: Any) -> None:
    """E4M3 has three mantissa bits: 17 and 19 lie between 16, 18 and 20; beyond 448 it saturates."""
    points = [17.0, 19.0, 0.3, 1000.0, -1000.0]
    layer = bench.net.add_quantize(bench.input(points), bench.constant(1.0), trt.fp8)
    want = np.clip(points, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert want.tolist()[:2] == [16, 20]
    assert bench.value(layer).tolist() == want.tolist()


def test_fp4_constant_and_scales_by_block(bench: Any) -> None:
    """Codes 0..15 in blocks of 16 along the last axis."""
    packed = np.array([low | (low + 1) << 4 for low in range(0, 16, 2)] * 2, np.uint8)
    constant = bench.net.add_constant((2, 16), trt.Weights(trt.fp4, packed.ctypes.data, 32))
    constant.name = "codes"
    layer = bench.net.add_dequantize(constant.get_output(0), bench.constant([[1.0], [10.0]]), trt.float32)
    layer.axis = 1
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    row = np.concatenate([values, -values])
    found = bench.value(layer, weights={"codes": {"weights": packed}})
    np.testing.assert_array_equal(found.numpy(), np.stack([row, row * 10]))


@pytest.mark.parametrize("given", ["packed", "values"])
def test_int4_weights_by_block(bench: Any, given: str) -> None:
    """Blocks of 32 along axis 0; codes are two a byte, low half first, in two's complement."""
    codes = np.tile(np.arange(-8, 8), 4).reshape(64, 1).astype(np.int8)
    halves = codes.reshape(-1, 2) & 15
    packed = (halves[:, 0] | halves[:, 1] << 4).astype(np.uint8)
    constant = bench.net.add_constant((64, 1), trt.Weights(trt.int4, packed.ctypes.data, 64))
    constant.name = "codes"
    layer = bench.net.add_dequantize(constant.get_output(0), bench.constant([[0.5], [2.0]]), trt.float32)
    layer.axis = 0
    array = packed if given == "packed" else codes.astype(ml_dtypes.int4)
    found = bench.value(layer, weights={"codes": {"weights": array}})
    np.testing.assert_array_equal(found.numpy(), codes * np.repeat([[0.5], [2.0]], 32, axis=0))


def test_weights_of_the_wrong_size_are_refused(bench: Any) -> None:
    packed = np.zeros(32, np.uint8)
    constant = bench.net.add_constant((64, 1), trt.Weights(trt.int4, packed.ctypes.data, 64))
    constant.name = "codes"
    layer = bench.net.add_dequantize(constant.get_output(0), bench.constant([[0.5], [2.0]]), trt.float32)
    with pytest.raises(EvaluationError, match="`weights` has 64 INT4 values, the given array has 8"):
        bench.value(layer, weights={"codes": {"weights": packed[:4]}})


def test_nvfp4(bench: Any) -> None:
    """Blocks of 16: scale FP8(amax / 6 / g), data FP4(x / (scale * g)); here g = 0.5 and amax 12 and 0."""
    x = np.zeros((1, 32), np.float32)
    x[0, :4] = [12, -5, 2.4, 0.4]
    layer = bench.net.add_dynamic_quantize(bench.input(x), 1, 16, trt.fp4, trt.fp8)
    layer.set_input(1, bench.constant(0.5))
    data, scale = bench.evaluate(layer.get_output(0), layer.get_output(1))
    assert scale.tolist() == [[4.0, 0.0]]
    # 12, -5, 2.4 and 0.4 over 2: 6, -2.5 (a tie, to the even -2), 1.2, 0.2.
    assert data[0, :4].tolist() == [6.0, -2.0, 1.0, 0.0]
    assert data[0, 4:].unique().tolist() == [0.0]


def test_fp8_in_two_dimensional_blocks(bench: Any) -> None:
    x = np.zeros((64, 64), np.float32)
    x[0, 0], x[40, 40] = 448, -896
    layer = bench.net.add_dynamic_quantize_v2(bench.input(x), (32, 32), trt.fp8, trt.float32)
    data, scale = bench.evaluate(layer.get_output(0), layer.get_output(1))
    assert scale.tolist() == [[1, 0], [0, 2]]
    assert (data[0, 0].item(), data[40, 40].item()) == (448, -448)


def test_mxfp8_is_refused(bench: Any) -> None:
    layer = bench.net.add_dynamic_quantize(bench.input(np.ones((1, 32))), 1, 32, trt.fp8, trt.DataType.E8M0)
    with pytest.raises(EvaluationError, match=r"DYNAMIC_QUANTIZE.*MXFP8"):
        bench.value(layer)


FP4_ROUNDINGS = [
    (0.25, 0.0),
    (0.75, 1.0),
    (1.25, 1.0),
    (1.75, 2.0),
    (2.5, 2.0),
    (3.5, 4.0),
    (5.0, 4.0),
    (-5.1, -6.0),
]


@pytest.mark.parametrize(("value", "want"), FP4_ROUNDINGS)
def test_fp4_rounds_ties_to_even(bench: Any, value: float, want: float) -> None:
    """In a block whose largest value is 6, so that its scale is 1; ml_dtypes agrees."""
    x = np.zeros((1, 16), np.float32)
    x[0, :2] = 6, value
    layer = bench.net.add_dynamic_quantize(bench.input(x), 1, 16, trt.fp4, trt.fp8)
    layer.set_input(1, bench.constant(1.0))
    assert bench.value(layer)[0, :2].tolist() == [6.0, want]
    assert float(np.float32(value).astype(ml_dtypes.float4_e2m1fn)) == want
