"""Points, borders and mirrors of grid_sample; grids of affine maps; windows as columns and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.diagnostics import RefusedByTensorRT
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.patches import Fold, Unfold
from trtdsl.ops.pixels import ChannelShuffle
from trtdsl.ops.sampling import AffineGrid, GridSample
from trtdsl.trt.lower import lower
from trtdsl.types import DType, TensorType, symbol

NOISE = torch.Generator().manual_seed(0)
IMAGE = torch.randn(2, 3, 5, 7, generator=NOISE)
VOLUME = torch.randn(2, 3, 4, 5, 6, generator=NOISE)
# Far beyond both borders, and on them.
POINTS = torch.cat(
    [6 * torch.rand(2, 4, 3, 2, generator=NOISE) - 3, torch.ones(2, 4, 1, 2), -torch.ones(2, 4, 1, 2)], 2
)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [None, False, True])
def test_reads_images_at_points(mode: Any, padding: Any, aligned: Any) -> None:
    check_equals_torch(GridSample(mode, padding, aligned), IMAGE, POINTS)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [False, True])
def test_reads_volumes_at_points(mode: Any, padding: Any, aligned: bool) -> None:
    grid = 4 * torch.rand(2, 2, 3, 4, 3, generator=NOISE) - 2
    check_equals_torch(GridSample(mode, padding, aligned), VOLUME, grid)


def test_only_newer_releases_sample_volumes() -> None:
    text = """model m() {
  input x: float32[1, 2, 4, 5, 6]
  input grid: float32[1, 2, 3, 4, 3]
  output y = grid_sample(x, grid)
}"""
    graph = elaborate_text(text)
    lower(graph, RecordingDialect(facts("11.4")))
    for release in ("8.5.3", "10.13"):
        with pytest.raises(RefusedByTensorRT) as info:
            lower(graph, RecordingDialect(facts(release)))
        (diagnostic,) = info.value.diagnostics
        assert "samples images at points, not volumes" in diagnostic.message
        assert diagnostic.help == ("TensorRT from 11.2.1 on and TensorRT-RTX do",)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 2, 7), (2, 1, 3, 4, 5)])
def test_affine_grids(aligned: bool, size: tuple[int, ...]) -> None:
    spatial = len(size) - 2
    theta = torch.randn(2, spatial, spatial + 1, generator=NOISE)
    check_equals_torch(AffineGrid(size, aligned), theta)


def test_the_grid_of_the_identity_reads_the_image_itself() -> None:
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]).expand(2, 2, 3).contiguous()
    for aligned in (False, True):
        (grid,) = check_equals_torch(AffineGrid((2, 3, 5, 7), aligned), theta)
        (found,) = check_equals_torch(GridSample(align_corners=aligned), IMAGE, grid)
        torch.testing.assert_close(found, IMAGE, rtol=1e-5, atol=1e-5)


WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 3},
    {"kernel_size": (2, 3), "stride": (2, 3)},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": (3, 2), "padding": (2, 1), "stride": (1, 2)},
    {"kernel_size": (2, 3), "dilation": (3, 2), "padding": 1},
    {"kernel_size": 2, "dilation": 2, "padding": 2, "stride": 3},
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_windows_become_columns_and_columns_an_image(window: dict[str, Any], dtype: torch.dtype) -> None:
    image = IMAGE.to(dtype)
    (columns,) = check_equals_torch(Unfold(**window), image)
    assert torch.equal(columns, torch.nn.functional.unfold(image, **window))
    check_equals_torch(Unfold(**window), image[0])
    check_equals_torch(Fold((5, 7), **window), columns)
    check_equals_torch(Fold((5, 7), **window), columns[0])


def test_columns_keep_what_is_not_finite_apart() -> None:
    """A product with an identity kernel would spread NaN over the window."""
    image = IMAGE.clone()
    image[0, 0, 2, 2], image[0, 1, 0, 0] = float("nan"), float("inf")
    (columns,) = check_equals_torch(Unfold(3, padding=1), image)
    assert int(columns.isnan().sum()) == 9
    check_equals_torch(Fold((5, 7), 3, padding=1), columns)


def test_shuffles_channels() -> None:
    x = torch.arange(2 * 6 * 3, dtype=torch.int64).reshape(2, 6, 3)
    (found,) = check_equals_torch(ChannelShuffle(3), x)
    assert found[0, :, 0].tolist() == [0, 6, 12, 3, 9, 15]


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (GridSample(), ("float32[1, 2, 5, 7]", "float16[1, 3, 4, 2]"), "the grid must be float32"),
        (GridSample(), ("float32[1, 2, 5]", "float32[1, 3, 4, 2]"), "rank 4 or 5"),
        (GridSample(), ("float32[1, 2, 5, 7]", "float32[1, 3, 4, 3]"), "last dimension must be 2, not 3"),
        (GridSample(), ("float32[1, 2, 5, 7]", "float32[2, 3, 4, 2]"), "a batch of 1 needs as many grids"),
        (GridSample(), ("float32[1, 2, 0, 7]", "float32[1, 3, 4, 2]"), "needs elements along dimension 2"),
        (GridSample(), ("int32[1, 2, 5, 7]", "int32[1, 3, 4, 2]"), "floating-point"),
        (
            GridSample("bicubic"),
            ("float32[1, 2, 4, 5, 7]", "float32[1, 3, 4, 2, 3]"),
            'mode "bicubic" needs a tensor of rank 4',
        ),
        (AffineGrid((2, 3, 4)), ("float32[2, 2, 3]",), "not 3 sizes"),
        (AffineGrid((2, 3, 4, 5)), ("float32[2, 3, 4]",), "`theta` must be [N, 2, 3]"),
        (AffineGrid((1, 3, 4, 5)), ("float32[2, 2, 3]",), "names 1 images for 2 matrices"),
        (AffineGrid((2, 3, 0, 5)), ("float32[2, 2, 3]",), "must be positive, not 0"),
        (Unfold(3), ("float32[7]",), "[N, C, H, W] or [C, H, W]"),
        (Unfold(6), ("float32[2, 5, 7]",), "a window of 6 does not fit into 5"),
        (Unfold(2), ("int64[2, 5, 7]",), "floating-point"),
        (Fold((5, 7), 2), ("float32[6, 24]",), "not divisible by the 4 elements"),
        (Fold((5, 7), 2), ("float32[8, 23]",), "there are 4 * 6 windows in the output, and 23 columns"),
        (Fold((5, 0), 2), ("float32[8, 23]",), "at least 1, not 0"),
        (ChannelShuffle(4), ("float32[2, 6, 3]",), "not divisible by 4"),
        (ChannelShuffle(2), ("float32[2, 6]",), "rank 3 to 7"),
        (ChannelShuffle(0), ("float32[2, 6, 3]",), "at least 1"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: tuple[str, ...], message: str) -> None:
    assert message in refused(op, *map(t, types))


def test_an_image_size_must_be_known() -> None:
    theta = TensorType(DType.FLOAT32, (2, 2, 3))
    message = refused(AffineGrid((2, 3, symbol("H", 4, 6, 8), 5)), theta)
    assert message == "an image size of affine_grid must be known at compile time, but it is the dynamic `H`"
