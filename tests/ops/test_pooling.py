"""Where TensorRT's pools differ from PyTorch's."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.ops.one_node import refused, run, t
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.adaptive import AdaptiveAvgPool2d, AdaptiveMaxPool2d
from trtdsl.ops.base import Refused
from trtdsl.ops.pooling import AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d
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
    run(MaxPool2d(3, stride, 1, ceil_mode=ceil_mode), -1 - IMAGE.abs())


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("divisor", [None, 5, -2])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (4, 3, 2), (2, 5, 1), (2, 3, 0)])
def test_average_counts_as_pytorch(
    kernel: int, stride: int, padding: int, divisor: int | None, counts: bool
) -> None:
    """The padding counts by default, what ceil_mode adds behind it never does."""
    for ceil_mode in (False, True):
        run(AvgPool2d(kernel, stride, padding, ceil_mode, counts, divisor), IMAGE + 3)


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


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (MaxPool2d(3, dilation=2), "float32[1, 3, 9, 9]", "no dilation"),
        (MaxPool2d(3, return_indices=True), "float32[1, 3, 9, 9]", "no indices"),
        (AdaptiveMaxPool2d(3, return_indices=True), "float32[1, 3, 9, 9]", "no indices"),
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
    run(AdaptiveAvgPool2d(output), image)
    run(AdaptiveMaxPool2d(output), image - 5)


def test_adaptive_refuses_windows_that_change_with_the_size() -> None:
    dynamic = TensorType(DType.FLOAT32, (1, 3, symbol("H", 4, 8, 16), 9))
    message = refused(AdaptiveAvgPool2d((7, 1)), dynamic)
    assert message == "the windows that make 7 of the dynamic H would change with the input's size"
    assert AdaptiveAvgPool2d((1, 3)).infer(dynamic) == t("float32[1, 3, 1, 3]")
