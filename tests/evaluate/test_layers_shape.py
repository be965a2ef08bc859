"""Constant, shuffle, slice, concatenation, padding, fill, one-hot and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import EvaluationError

GRID = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, np.int64, np.bool_])
def test_constant(bench: Any, dtype: Any) -> None:
    array = np.array([[0, 1], [1, 0]], dtype)
    layer = bench.net.add_constant((2, 2), trt.Weights(array))
    value = bench.value(layer)
    assert (value.numpy().dtype, value.tolist()) == (array.dtype, array.tolist())


def test_constant_may_be_a_scalar(bench: Any) -> None:
    assert (bench.value(bench.constant(3.0)).shape, bench.value(bench.constant(3.0)).item()) == ((), 3.0)


def test_weights_are_copied(bench: Any) -> None:
    """The value must not be a view of the array that the network was made with."""
    array = np.array([1.0], np.float32)
    layer = bench.net.add_constant((1,), trt.Weights(array))
    value = bench.value(layer)
    array[0] = 2
    assert value.tolist() == [1.0]


def test_shuffle_transposes_reshapes_transposes(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input(GRID))
    layer.first_transpose, layer.reshape_dims, layer.second_transpose = (1, 0), (1, 2, 3), (2, 0, 1)
    # transposed: 0 3 1 4 2 5, as [1, 2, 3]: (0 3 1) (4 2 5)
    assert bench.value(layer).tolist() == [[[0.0, 4.0]], [[3.0, 2.0]], [[1.0, 5.0]]]


@pytest.mark.parametrize(
    ("dims", "want"), [((0, -1, 1), (2, 3, 1)), ((-1,), (6,)), ((0, 0), (2, 3)), ((3, -1), (3, 2))]
)
def test_shuffle_placeholders(bench: Any, dims: tuple[int, ...], want: tuple[int, ...]) -> None:
    layer = bench.net.add_shuffle(bench.input(GRID))
    layer.reshape_dims = dims
    assert tuple(bench.value(layer).shape) == want


def test_shuffle_zero_copies_after_the_first_transpose(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input(GRID))
    layer.first_transpose, layer.reshape_dims = (1, 0), (0, -1, 1)
    assert tuple(bench.value(layer).shape) == (3, 2, 1)


def test_shuffle_zero_may_mean_zero(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input(np.zeros((0, 3)), shape=(-1, 3)))
    layer.zero_is_placeholder, layer.reshape_dims = False, (3, 0)
    assert tuple(bench.value(layer).shape) == (3, 0)


def test_shuffle_to_a_scalar(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input([7.0]))
    layer.reshape_dims = ()
    assert (bench.value(layer).shape, bench.value(layer).item()) == ((), 7.0)


def test_shuffle_with_dimensions_from_a_tensor(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input(GRID))
    layer.set_input(1, bench.constant([-1, 2], np.int64))
    assert bench.value(layer).tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_shuffle_of_a_wrong_volume_is_refused(bench: Any) -> None:
    layer = bench.net.add_shuffle(bench.input(GRID, shape=(-1, 3)))
    layer.reshape_dims = (4, -1)
    with pytest.raises(EvaluationError, match=r"SHUFFLE.*reshape of \(2, 3\) to \[4, -1\]"):
        bench.value(layer)


def test_slice_of_the_documentation(bench: Any) -> None:
    x = bench.input([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]])
    assert bench.value(bench.net.add_slice(x, (1, 0), (1, 2), (1, 2))).tolist() == [[1.0, 5.0]]


def test_slice_of_some_axes(bench: Any) -> None:
    layer = bench.net.add_slice(bench.input([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]), (1,), (2,), (1,))
    layer.axes = (1,)
    assert bench.value(layer).tolist() == [[2.0, 4.0], [3.0, 5.0]]


ROW = [10.0, 11.0, 12.0]


@pytest.mark.parametrize(
    ("mode", "start", "size", "stride", "want"),
    [
        ("STRICT_BOUNDS", 2, 3, -1, [12, 11, 10]),
        ("STRICT_BOUNDS", 1, 4, 0, [11, 11, 11, 11]),
        ("WRAP", -2, 6, 1, [11, 12, 10, 11, 12, 10]),
        ("WRAP", 0, 4, -2, [10, 11, 12, 10]),
        ("CLAMP", -2, 6, 1, [10, 10, 10, 11, 12, 12]),
        ("FILL", -2, 6, 1, [0, 0, 10, 11, 12, 0]),
        ("REFLECT", -3, 9, 1, [11, 12, 11, 10, 11, 12, 11, 10, 11]),
    ],
)
def test_slice_modes(bench: Any, mode: str, start: int, size: int, stride: int, want: list[float]) -> None:
    # Start and stride come as tensors: TensorRT refuses a static stride of 0.
    layer = bench.net.add_slice(bench.input(ROW), (0,), (size,), (1,))
    layer.set_input(1, bench.constant([start], np.int32))
    layer.set_input(3, bench.constant([stride], np.int32))
    layer.mode = trt.SampleMode.__members__[mode]
    assert bench.value(layer).tolist() == want


def test_slice_reflects_a_single_element_onto_itself(bench: Any) -> None:
    layer = bench.net.add_slice(bench.input([5.0]), (-2,), (4,), (1,))
    layer.mode = trt.SampleMode.REFLECT
    assert bench.value(layer).tolist() == [5.0] * 4


def test_slice_fills_with_its_fifth_input_in_every_dimension(bench: Any) -> None:
    layer = bench.net.add_slice(bench.input(GRID), (-1, 1), (3, 3), (1, 1))
    layer.mode = trt.SampleMode.FILL
    layer.set_input(4, bench.constant(-7.0))
    assert bench.value(layer).tolist() == [[-7, -7, -7], [1, 2, -7], [4, 5, -7]]


def test_slice_outside_is_refused(bench: Any) -> None:
    layer = bench.net.add_slice(bench.input(ROW, shape=(-1,)), (1,), (3,), (1,))
    with pytest.raises(EvaluationError, match=r"SLICE.*STRICT_BOUNDS: elements \[1, 2, 3\] of 3"):
        bench.value(layer)


def test_slice_with_a_size_from_a_shape(bench: Any) -> None:
    """out = x[1 : length - 1], the length being dynamic."""
    x = bench.input(np.arange(6), shape=(-1,))
    length = bench.net.add_shape(x).get_output(0)
    two = bench.constant([2], np.int64)
    size = bench.net.add_elementwise(length, two, trt.ElementWiseOperation.SUB).get_output(0)
    layer = bench.net.add_slice(x, (1,), (0,), (1,))
    layer.set_input(2, size)
    assert bench.value(layer).tolist() == [1, 2, 3, 4]


def test_concatenation_axis(bench: Any) -> None:
    x = bench.input(GRID)
    rows, columns = bench.net.add_concatenation([x, x]), bench.net.add_concatenation([x, x])
    columns.axis = 1
    values = bench.evaluate(rows, columns)
    assert [v.tolist() for v in values] == [GRID + GRID, [row + row for row in GRID]]


def test_concatenation_default_axis_is_the_third_from_the_end(bench: Any) -> None:
    x = bench.input(np.zeros((2, 3, 4, 5)))
    assert tuple(bench.value(bench.net.add_concatenation([x, x])).shape) == (2, 6, 4, 5)


def test_shape_is_of_64_bit_integers(bench: Any) -> None:
    value = bench.value(bench.net.add_shape(bench.input(GRID, shape=(-1, 3))))
    assert (value.dtype, value.tolist()) == (torch.int64, [2, 3])


def test_squeeze_and_unsqueeze(bench: Any) -> None:
    x = bench.input(np.zeros((1, 2, 1, 3)))
    layers = [
        bench.net.add_squeeze(x, bench.constant([0, -2], np.int32)),
        bench.net.add_squeeze(x, bench.constant([2], np.int64)),
        bench.net.add_unsqueeze(x, bench.constant([0, -1], np.int32)),
        bench.net.add_unsqueeze(x, bench.constant([4, 1], np.int32)),
    ]
    shapes = [tuple(value.shape) for value in bench.evaluate(*layers)]
    assert shapes == [(2, 3), (1, 2, 3), (1, 1, 2, 1, 3, 1), (1, 1, 2, 1, 1, 3)]


def test_squeeze_without_axes(bench: Any) -> None:
    assert tuple(bench.value(bench.net.add_squeeze(bench.input(np.zeros((1, 2, 1, 3))))).shape) == (2, 3)


def test_padding_may_be_negative(bench: Any) -> None:
    x = bench.input(np.array(GRID).reshape(1, 1, 2, 3))
    layer = bench.net.add_padding_nd(x, (1, -1), (0, 1))
    assert bench.value(layer)[0, 0].tolist() == [[0, 0, 0], [1, 2, 0], [4, 5, 0]]


def test_fill_static(bench: Any) -> None:
    layer = bench.net.add_fill((4,), trt.FillOperation.LINSPACE, trt.float32)
    layer.alpha, layer.beta = 1.0, 0.5
    assert bench.value(layer).tolist() == [1.0, 1.5, 2.0, 2.5]


def test_fill_of_the_documentation(bench: Any) -> None:
    layer = bench.net.add_fill((0, 0), trt.FillOperation.LINSPACE, trt.int32)
    layer.set_input(0, bench.constant([3, 4], np.int32))
    layer.set_input(1, bench.constant(1, np.int32))
    layer.set_input(2, bench.constant([100, 10], np.int32))
    want = [[1, 11, 21, 31], [101, 111, 121, 131], [201, 211, 221, 231]]
    value = bench.value(layer)
    assert (value.dtype, value.tolist()) == (torch.int32, want)


def test_random_fill_is_refused(bench: Any) -> None:
    layer = bench.net.add_fill((4,), trt.FillOperation.RANDOM_UNIFORM, trt.float32)
    with pytest.raises(EvaluationError, match=r"FILL.*RANDOM_UNIFORM draws random numbers"):
        bench.value(layer)


@pytest.mark.parametrize(
    ("axis", "want"),
    [(-1, [[9, 5, 5], [5, 5, 9]]), (0, [[9, 5], [5, 5], [5, 9]]), (1, [[9, 5, 5], [5, 5, 9]])],
)
def test_one_hot(bench: Any, axis: int, want: list[Any]) -> None:
    depth = bench.constant(3, np.int32)
    indices = bench.input(np.array([0, 2], np.int32))
    layer = bench.net.add_one_hot(indices, bench.input([5.0, 9.0]), depth, axis)
    assert bench.value(layer).tolist() == want


def test_reverse_sequence(bench: Any) -> None:
    lengths = bench.input(np.array([1, 2, 3], np.int32))
    columns = np.arange(9).reshape(3, 3)
    default = bench.net.add_reverse_sequence(bench.input(columns.astype(np.float32)), lengths)
    rows = bench.net.add_reverse_sequence(bench.input(columns.astype(np.float32)), lengths)
    rows.batch_axis, rows.sequence_axis = 0, 1
    values = bench.evaluate(default, rows)
    assert values[0].tolist() == [[0, 4, 8], [3, 1, 5], [6, 7, 2]]
    assert values[1].tolist() == [[0, 1, 2], [4, 3, 5], [8, 7, 6]]
