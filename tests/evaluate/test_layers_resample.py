"""Resize and grid sample: every mode on a row, from the formulas of the coordinate transformations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

NEAREST, LINEAR, CUBIC = (
    trt.InterpolationMode.NEAREST,
    trt.InterpolationMode.LINEAR,
    trt.InterpolationMode.CUBIC,
)


def _resize(bench: Any, values: list[float], target: int, mode: Any, transform: str) -> Any:
    layer = bench.net.add_resize(bench.input(np.array(values, np.float32).reshape(1, 1, 1, -1)))
    layer.shape = (1, 1, 1, target)
    layer.resize_mode = mode
    layer.coordinate_transformation = trt.ResizeCoordinateTransformation.__members__[transform]
    return layer


# Coordinates of five results in four elements: asymmetric 0, .8, 1.6, 2.4, 3.2; half pixel -.1, .7, 1.5,
# 2.3, 3.1; aligned corners 0, .75, 1.5, 2.25, 3.
@pytest.mark.parametrize(
    ("transform", "rounding", "want"),
    [
        ("ASYMMETRIC", "FLOOR", [0, 0, 1, 2, 3]),
        ("ASYMMETRIC", "CEIL", [0, 1, 2, 3, 3]),
        ("ASYMMETRIC", "HALF_UP", [0, 1, 2, 2, 3]),
        ("HALF_PIXEL", "HALF_UP", [0, 1, 2, 2, 3]),
        ("HALF_PIXEL", "HALF_DOWN", [0, 1, 1, 2, 3]),
        ("HALF_PIXEL", "FLOOR", [0, 0, 1, 2, 3]),
        ("HALF_PIXEL", "CEIL", [0, 1, 2, 3, 3]),
        ("ALIGN_CORNERS", "HALF_UP", [0, 1, 2, 2, 3]),
        ("ALIGN_CORNERS", "HALF_DOWN", [0, 1, 1, 2, 3]),
        ("ALIGN_CORNERS", "FLOOR", [0, 0, 1, 2, 3]),
    ],
)
def test_nearest(bench: Any, transform: str, rounding: str, want: list[int]) -> None:
    layer = _resize(bench, [0, 1, 2, 3], 5, NEAREST, transform)
    layer.nearest_rounding = trt.ResizeRoundMode.__members__[rounding]
    assert bench.value(layer).flatten().tolist() == want


def test_nearest_by_default_is_asymmetric_and_floors(bench: Any) -> None:
    layer = bench.net.add_resize(bench.input([[[0.0, 1.0, 2.0]]]))
    layer.scales = [1, 1, 2]
    assert bench.value(layer).flatten().tolist() == [0, 0, 1, 1, 2, 2]


def test_nearest_coordinates_are_exact(bench: Any) -> None:
    """9 * (49 / 63) is 7, which floats would make less than 7."""
    layer = _resize(bench, list(range(49)), 63, NEAREST, "ASYMMETRIC")
    assert bench.value(layer).flatten().tolist() == [i * 49 // 63 for i in range(63)]


@pytest.mark.parametrize(
    ("transform", "want"),
    [
        ("ASYMMETRIC", [0, 8, 16, 24, 30]),
        ("HALF_PIXEL", [0, 7, 15, 23, 30]),
        ("ALIGN_CORNERS", [0, 7.5, 15, 22.5, 30]),
    ],
)
def test_linear(bench: Any, transform: str, want: list[float]) -> None:
    layer = _resize(bench, [0, 10, 20, 30], 5, LINEAR, transform)
    torch.testing.assert_close(bench.value(layer).flatten(), torch.tensor(want, dtype=torch.float32))


@pytest.mark.parametrize(("selector", "want"), [("FORMULA", 15.0), ("UPPER", 0.0)])
def test_selector_for_a_single_pixel(bench: Any, selector: str, want: float) -> None:
    layer = _resize(bench, [0, 10, 20, 30], 1, LINEAR, "HALF_PIXEL")
    layer.selector_for_single_pixel = trt.ResizeSelector.__members__[selector]
    assert bench.value(layer).item() == want


@pytest.mark.parametrize(("transform", "aligned"), [("HALF_PIXEL", False), ("ALIGN_CORNERS", True)])
@pytest.mark.parametrize(("mode", "name"), [(LINEAR, "bilinear"), (CUBIC, "bicubic")])
def test_two_dimensions_equal_torch(bench: Any, transform: str, aligned: bool, mode: Any, name: str) -> None:
    """torch's bicubic has the coefficient -0.75, TensorRT's default."""
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    layer = bench.net.add_resize(bench.input(x))
    layer.shape, layer.resize_mode = (2, 3, 7, 9), mode
    layer.coordinate_transformation = trt.ResizeCoordinateTransformation.__members__[transform]
    want = torch.nn.functional.interpolate(x, (7, 9), mode=name, align_corners=aligned)
    torch.testing.assert_close(bench.value(layer), want, rtol=1e-5, atol=1e-5)


# At the middle of 0 and 1 (coordinate 0.5 of asymmetric x 2) Keys' weights for a = -0.5 are
# -1/16, 9/16, 9/16, -1/16; the first falls outside and takes the border's value, or is left out.
@pytest.mark.parametrize(("exclude", "want"), [(False, (10 * 9 - 20) / 16), (True, (10 * 9 - 20) / 17)])
def test_cubic_coefficient_and_exclude_outside(bench: Any, exclude: bool, want: float) -> None:
    layer = bench.net.add_resize(bench.input(np.array([0, 10, 20, 30], np.float32).reshape(1, 1, 1, 4)))
    layer.shape, layer.resize_mode = (1, 1, 1, 8), CUBIC
    layer.coordinate_transformation = trt.ResizeCoordinateTransformation.ASYMMETRIC
    layer.cubic_coeff, layer.exclude_outside = -0.5, exclude
    assert bench.value(layer).flatten()[1].item() == pytest.approx(want, rel=1e-6)


def test_scales_floor_the_length(bench: Any) -> None:
    layer = bench.net.add_resize(bench.input(np.zeros((1, 1, 5, 5))))
    layer.scales = [1, 1, 1.5, 0.5]
    assert tuple(bench.value(layer).shape) == (1, 1, 7, 2)


def test_shape_from_a_tensor_in_three_dimensions(bench: Any) -> None:
    layer = bench.net.add_resize(bench.input(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)))
    layer.set_input(1, bench.constant([1, 4, 2, 1], np.int32))
    assert bench.value(layer).flatten().tolist() == [0, 2, 0, 2, 4, 6, 4, 6]


IMAGE = torch.tensor([[[[0.0, 10.0], [20.0, 30.0]]]])
POINTS = torch.tensor([[[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [3.0, -1.0]]]])


# Unaligned, -1 is the outer edge of the first pixel: a quarter of it lies inside for FILL.
@pytest.mark.parametrize(
    ("mode", "border", "aligned", "want"),
    [
        ("LINEAR", "FILL", True, [0, 30, 15, 0]),
        ("LINEAR", "FILL", False, [0, 7.5, 15, 0]),
        ("LINEAR", "CLAMP", False, [0, 30, 15, 10]),
        ("LINEAR", "REFLECT", True, [0, 30, 15, 0]),
        ("NEAREST", "CLAMP", True, [0, 30, 0, 10]),
    ],
)
def test_grid_sample(bench: Any, mode: str, border: str, aligned: bool, want: list[float]) -> None:
    layer = bench.net.add_grid_sample(bench.input(IMAGE), bench.input(POINTS))
    layer.interpolation_mode = trt.InterpolationMode.__members__[mode]
    layer.sample_mode = trt.SampleMode.__members__[border]
    layer.align_corners = aligned
    assert bench.value(layer).flatten().tolist() == want


def test_cubic_grid_sample_hits_the_pixels(bench: Any) -> None:
    corners = torch.tensor([[[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]]])
    layer = bench.net.add_grid_sample(bench.input(IMAGE), bench.input(corners))
    layer.interpolation_mode, layer.align_corners = CUBIC, True
    torch.testing.assert_close(bench.value(layer).flatten(), torch.tensor([0.0, 10.0, 20.0]))
