"""Where TensorRT's convolutions differ from PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import NARROW, require_close
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Module
from trtdsl.ops.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d
from trtdsl.ops.linear import Linear
from trtdsl.types import DType, TensorType, symbol


def random_weights(op: Module, x: torch.Tensor) -> dict[str, Any]:
    type = TensorType(DType.of_numpy(x.numpy().dtype), tuple(x.shape))
    return {name: torch.randn(each.shape).to(x.dtype) for name, each in op.weights(type).items()}


def check(op: Module, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The lowered operator on random values, held against PyTorch."""
    x = torch.randn(shape).to(dtype)
    (found,) = check_equals_torch(op, x, weights=random_weights(op, x))
    return found


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (2, 5)])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_same_pads_an_even_kernel_more_behind(kernel: Any, dilation: int, mode: Any) -> None:
    op = Conv2d(4, kernel, padding="same", dilation=dilation, padding_mode=mode)
    assert check(op, 1, 3, 13, 14).shape == (1, 4, 13, 14)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("kind", "shape"), [(Conv1d, (4, 9)), (Conv2d, (2, 4, 6, 7)), (Conv3d, (1, 4, 5, 6, 7))]
)
@pytest.mark.parametrize("padding", ["same", 1])
def test_halves_are_padded_as_floats_are(kind: Any, shape: tuple[int, ...], mode: Any, padding: Any) -> None:
    op = kind(6, 2, padding=padding, dilation=3 if padding == "same" else 1, groups=2, padding_mode=mode)
    x = torch.randn(shape).half()
    weights = random_weights(op, x)
    (found,) = check_equals_torch(op, x, weights=weights)
    wide = {name: torch.as_tensor(weight).float() for name, weight in weights.items()}
    (wanted,) = check_equals_torch(op, x.float(), weights=wide)
    require_close(found.float(), wanted, NARROW[torch.float16])


def test_kernel_of_one_dimension_goes_through_two() -> None:
    check(Conv1d(6, 3, stride=2, padding=1, dilation=2, groups=3), 2, 3, 11)
    check(Conv1d(6, 3, bias=False), 3, 11)
    check(ConvTranspose1d(6, 3, stride=2, padding=1, output_padding=1, groups=3), 2, 3, 5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups(groups: int) -> None:
    check(Conv2d(8, 3, groups=groups), 2, 4, 6, 7)
    check(Conv3d(8, (1, 2, 3), groups=groups, stride=(1, 2, 1)), 1, 4, 3, 6, 7)
    check(ConvTranspose2d(8, 3, groups=groups, stride=2), 2, 4, 6, 7)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("stride", "padding", "output_padding"),
    [(2, 1, 1), (2, 0, 1), (3, 1, 2), ((3, 2), (0, 2), (2, 1)), (1, 2, 0)],
)
def test_output_padding_may_exceed_the_padding(
    stride: Any, padding: Any, output_padding: Any, bias: bool
) -> None:
    """TensorRT ignores a negative padding silently; what it leaves out holds the bias alone."""
    check(ConvTranspose2d(4, 3, stride, padding, output_padding, bias=bias), 1, 2, 4, 5)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 2), (2, 1), (2, 2), ((2, 1), (1, 3)), (3, (3, 2))])
def test_transposed_stride_and_dilation_together(stride: Any, dilation: Any) -> None:
    """TensorRT-RTX builds no transposed convolution with both."""
    op = ConvTranspose2d(4, (3, 2), stride, 1, dilation=dilation, groups=2)
    check(op, 1, 2, 6, 5)
    check(op, 1, 2, 6, 5, dtype=torch.float16)


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (Conv2d(4, 3, groups=2), "float32[1, 3, 8, 8]", "has 3 channels, which 2 groups do not divide"),
        (Conv2d(3, 3, groups=2), "float32[1, 4, 8, 8]", "`out_channels` 3 is not a multiple of 2"),
        (Conv2d(0, 3), "float32[1, 4, 8, 8]", "`out_channels` must be positive, not 0"),
        (Conv2d(4, 9), "float32[1, 3, 8, 8]", "a window of 9 does not fit into 8"),
        (
            Conv2d(4, 5, padding=1, dilation=3),
            "float32[1, 3, 8, 99]",
            "13 does not fit into 8 (padded to 10)",
        ),
        (Conv2d(4, 3, padding="same", stride=2), "float32[1, 3, 8, 8]", "needs a stride of 1"),
        (Conv2d(4, 3, padding=-1), "float32[1, 3, 8, 8]", "`padding` must be at least 0"),
        (Conv2d(4, 3), "float32[3, 8]", "needs a tensor [N, C, H, W] or [C, H, W], not float32[3, 8]"),
        (Conv2d(4, 3), "int64[1, 3, 8, 8]", "needs a floating-point tensor"),
        (Conv2d(4, (3, 3, 3)), "float32[1, 3, 8, 8]", "`kernel_size` needs one number or 2, not 3"),
        (Conv2d(4, 9, padding=8, padding_mode="reflect"), "float32[1, 3, 8, 8]", "reflection by 8"),
        (ConvTranspose2d(4, 3, 2, 0, 2), "float32[1, 3, 8, 8]", "must be smaller than the stride 2"),
        (ConvTranspose2d(4, 3, 1, 9), "float32[1, 3, 8, 8]", "`padding` leaves an output of -8"),
        (Linear(0), "float32[1, 3]", "`out_features` must be at least 1"),
        (Linear(4), "float32[]", "not a single number"),
        (Linear(4), "int32[1, 3]", "needs a floating-point tensor"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Module, type: str, message: str) -> None:
    assert message in refused(op, t(type))


def test_refuses_dynamic_channels() -> None:
    dynamic = TensorType(DType.FLOAT32, (1, symbol("C", 1, 2, 4), 8, 8))
    assert "must be known at compile time" in refused(Conv2d(4, 3), dynamic)
    last = TensorType(DType.FLOAT32, (8, symbol("C", 1, 2, 4)))
    assert "must be known at compile time" in refused(Linear(4), last)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (1, 2, 3, 4, 5)])
def test_linear_takes_every_rank(shape: tuple[int, ...]) -> None:
    """TensorRT's product wants equal ranks of two at least."""
    check(Linear(4), *shape)
    check(Linear(4, bias=False), *shape)
