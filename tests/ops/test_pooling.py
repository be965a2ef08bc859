"""Where TensorRT's pools differ from PyTorch's."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ops import windows
from trtdsl.ops.adaptive import AdaptiveAvgPool2d, AdaptiveMaxPool2d
from trtdsl.ops.pooling import AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from trtdsl.ops.refused import Refused
from trtdsl.ops.windows import volume_limit
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import DType, TensorType, evaluate, symbol

IMAGE = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(0))


def test_ceil_mode_counts_pytorchs_windows() -> None:
    """PyTorch drops a window that starts behind the input, ROUND_UP does not: all small sizes."""
    for kernel, stride, size in itertools.product(range(1, 6), range(1, 8), range(1, 18)):
        for padding in range(kernel // 2 + 1):
            op = MaxPool1d(kernel, stride, padding, ceil_mode=True)
            try:
                inferred = op.infer(t(f"float32[1, 1, {size}]")).shape[-1]
            except Refused:
                inferred = None
            assert inferred == _pytorchs(size, kernel, stride, padding)


def _pytorchs(size: int, kernel: int, stride: int, padding: int) -> int | None:
    try:
        pooled = torch.max_pool1d(torch.zeros(1, 1, size), kernel, stride, padding, ceil_mode=True)
    except RuntimeError:
        return None
    return pooled.shape[-1]


def test_ceil_mode_holds_for_every_dynamic_size() -> None:
    """One formula for all sizes, also where some sizes drop a window and others do not."""
    size = symbol("L", 3, 8, 40)
    op = MaxPool1d(2, 5, 1, ceil_mode=True)
    inferred = op.infer(TensorType(DType.FLOAT32, (1, 1, size))).shape[-1]
    for value in range(3, 41):
        assert evaluate(inferred, {"L": value}) == _pytorchs(value, 2, 5, 1)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_ignores_padding(stride: int, ceil_mode: bool) -> None:
    """Padding must not be the largest element of negative ones."""
    check_equals_torch(MaxPool2d(3, stride, 1, ceil_mode=ceil_mode), -1 - IMAGE.abs())


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("divisor", [None, 5, -2])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (4, 3, 2), (2, 5, 1), (2, 3, 0)])
def test_average_counts_as_pytorch(
    kernel: int, stride: int, padding: int, divisor: int | None, counts: bool
) -> None:
    """The padding counts by default, what ceil_mode adds behind it never does."""
    for ceil_mode in (False, True):
        check_equals_torch(AvgPool2d(kernel, stride, padding, ceil_mode, counts, divisor), IMAGE + 3)


@pytest.mark.parametrize(
    ("call", "layers"),
    [
        ("avg_pool2d(3, stride = 1, padding = 1)", 1),
        ("avg_pool2d(3, stride = 2, padding = 1, count_include_pad = false, ceil_mode = true)", 1),
        ("avg_pool2d(3, stride = 2, ceil_mode = true)", 1),
        ("avg_pool2d(3, stride = 2, padding = 1, ceil_mode = true)", 2),
        ("max_pool2d(3, stride = 2, padding = 1, ceil_mode = true)", 1),
        ("adaptive_avg_pool2d((7, 2))", 1),
        ("adaptive_avg_pool2d(1)", 1),
    ],
)
def test_a_pool_is_one_layer(call: str, layers: int) -> None:
    """But where ceil_mode meets padding that counts, which is padded first."""
    graph = elaborate_text(f"model m() {{ input x: float32[1, 3, 14, 8]  output y = x -> {call} }}")
    assert lower(graph).network.num_layers == layers


# Windows that are too large for a layer of TensorRT


@pytest.mark.parametrize(
    ("call", "sizes"),
    [
        ("{}_pool1d(200000)", "200001"),
        ("{}_pool1d(99999, stride = 1)", "100001"),
        ("{}_pool1d(2, stride = 200000)", "3"),
        ("{}_pool2d((400, 250))", "400, 250"),
        ("{}_pool2d(320)", "320, 320"),
        ("{}_pool2d(320, stride = 7, padding = 4, ceil_mode = true)", "330, 340"),
        ("{}_pool3d((320, 320, 309))", "320, 321, 309"),
        ("adaptive_{}_pool1d(2)", "200000"),
        ("adaptive_{}_pool2d((2, 2))", "700, 640"),
    ],
)
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_a_window_of_any_size_builds(call: str, sizes: str, kind: str) -> None:
    x = f"input x: float32[1, 1, {sizes}]"
    assert build(lower(elaborate_text(f"model m() {{ {x}  output y = x -> {call.format(kind)} }}")))


@pytest.mark.parametrize(("spatial", "largest"), [(2, (333, 300)), (3, (1, 316227, 100))])
def test_the_largest_window_that_is_one_layer(spatial: int, largest: tuple[int, ...]) -> None:
    """One element less than the limit, which TensorRT takes, and the first that it does not."""
    assert math.prod(largest) < volume_limit(spatial) <= math.prod(largest) + 100
    for extent, layers in ((largest[-1], 1), (largest[-1] + 1, 2)):
        kernel = ", ".join(map(str, (*largest[:-1], extent)))
        window = f"(({kernel}), stride = 1)"
        x = f"input x: float32[1, 1, {', '.join(str(size + 2) for size in largest)}]"
        graph = elaborate_text(f"model m() {{ {x}  output y = x -> max_pool{spatial}d{window} }}")
        assert lower(graph).network.num_layers == layers


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of more than four elements are too large."""
    monkeypatch.setattr(windows, "volume_limit", lambda _: 5)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((4, 3), None, 0), ((3, 4), 2, 1), ((4, 2), 3, (2, 0)), ((7, 8), None, 0), ((7, 3), (9, 1), 0)],
)
def test_a_window_along_one_axis_after_the_other(
    kernel: tuple[int, int], stride: Any, padding: Any, ceil_mode: bool, counts: bool
) -> None:
    check_equals_torch(MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode), -1 - IMAGE.abs())
    for divisor in (None, 5):
        check_equals_torch(AvgPool2d(kernel, stride, padding, ceil_mode, counts, divisor), IMAGE + 3)


@pytest.mark.usefixtures("small_limit")
def test_a_window_along_three_axes() -> None:
    image = torch.randn(1, 2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    for kernel in (2, (4, 2, 3), (4, 5, 6), (3, 5, 2)):
        check_equals_torch(MaxPool3d(kernel), image)
        check_equals_torch(AvgPool3d(kernel), image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("max_pool1d(200000, padding = 1)", "TensorRT's windows have fewer than 100000 elements, not 200000"),
        ("avg_pool1d(2, stride = 100001)", "TensorRT's strides are at most 100000, not 100001"),
        ("c: Conv1d(1, 100000)", "TensorRT's windows have fewer than 100000 elements, not 100000"),
        ("c: Conv1d(1, 1, stride = 100001)", "TensorRT's strides are at most 100000, not 100001"),
        (
            "c: ConvTranspose1d(1, 50001, stride = 2, dilation = 2)",
            "TensorRT's windows have fewer than 100000 elements, not 100001",
        ),
    ],
)
def test_a_window_that_no_layer_takes_is_found_by_check(call: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        elaborate_text(f"model m() {{ input x: float32[1, 1, 300000]  output y = x -> {call} }}")
    assert message in str(error.value)
    assert error.value.diagnostics[0].span is not None


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (MaxPool2d(3, dilation=2), "float32[1, 3, 9, 9]", "no dilation"),
        (MaxPool2d(3, return_indices=True), "float32[1, 3, 9, 9]", "does not return indices"),
        (AdaptiveMaxPool2d(3, return_indices=True), "float32[1, 3, 9, 9]", "does not return indices"),
        (MaxPool2d(3, padding=2), "float32[1, 3, 9, 9]", "at most half the kernel"),
        (MaxPool2d(9), "float32[1, 3, 8, 9]", "a window of 9 does not fit into 8"),
        (MaxPool2d((2, 2, 2)), "float32[1, 3, 8, 9]", "needs one number or 2, not 3"),
        (MaxPool2d(2, 0), "float32[1, 3, 8, 9]", "`stride` must be at least 1"),
        (MaxPool2d(2), "float32[8, 9]", "needs a tensor [N, C, H, W] or [C, H, W]"),
        (MaxPool2d(2), "int32[1, 3, 8, 9]", "needs a floating-point tensor"),
        (AvgPool2d(2, divisor_override=0), "float32[1, 3, 8, 9]", "must not be 0"),
        (AvgPool3d(4, padding=2), "float32[1, 3, 3, 8, 9]", "refuses a window of 4 over 3"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_refuses(op: MaxPool2d, type: str, message: str) -> None:
    assert message in refused(op, t(type))


def test_refuses_windows_that_fit_only_sometimes() -> None:
    small = TensorType(DType.FLOAT32, (1, 3, symbol("H", 4, 8, 16), 9))
    assert "does not fit into H for every size in range" in refused(MaxPool2d(5), small)


@pytest.mark.parametrize("sizes", [(10, 7), (7, 10), (3, 20), (13, 1)])
@pytest.mark.parametrize("output", [(3, 6), (1, 4), (5, None), (7, 7), (None, 1), (16, 2)])
def test_adaptive_windows_overlap_where_sizes_do_not_divide(
    sizes: tuple[int, int], output: tuple[int | None, int | None]
) -> None:
    image = torch.randn(2, 3, *sizes, generator=torch.Generator().manual_seed(1))
    check_equals_torch(AdaptiveAvgPool2d(output), image)
    check_equals_torch(AdaptiveMaxPool2d(output), image - 5)


def test_adaptive_refuses_windows_that_change_with_the_size() -> None:
    dynamic = TensorType(DType.FLOAT32, (1, 3, symbol("H", 4, 8, 16), 9))
    message = refused(AdaptiveAvgPool2d((7, 1)), dynamic)
    assert message == "the windows that make 7 of the dynamic H would change with the input's size"
    assert AdaptiveAvgPool2d((1, 3)).infer(dynamic) == t("float32[1, 3, 1, 3]")
