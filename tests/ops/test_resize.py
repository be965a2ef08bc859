"""Where TensorRT's resize differs from PyTorch's interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.pixels import PixelShuffle, PixelUnshuffle
from trtdsl.ops.resize import Interpolate
from trtdsl.types import DType, TensorType, evaluate, symbol

IMAGE = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.5, 1.7, 2.0, 2.3, (0.7, 1.5), 2 / 3])
def test_coordinates_follow_the_scale_factor(mode: Any, scale: Any) -> None:
    """Not the ratio of the sizes, which differs from it where the output's size was rounded down."""
    check_equals_torch(Interpolate(scale_factor=scale, mode=mode), IMAGE)
    check_equals_torch(Interpolate(scale_factor=scale, mode=mode, recompute_scale_factor=True), IMAGE)


def test_scale_and_size_give_different_results() -> None:
    """What the test above would not see if both were computed alike."""
    (by_scale,) = check_equals_torch(Interpolate(scale_factor=1.7, mode="bilinear"), IMAGE)
    (by_size,) = check_equals_torch(Interpolate(tuple(by_scale.shape[2:]), mode="bilinear"), IMAGE)
    assert (by_scale - by_size).abs().max() > 0.1


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 13), (5, 7), (2, 3)])
def test_aligned_corners(mode: Any, size: tuple[int, int]) -> None:
    """A single output pixel is the first input pixel."""
    check_equals_torch(Interpolate(size, mode=mode, align_corners=True), IMAGE)
    check_equals_torch(Interpolate(size, mode=mode, align_corners=False), IMAGE)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 3), (5, 7), (13, 20)])
@pytest.mark.parametrize("aligned", [False, True])
def test_antialiasing(mode: Any, size: tuple[int, int], aligned: bool) -> None:
    check_equals_torch(Interpolate(size, mode=mode, align_corners=aligned, antialias=True), IMAGE)
    check_equals_torch(Interpolate(size, mode=mode, align_corners=aligned, antialias=True), IMAGE.half())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.3, 0.5, 1.1, (0.7, 1.7), 2.0])
def test_antialiasing_follows_the_scale_factor(mode: Any, scale: Any) -> None:
    check_equals_torch(Interpolate(scale_factor=scale, mode=mode, antialias=True), IMAGE)
    recomputed = Interpolate(scale_factor=scale, mode=mode, antialias=True, recompute_scale_factor=True)
    check_equals_torch(recomputed, IMAGE)


def test_refuses_weights_of_a_dynamic_size() -> None:
    image = TensorType(DType.FLOAT32, (1, 2, symbol("H", 4, 6, 8), 5))
    assert "the dynamic H" in refused(Interpolate(3, mode="bilinear", antialias=True), image)
    kept = Interpolate((symbol("H", 4, 6, 8), 3), mode="bilinear", antialias=True)
    assert kept.infer(image).shape == (1, 2, symbol("H", 4, 6, 8), 3)


def test_linear_copies_a_dimension_that_keeps_its_size() -> None:
    """PyTorch does so whatever the scale: 3 * 1.3 is 3."""
    signal = torch.tensor([[[0.0, 1.0, 5.0]]])
    (found,) = check_equals_torch(Interpolate(scale_factor=1.3, mode="linear"), signal)
    assert torch.equal(found, signal)


@pytest.mark.parametrize(
    ("mode", "size", "output"),
    [("nearest", 2, 82), ("nearest", 3, 123), ("nearest", 11, 451), ("nearest-exact", 2, 61)],
)
def test_nearest_rounds_ties_in_float32_as_pytorch(mode: Any, size: int, output: int) -> None:
    """For these sizes float32 misses a coordinate that is exactly an integer."""
    signal = torch.arange(size, dtype=torch.float32).reshape(1, 1, size)
    (found,) = check_equals_torch(Interpolate(output, mode=mode), signal)
    centre = int(mode == "nearest-exact")
    assert found.flatten().tolist() != [(2 * i + centre) * size // (2 * output) for i in range(output)]


def test_refuses_ties_that_pytorch_rounds_both_ways() -> None:
    """Its kernel for one and three dimensions takes other elements than that for two."""
    signal = torch.arange(2, dtype=torch.float32)
    one = torch.nn.functional.interpolate(signal.reshape(1, 1, 2), 41, mode="nearest-exact")
    two = torch.nn.functional.interpolate(
        signal.expand(1, 2, 3, 2).contiguous(), (3, 41), mode="nearest-exact"
    )
    assert not torch.equal(one[0, 0], two[0, 0, 0])
    assert "kernels disagree" in refused(Interpolate(41, mode="nearest-exact"), t("float32[1, 1, 2]"))


def test_output_size_is_rounded_down_in_float64() -> None:
    """100 * 0.29 is 28.999999999999996, in float32 29."""
    image = TensorType(DType.FLOAT32, (1, 1, 100))
    op = Interpolate(scale_factor=0.29, mode="linear", recompute_scale_factor=True)
    assert op.infer(image) == t("float32[1, 1, 28]")
    assert np.floor(np.float32(100) * np.float32(0.29)) == 29


@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0, 0.3, 1.7])
def test_dynamic_size_is_pytorchs_for_every_value(scale: float) -> None:
    size = symbol("L", 8, 20, 200)
    op = Interpolate(scale_factor=scale, mode="linear")
    output = op.infer(TensorType(DType.FLOAT32, (1, 1, size))).shape[-1]
    for value in range(8, 201):
        wanted = torch.nn.functional.interpolate(torch.zeros(1, 1, value), scale_factor=scale).shape[-1]
        assert evaluate(output, {"L": value}) == wanted


def test_refuses_a_dynamic_scale_that_rounds_both_ways() -> None:
    dynamic = TensorType(DType.FLOAT32, (1, 1, symbol("L", 90, 100, 110)))
    message = refused(Interpolate(scale_factor=0.29, mode="nearest-exact"), dynamic)
    assert "is not a quotient with a divisor of at most 64" in message


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (Interpolate(), "float32[1, 2, 5, 7]", "needs either `size` or `scale_factor`"),
        (Interpolate(4, 2.0), "float32[1, 2, 5, 7]", "needs either `size` or `scale_factor`"),
        (Interpolate((4, 4, 4)), "float32[1, 2, 5, 7]", "`size` needs one number or 2, not 3"),
        (Interpolate(0), "float32[1, 2, 5, 7]", "`size` must be at least 1"),
        (Interpolate(scale_factor=-1.0), "float32[1, 2, 5, 7]", "must be a positive number"),
        (Interpolate(scale_factor=0.1), "float32[1, 2, 5, 7]", "leaves 0 of 5"),
        (Interpolate(scale_factor=1.3), "float32[1, 2, 3, 3]", "PyTorch's `nearest` kernels disagree"),
        (Interpolate(4, mode="bilinear"), "float32[1, 2, 5]", 'mode "bilinear" needs a tensor of rank 4'),
        (Interpolate(4, align_corners=True), "float32[1, 2, 5, 7]", "`align_corners` has no meaning"),
        (Interpolate(4, recompute_scale_factor=True), "float32[1, 2, 5, 7]", "has no meaning with `size`"),
        (Interpolate(4, antialias=True), "float32[1, 2, 5, 7]", 'needs mode "bilinear" or "bicubic"'),
        (Interpolate(4), "int64[1, 2, 5, 7]", "needs a floating-point tensor"),
        (PixelShuffle(2), "float32[1, 6, 5, 7]", "the 6 channels are not divisible by 2 * 2"),
        (PixelUnshuffle(2), "float32[1, 6, 5, 8]", "the dimension 5 is not a multiple of 2"),
        (PixelShuffle(2), "float32[1, 1, 1, 1, 4, 5, 7]", "rank 3 to 6"),
    ],
    ids=lambda each: str(each)[:70],
)
def test_refuses(op: Interpolate, type: str, message: str) -> None:
    assert message in refused(op, t(type))


def test_pixel_shuffle_orders_the_two_factors() -> None:
    x = torch.arange(2 * 18 * 2 * 3, dtype=torch.float32).reshape(2, 18, 2, 3)
    (shuffled,) = check_equals_torch(PixelShuffle(3), x)
    (back,) = check_equals_torch(PixelUnshuffle(3), shuffled)
    assert torch.equal(back, x)
