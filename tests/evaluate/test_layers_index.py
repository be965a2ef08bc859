"""Gather, scatter, non-zero and NMS: the examples of ONNX and values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
import torch

from trtdsl.evaluate import EvaluationError

trt: Any = tensorrt_rtx

GRID = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
DEFAULT, ELEMENT, ND = trt.GatherMode.DEFAULT, trt.GatherMode.ELEMENT, trt.GatherMode.ND


def _indices(bench: Any, values: Any) -> Any:
    return bench.input(np.array(values, np.int32))


@pytest.mark.parametrize(
    ("axis", "indices", "want"),
    [
        (0, [1, 0, 1], [GRID[1], GRID[0], GRID[1]]),
        (1, [2, 0], [[2, 0], [5, 3]]),
        (1, [[2], [0]], [[[2], [0]], [[5], [3]]]),
        (1, 1, [1, 4]),
        (1, [-1], [[2], [5]]),
        (1, [3], [[0], [0]]),
    ],
)
def test_gather_default(bench: Any, axis: int, indices: Any, want: Any) -> None:
    layer = bench.net.add_gather(bench.input(GRID), _indices(bench, indices), axis)
    assert bench.value(layer).tolist() == want


def test_gather_default_with_a_batch(bench: Any) -> None:
    data = bench.input(np.arange(12, dtype=np.float32).reshape(2, 3, 2))
    layer = bench.net.add_gather(data, _indices(bench, [[2, 0], [1, 1]]), 1)
    layer.num_elementwise_dims = 1
    assert bench.value(layer).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_gather_default_broadcasts_its_batch(bench: Any) -> None:
    data = bench.input(np.arange(3, dtype=np.float32).reshape(1, 3))
    layer = bench.net.add_gather(data, _indices(bench, [[2], [0]]), 1)
    layer.num_elementwise_dims = 1
    assert bench.value(layer).tolist() == [[2], [0]]


def test_gather_elements(bench: Any) -> None:
    layer = bench.net.add_gather_v2(bench.input(GRID), _indices(bench, [[0, 2, 1], [-1, 0, 9]]), ELEMENT)
    layer.axis = 1
    assert bench.value(layer).tolist() == [[0, 2, 1], [5, 3, 0]]


@pytest.mark.parametrize(
    ("batches", "indices", "want"),
    [(0, [[1, 2], [0, -1]], [5, 2]), (0, [[1], [0]], [GRID[1], GRID[0]]), (1, [[2], [0]], [2, 3])],
)
def test_gather_nd(bench: Any, batches: int, indices: Any, want: Any) -> None:
    layer = bench.net.add_gather_v2(bench.input(GRID), _indices(bench, indices), ND)
    layer.num_elementwise_dims = batches
    assert bench.value(layer).tolist() == want


def test_scatter_elements(bench: Any) -> None:
    layer = bench.net.add_scatter(
        bench.input(GRID),
        _indices(bench, [[2, 0], [1, -1]]),
        bench.input([[10.0, 20.0], [30.0, 40.0]]),
        trt.ScatterMode.ELEMENT,
    )
    layer.axis = 1
    assert bench.value(layer).tolist() == [[20, 1, 10], [3, 30, 40]]


def test_scatter_nd(bench: Any) -> None:
    data, rows = bench.input(GRID), bench.input([[7.0, 8.0, 9.0]])
    whole = bench.net.add_scatter(data, _indices(bench, [[1]]), rows, trt.ScatterMode.ND)
    single = bench.net.add_scatter(
        data, _indices(bench, [[0, 2], [1, 0]]), bench.input([7.0, 8.0]), trt.ScatterMode.ND
    )
    values = bench.evaluate(whole, single)
    assert [v.tolist() for v in values] == [[GRID[0], [7, 8, 9]], [[0, 1, 7], [8, 4, 5]]]


@pytest.mark.parametrize(
    ("indices", "why"),
    [([[0, 0], [0, 0]], "two updates of one element"), ([[0, 5], [1, 1]], "an index outside")],
)
def test_undefined_scatter_is_refused(bench: Any, indices: Any, why: str) -> None:
    layer = bench.net.add_scatter(
        bench.input(GRID), _indices(bench, indices), bench.input([7.0, 8.0]), trt.ScatterMode.ND
    )
    with pytest.raises(EvaluationError, match=why):
        bench.value(layer)


@pytest.mark.parametrize("mode", ["ND", "ELEMENT"])
@pytest.mark.parametrize("value", [7.0, math.nan])
def test_the_same_number_is_written_twice(bench: Any, mode: str, value: float) -> None:
    indices = [[0, 0], [0, 0]] if mode == "ND" else [[0, 0]]
    updates = [value, value] if mode == "ND" else [[value, value]]
    layer = bench.net.add_scatter(
        bench.input(GRID), _indices(bench, indices), bench.input(updates), getattr(trt.ScatterMode, mode)
    )
    if mode == "ELEMENT":
        layer.axis = 1
    found = bench.value(layer).flatten().tolist()
    assert found[0] == value or (math.isnan(found[0]) and math.isnan(value))
    assert found[1:] == [x for row in GRID for x in row][1:]


@pytest.mark.parametrize("dtype", [trt.int32, trt.int64])
def test_non_zero(bench: Any, dtype: Any) -> None:
    layer = bench.net.add_non_zero(bench.input([[0.0, 5.0], [7.0, 0.0]]), dtype)
    assert bench.value(layer).tolist() == [[0, 1], [1, 0]]


# Boxes 0 and 1 overlap by a half of their union's 3 (IoU 1/3); 2 lies apart.
BOXES = [[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0], [5.0, 5.0, 6.0, 6.0]]


def _nms(bench: Any, iou: float, score: float, limit: int = 10, boxes: Any = None) -> Any:
    scores = bench.input([[[0.5, 0.0], [0.75, 0.25], [0.125, 1.0]]])
    layer = bench.net.add_nms(bench.input([boxes or BOXES]), scores, bench.constant(limit, np.int32))
    layer.set_input(3, bench.constant(iou))
    layer.set_input(4, bench.constant(score))
    return layer


@pytest.mark.parametrize(
    ("iou", "score", "limit", "want"),
    [
        (0.25, 0.2, 10, [[0, 1, 2], [0, 0, 1], [0, 1, 1]]),
        (0.5, 0.2, 10, [[0, 1, 2], [0, 0, 1], [0, 0, 0], [0, 1, 1]]),
        (0.5, 0.5, 10, [[0, 1, 2], [0, 0, 1]]),
        (0.5, 0.2, 1, [[0, 1, 2], [0, 0, 1]]),
    ],
)
def test_nms(bench: Any, iou: float, score: float, limit: int, want: list[Any]) -> None:
    layer = _nms(bench, iou, score, limit)
    rows, count = bench.evaluate(layer.get_output(0), layer.get_output(1))
    assert (rows.tolist(), count.item(), rows.dtype) == (want, len(want), torch.int32)


def test_nms_of_centre_boxes_and_a_limit_of_candidates(bench: Any) -> None:
    centres = [[1.0, 0.5, 2.0, 1.0], [2.0, 0.5, 2.0, 1.0], [5.5, 5.5, 1.0, 1.0]]
    layer = _nms(bench, 0.25, 0.1, boxes=centres)
    layer.bounding_box_format = trt.BoundingBoxFormat.CENTER_SIZES
    layer.topk_box_limit = 2
    assert bench.value(layer).tolist() == [[0, 1, 2], [0, 0, 1]]
