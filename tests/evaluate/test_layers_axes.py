"""Reduce, softmax, top-k, cumulative, normalisation, matrix products: values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import EvaluationError

GRID = [[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]]


@pytest.mark.parametrize(
    ("operation", "rows", "whole"),
    [
        ("SUM", [6.0, 18.0], 24.0),
        ("PROD", [6.0, 180.0], 1080.0),
        ("MAX", [3.0, 9.0], 9.0),
        ("MIN", [1.0, 4.0], 1.0),
        ("AVG", [2.0, 6.0], 4.0),
    ],
)
def test_reduce(bench: Any, operation: str, rows: list[float], whole: float) -> None:
    x, op = bench.input(GRID), trt.ReduceOperation.__members__[operation]
    layers = [
        bench.net.add_reduce(x, op, 0b10, False),
        bench.net.add_reduce(x, op, 0b10, True),
        bench.net.add_reduce(x, op, 0b11, False),
    ]
    flat, kept, total = bench.evaluate(*layers)
    assert flat.tolist() == rows
    assert kept.tolist() == [[row] for row in rows]
    assert (total.shape, total.item()) == ((), whole)


def test_reduce_bit_i_is_dimension_i(bench: Any) -> None:
    layer = bench.net.add_reduce(bench.input(GRID), trt.ReduceOperation.SUM, 0b01, False)
    assert bench.value(layer).tolist() == [5.0, 7.0, 12.0]


@pytest.mark.parametrize(("operation", "want"), [("SUM", -7), ("MAX", 4), ("AVG", -2), ("PROD", 40)])
def test_reduce_of_integers(bench: Any, operation: str, want: int) -> None:
    x = bench.input(np.array([-10, -1, 4], np.int32))
    layer = bench.net.add_reduce(x, trt.ReduceOperation.__members__[operation], 1, False)
    assert bench.value(layer).item() == want


@pytest.mark.parametrize(
    ("operation", "want"), [("SUM", 0.0), ("PROD", 1.0), ("MAX", -math.inf), ("MIN", math.inf)]
)
def test_reduce_of_nothing(bench: Any, operation: str, want: float) -> None:
    x = bench.input(np.zeros((2, 0)), shape=(2, -1))
    layer = bench.net.add_reduce(x, trt.ReduceOperation.__members__[operation], 0b10, False)
    assert bench.value(layer).tolist() == [want, want]


def test_softmax(bench: Any) -> None:
    x = bench.input([[0.0, math.log(3.0)], [0.0, 0.0]])
    rows, columns = bench.net.add_softmax(x), bench.net.add_softmax(x)
    rows.axes, columns.axes = 0b10, 0b01
    want = torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([[0.5, 0.75], [0.5, 0.25]])
    torch.testing.assert_close(tuple(bench.evaluate(rows, columns)), want)


def test_softmax_default_axis_is_the_third_from_the_end(bench: Any) -> None:
    value = bench.value(bench.net.add_softmax(bench.input(np.zeros((2, 4, 1, 1)))))
    assert value.unique().tolist() == [0.25]


def test_ragged_softmax(bench: Any) -> None:
    x = bench.input([[[0.0, 0.0, 5.0], [0.0, math.log(3.0), 0.0], [1.0, 2.0, 3.0]]])
    layer = bench.net.add_ragged_softmax(x, bench.input(np.array([[[2], [2], [0]]], np.int32)))
    want = torch.tensor([[[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(bench.value(layer), want)


@pytest.mark.parametrize(
    ("operation", "values", "indices"),
    [("MAX", [[7, 5], [4, 4]], [[1, 3], [0, 2]]), ("MIN", [[1, 2], [0, 3]], [[0, 2], [1, 3]])],
)
def test_topk(bench: Any, operation: str, values: list[Any], indices: list[Any]) -> None:
    x = bench.input(np.array([[1, 7, 2, 5], [4, 0, 4, 3]], np.float32))
    layer = bench.net.add_topk(x, trt.TopKOperation.__members__[operation], 2, 0b10)
    found = bench.evaluate(layer.get_output(0), layer.get_output(1))
    assert [each.tolist() for each in found] == [values, indices]
    assert found[1].dtype == torch.int32


def test_topk_with_k_from_a_tensor_and_long_indices(bench: Any) -> None:
    layer = bench.net.add_topk(bench.input(GRID), trt.TopKOperation.MAX, 1, 0b01, trt.int64)
    layer.set_input(1, bench.constant(2, np.int32))
    values, indices = bench.evaluate(layer.get_output(0), layer.get_output(1))
    assert values.tolist() == [[4.0, 5.0, 9.0], [1.0, 2.0, 3.0]]
    assert (indices.dtype, indices.tolist()) == (torch.int64, [[1, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    ("exclusive", "reverse", "want"),
    [
        (False, False, [1.0, 3.0, 6.0]),
        (False, True, [6.0, 5.0, 3.0]),
        (True, False, [0.0, 1.0, 3.0]),
        (True, True, [5.0, 3.0, 0.0]),
    ],
)
def test_cumulative(bench: Any, exclusive: bool, reverse: bool, want: list[float]) -> None:
    axis = bench.constant(1, np.int32)
    layer = bench.net.add_cumulative(
        bench.input([[1.0, 2.0, 3.0]]), axis, trt.CumulativeOperation.SUM, exclusive, reverse
    )
    assert bench.value(layer).tolist() == [want]


def test_an_exclusive_sum_leaves_infinity_out(bench: Any) -> None:
    x = bench.input([[1.0, math.inf, 2.0]])
    layer = bench.net.add_cumulative(x, bench.constant(1, np.int32), trt.CumulativeOperation.SUM, True, False)
    assert bench.value(layer).tolist() == [[0.0, 1.0, math.inf]]


def _moments(values: list[float], epsilon: float) -> list[float]:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(variance + epsilon) for v in values]


@pytest.mark.parametrize("version", [1, 2])
def test_layer_normalization(bench: Any, version: int) -> None:
    add = bench.net.add_normalization if version == 1 else bench.net.add_normalization_v2
    layer = add(
        bench.input(GRID), bench.constant([[1.0, 2.0, 3.0]]), bench.constant([[0.0, 10.0, 100.0]]), 0b10
    )
    layer.epsilon = 0.5
    want = [
        [n * s + b for n, s, b in zip(_moments(row, 0.5), (1, 2, 3), (0, 10, 100), strict=True)]
        for row in GRID
    ]
    torch.testing.assert_close(bench.value(layer), torch.tensor(want))


def _channels(bench: Any) -> Any:
    """[1, 4, 1, 2] with channels (0, 1), (2, 6), (1, 1), (5, 9)."""
    return bench.input(np.array([0, 1, 2, 6, 1, 1, 5, 9], np.float32).reshape(1, 4, 1, 2))


@pytest.mark.parametrize("version", [1, 2])
def test_instance_normalization(bench: Any, version: int) -> None:
    add = bench.net.add_normalization if version == 1 else bench.net.add_normalization_v2
    scale, bias = (
        bench.constant(np.arange(1, 5).reshape(1, 4, 1, 1)),
        bench.constant(np.full((1, 4, 1, 1), 7.0)),
    )
    layer = add(_channels(bench), scale, bias, 0b1100)
    pairs = [(0, 1), (2, 6), (1, 1), (5, 9)]
    want = [n * (i + 1) + 7 for i, pair in enumerate(pairs) for n in _moments(list(pair), 1e-5)]
    torch.testing.assert_close(bench.value(layer).flatten(), torch.tensor(want))


@pytest.mark.parametrize("version", [1, 2])
def test_group_normalization(bench: Any, version: int) -> None:
    """Version 1 has a scale for each group, version 2 one for each channel."""
    count = 2 if version == 1 else 4
    add = bench.net.add_normalization if version == 1 else bench.net.add_normalization_v2
    factors = np.arange(1, count + 1)
    layer = add(
        _channels(bench),
        bench.constant(factors.reshape(1, count, 1, 1)),
        bench.constant(factors.reshape(1, count, 1, 1) * 10),
        0b1100,
    )
    layer.num_groups = 2
    normal = [*_moments([0, 1, 2, 6], 1e-5), *_moments([1, 1, 5, 9], 1e-5)]
    spread = np.repeat(factors, 8 // count)
    want = [n * f + 10 * f for n, f in zip(normal, spread.tolist(), strict=True)]
    torch.testing.assert_close(bench.value(layer).flatten(), torch.tensor(want))


def test_lrn_equals_torch(bench: Any) -> None:
    """torch, like ONNX, divides alpha by the window."""
    x = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 1, 2)
    layer = bench.net.add_lrn(bench.input(x), 3, 0.5, 0.75, 2.0)
    want = torch.nn.functional.local_response_norm(torch.from_numpy(x), 3, alpha=0.5, beta=0.75, k=2.0)
    torch.testing.assert_close(bench.value(layer), want)


A, B = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]
NONE, TRANSPOSE, VECTOR = (
    trt.MatrixOperation.NONE,
    trt.MatrixOperation.TRANSPOSE,
    trt.MatrixOperation.VECTOR,
)


@pytest.mark.parametrize(
    ("a", "op0", "b", "op1"),
    [(A, NONE, B, NONE), (A, NONE, np.transpose(B), TRANSPOSE), (np.transpose(A), TRANSPOSE, B, NONE)],
)
def test_matrix_multiply(bench: Any, a: Any, op0: Any, b: Any, op1: Any) -> None:
    layer = bench.net.add_matrix_multiply(bench.input(np.array(a)), op0, bench.input(np.array(b)), op1)
    assert bench.value(layer).tolist() == [[5, 50, 500], [11, 110, 1100], [17, 170, 1700]]


def test_matrix_times_vector(bench: Any) -> None:
    a, v, w = bench.input(A), bench.input([1.0, 10.0]), bench.input([1.0, 10.0, 100.0])
    layers = [
        bench.net.add_matrix_multiply(a, NONE, v, VECTOR),
        bench.net.add_matrix_multiply(w, VECTOR, a, NONE),
        bench.net.add_matrix_multiply(v, VECTOR, v, VECTOR),
    ]
    assert [v.tolist() for v in bench.evaluate(*layers)] == [[21.0, 43.0, 65.0], [531.0, 642.0], 101.0]


def test_matrix_multiply_broadcasts(bench: Any) -> None:
    a, b = bench.input([[[1.0, 2.0]], [[3.0, 4.0]]]), bench.input([[[1.0], [10.0]]])
    assert bench.value(bench.net.add_matrix_multiply(a, NONE, b, NONE)).tolist() == [[[21.0]], [[43.0]]]


@pytest.mark.parametrize(
    ("equation", "want"),
    [("ij,jk->ik", [[5, 50, 500], [11, 110, 1100], [17, 170, 1700]]), ("ij,jk->", [3663])],
)
def test_einsum(bench: Any, equation: str, want: list[Any]) -> None:
    layer = bench.net.add_einsum([bench.input(A), bench.input(B)], equation)
    assert bench.value(layer).tolist() == (want if equation.endswith("ik") else want[0])


def test_matrix_multiply_of_integers_is_refused_by_tensorrt(bench: Any) -> None:
    x = bench.input(np.ones((2, 2), np.int32))
    layer = bench.net.add_matrix_multiply(x, NONE, x, NONE)
    with pytest.raises(EvaluationError, match=r"\(MATRIX_MULTIPLY\): TensorRT cannot infer"):
        bench.value(layer)
