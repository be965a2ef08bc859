"""Convolution, deconvolution and pooling against sums written out, for every padding mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import EvaluationError

UP, DOWN = trt.PaddingMode.EXPLICIT_ROUND_UP, trt.PaddingMode.EXPLICIT_ROUND_DOWN
UPPER, LOWER = trt.PaddingMode.SAME_UPPER, trt.PaddingMode.SAME_LOWER


def _row(bench: Any, *values: float) -> Any:
    """An image one pixel high."""
    return bench.input(np.array(values, np.float32).reshape(1, 1, 1, -1))


def _convolve(bench: Any, x: Any, kernel: list[float], stride: int = 1, bias: float | None = None) -> Any:
    weights = np.array(kernel, np.float32)
    offset = trt.Weights() if bias is None else trt.Weights(np.array([bias], np.float32))
    layer = bench.net.add_convolution_nd(x, 1, (1, len(kernel)), trt.Weights(weights), offset)
    layer.stride_nd = (1, stride)
    return layer


def test_convolution_is_a_correlation_with_bias(bench: Any) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4), [1, 10], bias=0.5)
    assert bench.value(layer).flatten().tolist() == [21.5, 32.5, 43.5]


def test_convolution_padding_is_asymmetric(bench: Any) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4), [1, 10])
    layer.pre_padding, layer.post_padding = (0, 1), (0, 2)
    assert bench.value(layer).flatten().tolist() == [10, 21, 32, 43, 4, 0]


# Five pixels, a kernel of two, stride three: windows at 0 and 3 with rounding down, at 6 too with a
# padding of three behind; rounding up adds a window that reaches beyond the padding.
@pytest.mark.parametrize(
    ("mode", "after", "want"),
    [
        (DOWN, 0, [21, 54]),
        (DOWN, 2, [21, 54]),
        (DOWN, 3, [21, 54, 0]),
        (UP, 0, [21, 54]),
        (UP, 1, [21, 54, 0]),
    ],
)
def test_convolution_rounding(bench: Any, mode: Any, after: int, want: list[float]) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4, 5), [1, 10], stride=3)
    layer.post_padding, layer.padding_mode = (0, after), mode
    assert bench.value(layer).flatten().tolist() == want


# NvInfer.h: P = (I - 1) // S * S + K - I, here 4 // 2 * 2 + 4 - 5 = 3; the smaller half comes first in
# SAME_UPPER (1, 2), last in SAME_LOWER (2, 1).
@pytest.mark.parametrize(("mode", "want"), [(UPPER, [6, 14, 9]), (LOWER, [3, 10, 12])])
def test_convolution_same(bench: Any, mode: Any, want: list[float]) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4, 5), [1, 1, 1, 1], stride=2)
    layer.padding_mode = mode
    assert bench.value(layer).flatten().tolist() == want


def test_convolution_same_with_gaps_is_refused(bench: Any) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4, 5, 6), [1], stride=3)
    layer.padding_mode = UPPER
    with pytest.raises(EvaluationError, match="SAME_UPPER with a window smaller than its stride"):
        bench.value(layer)


def test_convolution_dilation(bench: Any) -> None:
    layer = _convolve(bench, _row(bench, 1, 2, 3, 4, 5), [1, 10])
    layer.dilation_nd = (1, 3)
    assert bench.value(layer).flatten().tolist() == [41, 52]


def test_convolution_groups(bench: Any) -> None:
    x = bench.input(np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1))
    kernel = np.array([[1, 10], [100, 1000]], np.float32)
    layer = bench.net.add_convolution_nd(x, 2, (1, 1), trt.Weights(kernel))
    layer.num_groups = 2
    assert bench.value(layer).flatten().tolist() == [21, 4300]


def test_convolution_in_three_dimensions(bench: Any) -> None:
    x = bench.input(np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2))
    kernel = np.array([1, 0, 0, 0, 0, 0, 0, 10], np.float32)
    assert bench.value(bench.net.add_convolution_nd(x, 1, (2, 2, 2), trt.Weights(kernel))).item() == 70


def test_convolution_with_kernel_and_bias_tensors(bench: Any) -> None:
    layer = bench.net.add_convolution_nd(_row(bench, 1, 2, 3), 1, (1, 2), trt.Weights())
    layer.set_input(1, bench.constant([[[[1.0, 10.0]]]]))
    layer.set_input(2, bench.constant([0.5]))
    assert bench.value(layer).flatten().tolist() == [21.5, 32.5]


def test_convolution_of_halves_rounds_its_result_once(bench: Any) -> None:
    # 2048 + 1 + 1: summed in half precision the ones would vanish.
    x = bench.input(torch.tensor([2048.0, 1, 1], dtype=torch.float16).reshape(1, 1, 1, 3))
    layer = bench.net.add_convolution_nd(
        x, 1, (1, 3), trt.Weights(np.ones(3, np.float16)), trt.Weights(trt.float16)
    )
    assert bench.value(layer).item() == 2050


def _deconvolve(bench: Any, x: Any, kernel: list[float], stride: int = 1) -> Any:
    layer = bench.net.add_deconvolution_nd(x, 1, (1, len(kernel)), trt.Weights(np.array(kernel, np.float32)))
    layer.stride_nd = (1, stride)
    return layer


def test_deconvolution_adds_the_kernel_at_each_pixel(bench: Any) -> None:
    layer = _deconvolve(bench, _row(bench, 1, 2), [1, 10, 100], stride=2)
    assert bench.value(layer).flatten().tolist() == [1, 10, 102, 20, 200]


def test_deconvolution_padding_trims(bench: Any) -> None:
    layer = _deconvolve(bench, _row(bench, 1, 2), [1, 10, 100], stride=2)
    layer.pre_padding, layer.post_padding = (0, 1), (0, 2)
    assert bench.value(layer).flatten().tolist() == [10, 102]


# NvInfer.h: P = max(K - S, 0) = 1, O = min(I * S, (I - 1) * S + K) = 4.
@pytest.mark.parametrize(("mode", "want"), [(UPPER, [1, 10, 102, 20]), (LOWER, [10, 102, 20, 200])])
def test_deconvolution_same(bench: Any, mode: Any, want: list[float]) -> None:
    layer = _deconvolve(bench, _row(bench, 1, 2), [1, 10, 100], stride=2)
    layer.padding_mode = mode
    assert bench.value(layer).flatten().tolist() == want


def test_deconvolution_dilation(bench: Any) -> None:
    layer = _deconvolve(bench, _row(bench, 1, 2), [1, 10])
    layer.dilation_nd = (1, 2)
    assert bench.value(layer).flatten().tolist() == [1, 2, 10, 20]


def test_deconvolution_groups_and_bias(bench: Any) -> None:
    x = bench.input(np.array([1, 2], np.float32).reshape(1, 2, 1, 1))
    kernel = np.array([[1, 10], [100, 1000]], np.float32)  # [C, K / groups]
    layer = bench.net.add_deconvolution_nd(
        x, 4, (1, 1), trt.Weights(kernel), trt.Weights(np.ones(4, np.float32))
    )
    layer.num_groups = 2
    assert bench.value(layer).flatten().tolist() == [2, 11, 201, 2001]


def test_deconvolution_kernel_layout_is_input_channels_first(bench: Any) -> None:
    x = bench.input(np.array([1, 2], np.float32).reshape(1, 2, 1, 1))
    kernel = np.array([[1, 10, 100], [3, 30, 300]], np.float32)
    layer = bench.net.add_deconvolution_nd(x, 3, (1, 1), trt.Weights(kernel))
    assert bench.value(layer).flatten().tolist() == [7, 70, 700]


def _pool(bench: Any, kind: Any, *values: float, size: int = 2, stride: int = 2) -> Any:
    layer = bench.net.add_pooling_nd(_row(bench, *values), kind, (1, size))
    layer.stride_nd = (1, stride)
    return layer


def test_max_pooling_pads_with_minus_infinity(bench: Any) -> None:
    layer = _pool(bench, trt.PoolingType.MAX, -1, -2, -3)
    layer.padding_nd = (0, 1)
    assert bench.value(layer).flatten().tolist() == [-1, -2]


@pytest.mark.parametrize(("mode", "want"), [(DOWN, [2, 4]), (UP, [2, 4, 5])])
def test_max_pooling_rounding(bench: Any, mode: Any, want: list[float]) -> None:
    layer = _pool(bench, trt.PoolingType.MAX, 1, 2, 3, 4, 5)
    layer.padding_mode = mode
    assert bench.value(layer).flatten().tolist() == want


@pytest.mark.parametrize(("mode", "want"), [(UPPER, [2, 4, 5]), (LOWER, [1, 3, 5])])
def test_max_pooling_same(bench: Any, mode: Any, want: list[float]) -> None:
    layer = _pool(bench, trt.PoolingType.MAX, 1, 2, 3, 4, 5)
    layer.padding_mode = mode
    assert bench.value(layer).flatten().tolist() == want


# Padding 1 on both sides of 3 pixels, windows of 2 with stride 2: (pad, 3), (6, 9), and rounded up (pad).
@pytest.mark.parametrize(("excludes", "want"), [(True, [3, 7.5]), (False, [1.5, 7.5])])
def test_average_pooling_counts(bench: Any, excludes: bool, want: list[float]) -> None:
    layer = _pool(bench, trt.PoolingType.AVERAGE, 3, 6, 9)
    layer.padding_nd = (0, 1)
    layer.average_count_excludes_padding = excludes
    assert bench.value(layer).flatten().tolist() == want


def test_average_pooling_excludes_padding_by_default(bench: Any) -> None:
    layer = _pool(bench, trt.PoolingType.AVERAGE, 3, 6, 9)
    layer.padding_nd = (0, 1)
    assert bench.value(layer).flatten().tolist() == [3, 7.5]


@pytest.mark.parametrize("excludes", [True, False])
def test_average_pooling_rounded_up_never_counts_beyond_the_padding(bench: Any, excludes: bool) -> None:
    layer = _pool(bench, trt.PoolingType.AVERAGE, 1, 2, 3, 4, 5)
    layer.padding_mode = UP
    layer.average_count_excludes_padding = excludes
    assert bench.value(layer).flatten().tolist() == [1.5, 3.5, 5]


def test_average_of_padding_alone_is_refused(bench: Any) -> None:
    """TensorRT refuses such a window itself where it knows the lengths and counts pixels only."""
    x = bench.input(np.array([3, 6, 9], np.float32).reshape(1, 1, 1, 3))
    layer = bench.net.add_pooling_nd(x, trt.PoolingType.AVERAGE, (1, 2))
    layer.stride_nd, layer.padding_mode, layer.average_count_excludes_padding = (1, 3), UP, False
    with pytest.raises(EvaluationError, match="padding alone"):
        bench.value(layer)


def test_blended_pooling(bench: Any) -> None:
    layer = _pool(bench, trt.PoolingType.MAX_AVERAGE_BLEND, 1, 3, 5, 9)
    layer.blend_factor = 0.25
    assert bench.value(layer).flatten().tolist() == [0.75 * 3 + 0.25 * 2, 0.75 * 9 + 0.25 * 7]


def test_pooling_in_three_dimensions(bench: Any) -> None:
    x = bench.input(np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2))
    layers = [
        bench.net.add_pooling_nd(x, kind, (2, 2, 2))
        for kind in (trt.PoolingType.MAX, trt.PoolingType.AVERAGE)
    ]
    assert [value.item() for value in bench.evaluate(*layers)] == [7, 3.5]


def test_a_convolution_of_bfloat16_needs_its_weights_from_outside(bench: Any) -> None:
    x = bench.input(torch.tensor([1.0, 2, 3], dtype=torch.bfloat16).reshape(1, 1, 1, 3))
    raw = np.array([0x3F80, 0x4120], np.uint16)  # 1 and 10
    kernel = trt.Weights(trt.bfloat16, raw.ctypes.data, 2)
    layer = bench.net.add_convolution_nd(x, 1, (1, 2), kernel, trt.Weights(trt.bfloat16, 0, 0))
    layer.name = "stem"
    with pytest.raises(EvaluationError, match=r"`stem`.*BF16 `kernel` cannot be read back"):
        bench.value(layer)
    for given in (raw, np.array([1, 10], np.float32), torch.tensor([1, 10], dtype=torch.bfloat16)):
        value = bench.value(layer, weights={"stem": {"kernel": given}})
        assert (value.dtype, value.flatten().tolist()) == (torch.bfloat16, [21, 32])
