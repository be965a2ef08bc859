"""Parts of feature maps under boxes, by torchvision's names: ``roi_align`` and ``ps_roi_align``.

Both read the map between its elements at a fixed number of points in each cell of a grid over the box, as
gathers of four neighbours each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trtdsl.ops.base import Function, Spelling, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, require_floating, require_rank, same_dim
from trtdsl.ops.windows import per_axis
from trtdsl.types import Dim, DType, SymbolicDim, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _require_regions(what: str, input: TensorType, boxes: TensorType, ratio: int) -> None:
    require_floating(input, what, "input")
    require_rank(input, (4,), what, "input")
    require_elements(input, range(4), what)
    if boxes.dtype is not input.dtype:
        raise Refused(f"the boxes must be {input.dtype} as the input is, not {boxes.dtype}", "boxes")
    if boxes.rank != 2 or not same_dim(boxes.shape[1], 5, "the boxes' last dimension", "boxes"):
        raise Refused(
            f"{what} needs boxes [K, 5], the number of the image and the corners x1, y1, x2, y2, not {boxes}",
            "boxes",
            "where all boxes are of one image, `pad(boxes, (1, 0))` puts its number 0 in front",
        )
    if ratio < 1:
        raise Refused(
            "without a `sampling_ratio` the number of points depends on how large each box is at run time",
            "sampling_ratio",
            "torchvision's detectors have a `sampling_ratio` of 2",
        )


class _Points(msgspec.Struct, frozen=True):
    """Points along one dimension, ``[K, P]`` each: the elements beside them and how much each counts."""

    low: Tensor
    high: Tensor
    near: Tensor
    far: Tensor

    def neighbours(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return (self.low, self.near), (self.high, self.far)


class _Grid(msgspec.Struct, frozen=True):
    """The grid over each box: ``cells`` down and across with ``ratio`` points each way in a cell.

    ``offset`` is what is taken off scaled corners, ``least`` how large a box is at least.
    """

    cells: tuple[int, ...]
    ratio: int
    scale: float
    offset: float
    least: float | None

    def points(self, net: Network, boxes: Tensor, axis: int, size: Dim) -> _Points:
        """The points along dimension ``axis`` of the map, 0 for its height, which has ``size`` elements."""

        def corner(column: int) -> Tensor:
            x = net.slice(boxes, (0, column), (boxes.shape[0], 1))
            scaled = net.elementwise("PROD", x, net.scalar(self.scale, x))
            return net.elementwise("SUB", scaled, net.scalar(self.offset, x))

        first, last = corner(2 - axis), corner(4 - axis)
        extent = net.elementwise("SUB", last, first)
        if self.least is not None:
            extent = net.elementwise("MAX", extent, net.scalar(self.least, extent))
        cell = net.elementwise("DIV", extent, net.scalar(self.cells[axis], extent))
        # In torchvision's order, for what rounds across the border of the map counts or does not.
        numbers = np.repeat(np.arange(self.cells[axis]), self.ratio).astype(np.float32)
        parts = np.tile(np.arange(self.ratio) + 0.5, self.cells[axis]).astype(np.float32)
        start = net.elementwise("SUM", first, net.elementwise("PROD", net.constant(numbers[None]), cell))
        within = net.elementwise("PROD", net.constant(parts[None]), cell)
        within = net.elementwise("DIV", within, net.scalar(self.ratio, within))
        return _beside(net, net.elementwise("SUM", start, within), size)

    def reduced(self, net: Network, x: Tensor) -> Tensor:
        """``[K, points down, points across, C]`` to ``[K, C, cells down, cells across]``."""
        down, across = self.cells
        count, channels = x.shape[0], x.shape[3]
        split = net.reshape(x, (count, down, self.ratio, across, self.ratio, channels))
        return net.transpose(net.reduce("AVG", split, [2, 4], keepdim=False), (0, 3, 1, 2))


def _beside(net: Network, places: Tensor, size: Dim) -> _Points:
    """Points up to one element beyond the map read its edge, those further away count nothing."""
    length = _number(net, size, DType.FLOAT32)
    last = net.elementwise("SUB", length, net.scalar(1, length))
    outside = net.elementwise(
        "OR",
        net.elementwise("LESS", places, net.scalar(-1, places)),
        net.elementwise("GREATER", places, length),
    )
    inside = net.elementwise("MIN", net.elementwise("MAX", places, net.scalar(0, places)), last)
    low = net.unary("FLOOR", inside)
    high = net.elementwise("MIN", net.elementwise("SUM", low, net.scalar(1, low)), last)
    far = net.elementwise("SUB", inside, low)
    near = net.elementwise("SUB", net.scalar(1, far), far)
    none = net.scalar(0, far)
    return _Points(
        net.cast(low, DType.INT32),
        net.cast(high, DType.INT32),
        net.select(outside, none, near),
        net.select(outside, none, far),
    )


def _number(net: Network, dim: Dim, dtype: DType) -> Tensor:
    """A dimension as a number ``[1, 1]``."""
    if not isinstance(dim, SymbolicDim):
        return net.filled((1, 1), dim, dtype)
    return net.reshape(net.cast(net.shape_tensor((dim,)), dtype), (1, 1))


def _read(net: Network, rows: Tensor, first: Tensor, size: tuple[Dim, Dim], points: list[_Points]) -> Tensor:
    """``[K, points down, points across, C]`` of maps whose elements are ``rows``.

    ``first`` says how many maps stand before each point's.
    """
    height, width = (_number(net, dim, DType.INT32) for dim in size)
    down, across = points
    count = down.low.shape[0]
    total: Tensor | None = None
    for y, vertical in down.neighbours():
        line = net.reshape(y, (count, y.shape[1], 1))
        line = net.elementwise("SUM", net.elementwise("PROD", first, height), line)
        line = net.elementwise("PROD", line, width)
        for x, horizontal in across.neighbours():
            place = net.elementwise("SUM", line, net.reshape(x, (count, 1, x.shape[1])))
            weight = net.elementwise(
                "PROD",
                net.reshape(vertical, (count, y.shape[1], 1, 1)),
                net.reshape(horizontal, (count, 1, x.shape[1], 1)),
            )
            part = net.elementwise("PROD", net.gather(rows, place, 0), net.cast(weight, rows.dtype))
            total = part if total is None else net.elementwise("SUM", total, part)
    if total is None:
        raise TypeError("a point has neighbours")
    return total


def _images(net: Network, boxes: Tensor) -> Tensor:
    """The number of the image of each box, ``[K, 1, 1]``."""
    column = net.slice(boxes, (0, 0), (boxes.shape[0], 1))
    return net.reshape(net.cast(column, DType.INT32), (boxes.shape[0], 1, 1))


class RoiAlign(Function):
    """Each box of ``boxes`` as a small map: means of points read between the elements of ``input``.

    A box is the number of its image and two corners, ``x1, y1, x2, y2``; ``spatial_scale`` is that of the map
    to them. ``aligned`` takes an element's centre for its place.
    """

    torch = "torchvision.ops.roi_align"
    spellings = (
        Spelling("torchvision.ops.RoIAlign", ("output_size", "spatial_scale", "sampling_ratio", "aligned")),
    )
    examples = (
        "roi_align(3, spatial_scale = 0.5, sampling_ratio = 2)(float32[N, 4, H, W], float32[S, 5])"
        " -> float32[S, 4, 3, 3]",
        "roi_align((2, 3), sampling_ratio = 1, aligned = true)(float32[1, 4, 8, 9], float32[4, 5])"
        " -> float32[4, 4, 2, 3]",
        "roi_align(2, spatial_scale = 0.25, sampling_ratio = 3)(float16[N, 4, 9, W], float16[S, 5])"
        " -> float16[S, 4, 2, 2]",
    )

    output_size: int | tuple[int, ...]
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = False

    def _grid(self) -> _Grid:
        cells = per_axis(self.output_size, 2, "output_size", 1)
        offset, least = (0.5, None) if self.aligned else (0.0, 1.0)
        return _Grid(cells, self.sampling_ratio, self.spatial_scale, offset, least)

    def infer(self, input: TensorType, boxes: TensorType) -> TensorType:
        _require_regions("roi_align", input, boxes, self.sampling_ratio)
        return input.with_shape((boxes.shape[0], input.shape[1], *self._grid().cells))

    def lower(self, net: Network, input: Tensor, boxes: Tensor) -> Tensor:
        grid, boxes = self._grid(), net.cast(boxes, DType.FLOAT32)
        images, channels, height, width = input.shape
        rows = net.reshape(net.transpose(input, (0, 2, 3, 1)), (images * height * width, channels))
        points = [grid.points(net, boxes, axis, size) for axis, size in enumerate((height, width))]
        return grid.reduced(net, _read(net, rows, _images(net, boxes), (height, width), points))


class PsRoiAlign(Function):
    """Like :class:`RoiAlign`, where each cell of the grid has channels of its own, with ``aligned``."""

    torch = "torchvision.ops.ps_roi_align"
    spellings = (Spelling("torchvision.ops.PSRoIAlign", ("output_size", "spatial_scale", "sampling_ratio")),)
    examples = (
        "ps_roi_align(2, spatial_scale = 0.5, sampling_ratio = 2)(float32[N, 12, H, W], float32[S, 5])"
        " -> float32[S, 3, 2, 2]",
        "ps_roi_align((2, 3), sampling_ratio = 1)(float16[1, 6, 8, 9], float16[4, 5]) -> float16[4, 1, 2, 3]",
    )

    output_size: int | tuple[int, ...]
    spatial_scale: float = 1.0
    sampling_ratio: int = -1

    def _grid(self) -> _Grid:
        cells = per_axis(self.output_size, 2, "output_size", 1)
        return _Grid(cells, self.sampling_ratio, self.spatial_scale, 0.5, None)

    def infer(self, input: TensorType, boxes: TensorType) -> TensorType:
        _require_regions("ps_roi_align", input, boxes, self.sampling_ratio)
        down, across = self._grid().cells
        channels = static(input.shape[1], "the number of channels", "input")
        if channels % (down * across):
            text = f"the {channels} channels are not divisible by the {down} * {across} cells"
            raise Refused(text, "output_size")
        return input.with_shape((boxes.shape[0], channels // (down * across), down, across))

    def lower(self, net: Network, input: Tensor, boxes: Tensor) -> Tensor:
        grid, boxes = self._grid(), net.cast(boxes, DType.FLOAT32)
        images, _, height, width = input.shape
        channels, down, across = net.result.shape[1], *grid.cells
        split = net.reshape(input, (images, channels, down, across, height, width))
        split = net.transpose(split, (0, 2, 3, 4, 5, 1))
        rows = net.reshape(split, (images * (down * across) * height * width, channels))
        cell = np.arange(down * across, dtype=np.int32).reshape(down, across)
        cell = cell.repeat(grid.ratio, 0).repeat(grid.ratio, 1)[None]
        first = _images(net, boxes)
        first = net.elementwise("PROD", first, net.scalar(down * across, first))
        first = net.elementwise("SUM", first, net.constant(cell))
        points = [grid.points(net, boxes, axis, size) for axis, size in enumerate((height, width))]
        return grid.reduced(net, _read(net, rows, first, (height, width), points))
