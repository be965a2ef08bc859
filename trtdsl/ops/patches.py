"""Windows laid out as columns, and columns laid back: ``unfold`` (im2col) and ``fold`` (col2im).

Both move elements and add them, dimension by dimension: a convolution with an identity kernel may round
its input to TF32, and would be larger.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.pad import lower_padding
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, require_floating, same_dim
from trtdsl.ops.windows import Window, per_axis
from trtdsl.types import Dim, TensorType, bounds

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _window(op: Unfold | Fold) -> Window:
    margin = per_axis(op.padding, 2, "padding", 0)
    return Window(
        per_axis(op.kernel_size, 2, "kernel_size", 1),
        per_axis(op.stride, 2, "stride", 1),
        margin,
        margin,
        per_axis(op.dilation, 2, "dilation", 1),
    )


def _tiles(window: Window) -> bool:
    """Whether the windows lie side by side, without padding."""
    return window.stride == window.kernel and window.dilation == (1, 1) and window.before == (0, 0)


class Unfold(Function):
    """Every window over the last two dimensions as a column: ``[N, C, H, W]`` to ``[N, C * kernel, L]``."""

    torch = "torch.nn.functional.unfold"
    spellings = (Spelling("torch.nn.Unfold", ("kernel_size", "dilation", "padding", "stride")),)
    examples = (
        "unfold(3)(float32[N, 4, 8, 9]) -> float32[N, 36, 42]",
        "unfold((2, 3), dilation = (1, 2), padding = (1, 2), stride = (2, 1))(float32[N, 4, H, W])"
        " -> float32[N, 24, (H // 2 + 1) * W]",
        "unfold(4, stride = 4)(float16[3, H, 10]) -> float16[48, H // 4 * 2]",
        "unfold(1)(float32[N, 4, H, W]) -> float32[N, 4, H * W]",
        "unfold((2, 2), stride = 3, padding = 1)(bfloat16[N, 1, 8, 8]) -> bfloat16[N, 4, 9]",
    )

    kernel_size: int | tuple[int, ...]
    dilation: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    stride: int | tuple[int, ...] = 1

    def infer(self, input: TensorType) -> TensorType:
        window = _window(self)
        require_floating(input, "unfold", "input")
        if input.rank not in (3, 4):
            raise Refused(f"unfold needs a tensor [N, C, H, W] or [C, H, W], not {input}", "input")
        require_elements(input, range(input.rank - 3, input.rank), "unfold")
        *batch, channels, height, width = input.shape
        rows, columns = window.sizes((height, width))
        return input.with_shape((*batch, channels * prod(window.kernel), rows * columns))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        window = _window(self)
        *batch, channels, height, width = input.shape
        lead = len(batch) + 1
        rows, columns = window.sizes((height, width))
        if _tiles(window):
            (high, wide), shape = window.kernel, (rows * window.kernel[0], columns * window.kernel[1])
            if shape != (height, width):
                input = net.slice(input, (0,) * input.rank, (*batch, channels, *shape))
            split = net.reshape(input, (*batch, channels, rows, high, columns, wide))
            order = (*range(lead), lead + 1, lead + 3, lead, lead + 2)
            return net.reshape(net.transpose(split, order), net.result.shape)
        margins = tuple((margin, margin) for margin in window.before)
        x = lower_padding(net, input, margins, "constant")
        # [*, C, H, W] to [*, C, kh, rows, W] to [*, C, kh, kw, rows, columns]
        x = _windows(net, x, lead, lead, window, 0, rows)
        x = _windows(net, x, lead + 2, lead + 1, window, 1, columns)
        return net.reshape(x, net.result.shape)


def _windows(
    net: Network, x: Tensor, axis: int, place: int, window: Window, spatial: int, count: Dim
) -> Tensor:
    """The ``count`` windows along an axis; the elements of each become a new dimension at ``place``."""
    stride = tuple(window.stride[spatial] if i == axis else 1 for i in range(x.rank))
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    parts: list[Tensor] = []
    for element in range(window.kernel[spatial]):
        start = [0] * x.rank
        start[axis] = element * window.dilation[spatial]
        part = x if shape == x.shape else net.slice(x, start, shape, stride)
        parts.append(net.reshape(part, (*shape[:place], 1, *shape[place:])))
    return net.concat(parts, place) if len(parts) > 1 else parts[0]


class Fold(Function):
    """The reverse of :class:`Unfold`: columns laid back into an image, what overlaps added."""

    torch = "torch.nn.functional.fold"
    spellings = (Spelling("torch.nn.Fold", ("output_size", "kernel_size", "dilation", "padding", "stride")),)
    examples = (
        "fold((8, 9), 3)(float32[N, 36, 42]) -> float32[N, 4, 8, 9]",
        "fold((H, 7), (2, 3), dilation = (1, 2), padding = (1, 2), stride = (1, 2))"
        "(float32[N, 24, 4 * H + 4]) -> float32[N, 4, H, 7]",
        "fold((4 * H, 8), 4, stride = 4)(float16[48, 2 * H]) -> float16[3, 4 * H, 8]",
        "fold(7, 2, stride = 3)(float32[N, 8, 4]) -> float32[N, 2, 7, 7]",
    )

    output_size: Dim | tuple[Dim, ...]
    kernel_size: int | tuple[int, ...]
    dilation: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    stride: int | tuple[int, ...] = 1

    def _sizes(self) -> tuple[Dim, ...]:
        sizes = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * 2
        if len(sizes) != 2:
            raise Refused(f"`output_size` needs one number or 2, not {len(sizes)}", "output_size")
        for size in sizes:
            if bounds(size)[0] < 1:
                raise Refused(f"`output_size` must be at least 1, not {size}", "output_size")
        return sizes

    def infer(self, input: TensorType) -> TensorType:
        window = _window(self)
        elements = prod(window.kernel)
        require_floating(input, "fold", "input")
        if input.rank not in (2, 3):
            raise Refused(f"fold needs a tensor [N, C * kernel, L] or [C * kernel, L], not {input}", "input")
        require_elements(input, range(input.rank - 2, input.rank), "fold")
        *batch, channels, length = input.shape
        what = f"the second dimension from the end must be divisible by the {elements} of a window"
        if not same_dim(channels % elements, 0, what, "input"):
            text = f"the {channels} channels are not divisible by the {elements} elements of a window"
            raise Refused(text, "kernel_size")
        rows, columns = window.sizes(self._sizes())
        if not same_dim(length, rows * columns, "fold of so many columns", "output_size"):
            text = f"there are {rows} * {columns} windows in the output, and {length} columns"
            raise Refused(text, "output_size")
        return input.with_shape((*batch, channels // elements, *self._sizes()))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        window, sizes = _window(self), self._sizes()
        elements = prod(window.kernel)
        *batch, channels, _ = input.shape
        lead = (*batch, channels // elements)
        rows, columns = window.sizes(sizes)
        x = net.reshape(input, (*lead, *window.kernel, rows, columns))
        if _tiles(window) and (rows * window.kernel[0], columns * window.kernel[1]) == sizes:
            first = len(lead)
            order = (*range(first), first + 2, first, first + 3, first + 1)
            return net.reshape(net.transpose(x, order), net.result.shape)
        # [*, C, kh, kw, rows, columns] to [*, C, kh, rows, W] to [*, C, H, W]
        x = _laid_back(net, x, len(lead) + 1, window, 1, sizes[1])
        first = len(lead)
        x = net.transpose(x, (*range(first + 1), first + 2, first + 1))
        x = _laid_back(net, x, first, window, 0, sizes[0])
        return net.transpose(x, (*range(first), first + 1, first))


def _laid_back(net: Network, x: Tensor, axis: int, window: Window, spatial: int, size: Dim) -> Tensor:
    """The windows along the last dimension, whose elements are dimension ``axis``, added at their places."""
    stride, before = window.stride[spatial], window.before[spatial]
    *lead, count = x.shape
    if stride > 1:
        spread = lower_padding(net, net.reshape(x, (*lead, count, 1)), ((0, stride - 1),), "constant")
        x = net.reshape(spread, (*lead, count * stride))
    shape = (*(1 if i == axis else length for i, length in enumerate(lead)), count * stride)
    total: Tensor | None = None
    for element in range(window.kernel[spatial]):
        start = [0] * x.rank
        start[axis] = element
        part = x if shape == x.shape else net.slice(x, start, shape)
        part = net.reshape(part, (*shape[:axis], *shape[axis + 1 :]))
        first = element * window.dilation[spatial] - before
        placed = lower_padding(net, part, ((first, size - count * stride - first),), "constant")
        total = placed if total is None else net.elementwise("SUM", total, placed)
    if total is None:
        raise TypeError("a window has elements")
    return total
