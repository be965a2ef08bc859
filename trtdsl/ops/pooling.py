"""Max and average pools with a sliding window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.pad import lower_padding
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most
from trtdsl.ops.windows import Window, per_axis, planes, planes_type, require_spatial
from trtdsl.types import Dim, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class _Pool(Function, abstract=True):
    spatial: ClassVar[int]

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0

    @property
    def rounds_up(self) -> bool:
        return False

    @property
    def margin(self) -> tuple[int, ...]:
        """PyTorch's padding, equal on both sides."""
        return per_axis(self.padding, self.spatial, "padding", 0)

    @property
    def window(self) -> Window:
        kernel = per_axis(self.kernel_size, self.spatial, "kernel_size", 1)
        stride = kernel if self.stride is None else per_axis(self.stride, self.spatial, "stride", 1)
        for margin, size in zip(self.margin, kernel, strict=True):
            if 2 * margin > size:
                message = f"`padding` {margin} must be at most half the kernel of {size}, as in PyTorch"
                raise Refused(message, "padding")
        after = self.margin
        if self.rounds_up:
            after = tuple(map(_padding_behind, self.margin, stride, kernel))
        return Window(kernel, stride, self.margin, after, (1,) * self.spatial)

    def infer(self, input: TensorType) -> TensorType:
        require_spatial(input, self.spatial, self.name)
        before, window = input.shape[-self.spatial :], self.window
        after = window.sizes(before)
        for axis, (size, count) in enumerate(zip(before, after, strict=True)):
            refusal = window.along(axis).refusal
            if refusal and not _is_one_place(window, axis, size, count):
                raise refusal
        return input.with_shape((*input.shape[: -self.spatial], *after))


def _padding_behind(margin: int, stride: int, kernel: int) -> int:
    """The padding after with which rounding down counts the windows that PyTorch's ``ceil_mode`` counts.

    PyTorch rounds up, then drops a last window that starts after the input: the last start is
    ``min(ceil((L + 2p - k) / s), floor((L + p - 1) / s))``. The numerators, with the ceiling written as a
    floor, are ``L + 2p - k + s - 1`` and ``L + p - 1``: which is smaller does not depend on ``L``.
    """
    return min(margin + stride - 1, kernel - 1)


def pool(
    net: Network, x: Tensor, kind: str, window: Window, result: TensorType, inside: bool = False
) -> Tensor:
    """One pooling layer; ``inside`` makes an average count only what is not padding.

    A window that is too large for TensorRT is taken along one axis after the other: of a box, the largest
    element is that of its rows' largest, and the mean that of their means.
    """
    if window.refusal is None:
        return _pool_layer(net, x, kind, window, result, inside)
    first = x.rank - len(window.kernel)
    sizes = list(zip(x.shape[first:], result.shape[first:], strict=True))
    single = [axis for axis, (size, count) in enumerate(sizes) if _is_one_place(window, axis, size, count)]
    if single:
        covered = [window.kernel[axis] if axis in single else size for axis, (size, _) in enumerate(sizes)]
        if covered != list(x.shape[first:]):
            x = net.slice(x, (0,) * x.rank, (*x.shape[:first], *covered))
        reduction = "AVG" if kind == "AVERAGE" else "MAX"
        x = net.reduce(reduction, x, [first + axis for axis in single], keepdim=True)
    for axis, (size, count) in enumerate(sizes):
        if axis not in single and (window.kernel[axis] > 1 or size != count):
            shape = (*x.shape[: first + axis], count, *x.shape[first + axis + 1 :])
            x = _pool_layer(net, x, kind, window.along(axis), result.with_shape(shape), inside)
    return x


def _is_one_place(window: Window, axis: int, size: Dim, count: Dim) -> bool:
    """Whether there is one window along an axis, at its start and without padding."""
    inside = isinstance(size, int) and window.before[axis] == 0 and window.kernel[axis] <= size
    return count == 1 and inside


def _pool_layer(
    net: Network, x: Tensor, kind: str, window: Window, result: TensorType, inside: bool
) -> Tensor:
    spatial = len(window.kernel)
    window = window.as_planes()
    maps = net.add(
        "pooling_nd",
        planes(net, x, spatial),
        net.enum(f"PoolingType.{kind}"),
        window.kernel,
        result=planes_type(result, spatial),
        stride_nd=window.stride,
        pre_padding=window.before,
        post_padding=window.after,
        average_count_excludes_padding=inside,
    )
    return net.reshape(maps, result.shape)


class _MaxPool(_Pool, abstract=True):
    dilation: int | tuple[int, ...] = 1
    ceil_mode: bool = False
    return_indices: bool = False

    @property
    def rounds_up(self) -> bool:
        return self.ceil_mode

    def infer(self, input: TensorType) -> TensorType:
        if any(d != 1 for d in per_axis(self.dilation, self.spatial, "dilation", 1)):
            raise Refused("TensorRT's pooling has no dilation", "dilation")
        if self.return_indices:
            raise Refused("TensorRT's pooling does not return indices", "return_indices")
        return super().infer(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return pool(net, input, "MAX", self.window, net.result)


_MAX_POOL_MODULE = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")


class MaxPool1d(_MaxPool):
    """The largest element of each window along the last dimension."""

    torch = "torch.nn.functional.max_pool1d"
    spatial = 1
    spellings = (Spelling("torch.nn.MaxPool1d", _MAX_POOL_MODULE),)
    examples = (
        "max_pool1d(2)(float32[N, 8, S]) -> float32[N, 8, S // 2]",
        "max_pool1d(3, stride = 2, padding = 1, ceil_mode = true)(float16[4, S]) -> float16[4, S // 2 + 1]",
    )


class MaxPool2d(_MaxPool):
    """The largest element of each window over the last two dimensions."""

    torch = "torch.nn.functional.max_pool2d"
    spatial = 2
    spellings = (Spelling("torch.nn.MaxPool2d", _MAX_POOL_MODULE),)
    examples = (
        "max_pool2d(2)(float32[N, 8, H, W]) -> float32[N, 8, H // 2, W // 2]",
        "max_pool2d(3, stride = 2)(float32[N, 64, 112, 112]) -> float32[N, 64, 55, 55]",
        "max_pool2d(3, stride = 2, ceil_mode = true)(float32[N, 4, H, W]) -> float32[N, 4, H // 2, W // 2]",
        "max_pool2d((2, 3), stride = (3, 1), padding = (1, 0), ceil_mode = true)(float32[1, 4, 5, W])"
        " -> float32[1, 4, 2, W - 2]",
        "max_pool2d(3, stride = 1, padding = 1)(float16[4, H, W]) -> float16[4, H, W]",
    )


class MaxPool3d(_MaxPool):
    """The largest element of each window over the last three dimensions."""

    torch = "torch.nn.functional.max_pool3d"
    spatial = 3
    spellings = (Spelling("torch.nn.MaxPool3d", _MAX_POOL_MODULE),)
    examples = (
        "max_pool3d(2)(float32[N, 4, 6, H, W]) -> float32[N, 4, 3, H // 2, W // 2]",
        "max_pool3d((1, 3, 3), stride = 2, padding = (0, 1, 1), ceil_mode = true)(float32[4, 6, 7, 8])"
        " -> float32[4, 3, 4, 5]",
    )


class _AvgPool(_Pool, abstract=True):
    ceil_mode: bool = False
    count_include_pad: bool = True

    @property
    def rounds_up(self) -> bool:
        return self.ceil_mode

    @property
    def divisor(self) -> int | None:
        """What each window's sum is divided by, None for the number of elements."""
        return None

    def infer(self, input: TensorType) -> TensorType:
        if self.divisor == 0:
            raise Refused("`divisor_override` must not be 0", "divisor_override")
        return super().infer(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        window = self.window
        if self.divisor is not None:
            # Counting the padding, TensorRT divides every window's sum by the size of the whole window.
            mean = pool(net, input, "AVERAGE", window, net.result)
            factor = math.prod(window.kernel) / self.divisor
            return net.elementwise("PROD", mean, net.scalar(factor, mean))
        if not self.count_include_pad or not any((*window.before, *window.after)):
            return pool(net, input, "AVERAGE", window, net.result, inside=True)
        if window.before == window.after:
            return pool(net, input, "AVERAGE", window, net.result)
        # PyTorch counts its own padding, but not what `ceil_mode` adds after it: the padding becomes part
        # of the input, and the rest is left out of the count.
        amounts = tuple((margin, margin) for margin in self.margin)
        padded = lower_padding(net, input, amounts, "constant")
        rest = tuple(after - margin for after, margin in zip(window.after, self.margin, strict=True))
        none = (0,) * self.spatial
        inner = Window(window.kernel, window.stride, none, rest, window.dilation)
        return pool(net, padded, "AVERAGE", inner, net.result, inside=True)


class _AvgPoolNd(_AvgPool, abstract=True):
    divisor_override: int | None = None

    @property
    def divisor(self) -> int | None:
        return self.divisor_override


_AVG_POOL_MODULE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


class AvgPool1d(_AvgPool):
    """The mean of each window along the last dimension."""

    torch = "torch.nn.functional.avg_pool1d"
    spatial = 1
    spellings = (Spelling("torch.nn.AvgPool1d", _AVG_POOL_MODULE),)
    examples = (
        "avg_pool1d(2)(float32[N, 8, S]) -> float32[N, 8, S // 2]",
        "avg_pool1d(4, stride = 3, padding = 2, ceil_mode = true)(float32[N, 8, S])"
        " -> float32[N, 8, (S + 1) // 3 + 1]",
        "avg_pool1d(3, stride = 1, padding = 1, count_include_pad = false)(float16[4, S]) -> float16[4, S]",
    )


class AvgPool2d(_AvgPoolNd):
    """The mean of each window over the last two dimensions."""

    torch = "torch.nn.functional.avg_pool2d"
    spatial = 2
    spellings = (Spelling("torch.nn.AvgPool2d", (*_AVG_POOL_MODULE, "divisor_override")),)
    examples = (
        "avg_pool2d(2)(float32[N, 8, H, W]) -> float32[N, 8, H // 2, W // 2]",
        "avg_pool2d(3, stride = 1, padding = 1)(float32[N, 4, H, W]) -> float32[N, 4, H, W]",
        "avg_pool2d(3, stride = 2, padding = 1, ceil_mode = true)(float32[N, 4, H, W])"
        " -> float32[N, 4, H // 2 + 1, W // 2 + 1]",
        "avg_pool2d(3, stride = 2, padding = 1, ceil_mode = true, count_include_pad = false)"
        "(float32[N, 4, H, W])"
        " -> float32[N, 4, H // 2 + 1, W // 2 + 1]",
        "avg_pool2d((2, 3), stride = 2, padding = (0, 1), ceil_mode = true, divisor_override = 5)"
        "(float16[4, 7, 8])"
        " -> float16[4, 4, 5]",
    )


class AvgPool3d(_AvgPoolNd):
    """The mean of each window over the last three dimensions."""

    torch = "torch.nn.functional.avg_pool3d"
    spatial = 3
    spellings = (Spelling("torch.nn.AvgPool3d", (*_AVG_POOL_MODULE, "divisor_override")),)
    examples = (
        "avg_pool3d(2)(float32[N, 4, 6, H, W]) -> float32[N, 4, 3, H // 2, W // 2]",
        "avg_pool3d(3, stride = 2, padding = 1, ceil_mode = true)(float32[1, 2, 4, 5, 6])"
        " -> float32[1, 2, 3, 3, 4]",
        "avg_pool3d(2, divisor_override = 3)(float32[1, 2, 4, 5, 6]) -> float32[1, 2, 2, 2, 3]",
    )

    def infer(self, input: TensorType) -> TensorType:
        result = super().infer(input)
        for size, kernel in zip(input.shape[-3:], self.window.kernel, strict=True):
            message = f"PyTorch's avg_pool3d refuses a window of {kernel} over {size}, padded or not"
            require_at_most(kernel, size, message)
        return result
