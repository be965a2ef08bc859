"""Adaptive pools: the output's size is given, the windows follow.

Window ``i`` of ``o`` over a dimension of ``L`` goes from ``floor(i * L / o)`` to ``ceil((i + 1) * L / o)``.
Means and maxima are taken one dimension after the other, each in the cheapest exact way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.pooling import pool
from trtdsl.ops.refused import Refused
from trtdsl.ops.windows import Window, require_spatial, volume_limit
from trtdsl.types import Dim, SymbolicDim, TensorType, equal, surely
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

Way = Literal["keep", "whole", "windows", "parts", "uneven"]
"""How one dimension is pooled: not at all, at once, by a pooling layer, by splitting it (dynamic sizes, and
windows too large for a layer), or by windows of different lengths."""


def way(size: Dim, output: Dim) -> Way:
    """The way from ``size`` to ``output`` elements; refused where the windows depend on the input's size."""
    if surely(equal, size, output):
        return "keep"
    if output == 1:
        return "whole"
    if isinstance(size, int) and isinstance(output, int):
        if size % output:
            return "uneven"
        return "windows" if size // output < volume_limit(1) else "parts"
    if isinstance(output, int) and surely(equal, size % output, 0):
        return "parts"
    raise Refused(
        f"the windows that make {output} of the dynamic {size} would change with the input's size",
        "output_size",
        "1 works for every size, and so does a number that divides all of its range; or fix the dimension",
    )


def lower_adaptive(
    net: Network, x: Tensor, outputs: tuple[Dim, ...], kind: Literal["AVERAGE", "MAX"]
) -> Tensor:
    """``x`` with its last dimensions pooled to ``outputs``."""
    first = x.rank - len(outputs)
    ways: list[Way] = [way(size, output) for size, output in zip(x.shape[first:], outputs, strict=True)]
    reduction = "AVG" if kind == "AVERAGE" else "MAX"
    whole = [first + i for i, chosen in enumerate(ways) if chosen == "whole"]
    if whole:
        x = net.reduce(reduction, x, whole, keepdim=True)
    if "windows" in ways:
        x = _by_windows(net, x, outputs, ways, kind)
    for axis, (chosen, output) in enumerate(zip(ways, outputs, strict=True), first):
        if chosen == "parts":
            x = _by_parts(net, x, axis, output, reduction)
        elif chosen == "uneven" and kind == "AVERAGE":
            x = _by_matrix(net, x, axis, output)
        elif chosen == "uneven":
            x = _by_gather(net, x, axis, output)
    return x


def _by_windows(net: Network, x: Tensor, outputs: tuple[Dim, ...], ways: list[Way], kind: str) -> Tensor:
    """Sizes that are known and divide: one pooling layer for all such dimensions."""
    first = x.rank - len(outputs)
    kernel = tuple(
        size // output if chosen == "windows" and isinstance(size, int) and isinstance(output, int) else 1
        for size, output, chosen in zip(x.shape[first:], outputs, ways, strict=True)
    )
    none, ones = (0,) * len(kernel), (1,) * len(kernel)
    sizes = [size // k for size, k in zip(x.shape[first:], kernel, strict=True)]
    result = x.type.with_shape((*x.shape[:first], *sizes))
    return pool(net, x, kind, Window(kernel, kernel, none, none, ones), result)


def _by_parts(net: Network, x: Tensor, axis: int, output: Dim, reduction: str) -> Tensor:
    """A size that the number of windows divides: the dimension split in two, the inner one reduced."""
    split = (*x.shape[:axis], output, x.shape[axis] // output, *x.shape[axis + 1 :])
    return net.reduce(reduction, net.reshape(x, split), [axis + 1], keepdim=False)


def _bounds(size: Dim, output: Dim) -> list[tuple[int, int]]:
    """Start and end of each window of a size that is known."""
    if isinstance(size, SymbolicDim) or isinstance(output, SymbolicDim):
        raise TypeError(f"windows of {size} into {output} have no fixed bounds")
    return [(i * size // output, -(-(i + 1) * size // output)) for i in range(output)]


def _by_matrix(net: Network, x: Tensor, axis: int, output: Dim) -> Tensor:
    """Means of uneven windows: a product with the matrix that has 1 / length in each row's window."""
    windows = _bounds(x.shape[axis], output)
    matrix: Array = np.zeros((len(windows), windows[-1][1]), np.float64)
    for row, (start, end) in enumerate(windows):
        matrix[row, start:end] = 1 / (end - start)
    weights = net.constant(matrix.astype(x.dtype.numpy))
    if axis == x.rank - 2:
        return net.matmul(weights, x)
    order = [i for i in range(x.rank) if i != axis] + [axis]
    product = net.matmul(net.transpose(x, order), weights, transpose_b=True)
    return net.transpose(product, [order.index(i) for i in range(x.rank)])


def _by_gather(net: Network, x: Tensor, axis: int, output: Dim) -> Tensor:
    """Maxima of uneven windows: each is brought to the longest's length by repeating its last element."""
    windows = _bounds(x.shape[axis], output)
    longest = max(end - start for start, end in windows)
    indices = [[min(start + k, end - 1) for k in range(longest)] for start, end in windows]
    gathered = net.gather(x, net.constant(np.array(indices, np.int32)), axis)
    return net.reduce("MAX", gathered, [axis + 1], keepdim=False)


class _AdaptivePool(Function, abstract=True):
    spatial: ClassVar[int]
    kind: ClassVar[Literal["AVERAGE", "MAX"]]

    output_size: int | tuple[int | None, ...] | None

    def outputs(self, input: TensorType) -> tuple[Dim, ...]:
        sizes = input.shape[-self.spatial :]
        wanted = (
            self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * self.spatial
        )
        if len(wanted) != self.spatial:
            message = f"`output_size` needs one number or {self.spatial}, not {len(wanted)}"
            raise Refused(message, "output_size")
        for output in wanted:
            if output is not None and output < 1:
                raise Refused(f"`output_size` must be at least 1, not {output}", "output_size")
        return tuple(size if output is None else output for size, output in zip(sizes, wanted, strict=True))

    def infer(self, input: TensorType) -> TensorType:
        require_spatial(input, self.spatial, self.name)
        outputs = self.outputs(input)
        for size, output in zip(input.shape[-self.spatial :], outputs, strict=True):
            way(size, output)
        return input.with_shape((*input.shape[: -self.spatial], *outputs))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return lower_adaptive(net, input, self.outputs(input.type), self.kind)


class _AdaptiveAvgPool(_AdaptivePool, abstract=True):
    kind = "AVERAGE"


class _AdaptiveMaxPool(_AdaptivePool, abstract=True):
    kind = "MAX"

    return_indices: bool = False

    def infer(self, input: TensorType) -> TensorType:
        if self.return_indices:
            raise Refused("TensorRT's pooling does not return indices", "return_indices")
        return super().infer(input)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of ``output_size`` windows that cover the last dimension."""

    torch = "torch.nn.functional.adaptive_avg_pool1d"
    spatial = 1
    spellings = (Spelling("torch.nn.AdaptiveAvgPool1d", ("output_size",)),)
    examples = (
        "adaptive_avg_pool1d(1)(float32[N, 8, S]) -> float32[N, 8, 1]",
        "adaptive_avg_pool1d(3)(float32[N, 8, 10]) -> float32[N, 8, 3]",
        "adaptive_avg_pool1d(4)(float16[8, 12]) -> float16[8, 4]",
        "adaptive_avg_pool1d(3)(float32[N, 8, 3 * S]) -> float32[N, 8, 3]",
    )

    output_size: int | tuple[int, ...]


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of windows that cover the last two dimensions; ``none`` keeps a dimension."""

    torch = "torch.nn.functional.adaptive_avg_pool2d"
    spatial = 2
    spellings = (Spelling("torch.nn.AdaptiveAvgPool2d", ("output_size",)),)
    examples = (
        "adaptive_avg_pool2d(1)(float32[N, 8, H, W]) -> float32[N, 8, 1, 1]",
        "adaptive_avg_pool2d((1, none))(float32[N, 8, H, W]) -> float32[N, 8, 1, W]",
        "adaptive_avg_pool2d(7)(float32[N, 8, 14, 7]) -> float32[N, 8, 7, 7]",
        "adaptive_avg_pool2d((3, 6))(float32[N, 8, 10, 10]) -> float32[N, 8, 3, 6]",
        "adaptive_avg_pool2d((5, 1))(float16[8, 3, W]) -> float16[8, 5, 1]",
        "adaptive_avg_pool2d((2, 3))(float32[N, 8, 2 * H, 6 * W]) -> float32[N, 8, 2, 3]",
    )


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of windows that cover the last three dimensions; ``none`` keeps a dimension."""

    torch = "torch.nn.functional.adaptive_avg_pool3d"
    spatial = 3
    spellings = (Spelling("torch.nn.AdaptiveAvgPool3d", ("output_size",)),)
    examples = (
        "adaptive_avg_pool3d(1)(float32[N, 8, 4, H, W]) -> float32[N, 8, 1, 1, 1]",
        "adaptive_avg_pool3d((3, none, 2))(float32[N, 2, 5, 6, 8]) -> float32[N, 2, 3, 6, 2]",
    )


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of ``output_size`` windows that cover the last dimension."""

    torch = "torch.nn.functional.adaptive_max_pool1d"
    spatial = 1
    spellings = (Spelling("torch.nn.AdaptiveMaxPool1d", ("output_size", "return_indices")),)
    examples = (
        "adaptive_max_pool1d(1)(float32[N, 8, S]) -> float32[N, 8, 1]",
        "adaptive_max_pool1d(3)(float16[8, 10]) -> float16[8, 3]",
    )

    output_size: int | tuple[int, ...]


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of windows that cover the last two dimensions; ``none`` keeps a dimension."""

    torch = "torch.nn.functional.adaptive_max_pool2d"
    spatial = 2
    spellings = (Spelling("torch.nn.AdaptiveMaxPool2d", ("output_size", "return_indices")),)
    examples = (
        "adaptive_max_pool2d(1)(float32[N, 8, H, W]) -> float32[N, 8, 1, 1]",
        "adaptive_max_pool2d((3, 5))(float32[N, 8, 10, 10]) -> float32[N, 8, 3, 5]",
        "adaptive_max_pool2d((none, 3))(float32[8, 4, 6]) -> float32[8, 4, 3]",
        "adaptive_max_pool2d((2, 1))(float32[N, 8, 2 * H, W]) -> float32[N, 8, 2, 1]",
    )


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest elements of windows that cover the last three dimensions; ``none`` keeps a dimension."""

    torch = "torch.nn.functional.adaptive_max_pool3d"
    spatial = 3
    spellings = (Spelling("torch.nn.AdaptiveMaxPool3d", ("output_size", "return_indices")),)
    examples = (
        "adaptive_max_pool3d(1)(float32[N, 8, 4, H, W]) -> float32[N, 8, 1, 1, 1]",
        "adaptive_max_pool3d((3, 2, 2))(float32[N, 2, 5, 6, 8]) -> float32[N, 2, 3, 2, 2]",
    )
