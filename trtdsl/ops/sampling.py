"""Images read at computed points: ``grid_sample`` and the grids of affine maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.arithmetic_layers import widened_by_torch
from trtdsl.ops.base import Function, static
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.creation import Listed
from trtdsl.ops.indexing import Select
from trtdsl.ops.logic import To
from trtdsl.ops.pointwise import Add, Mul
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, require_floating, require_rank, same_dim
from trtdsl.ops.shape import Reshape
from trtdsl.types import Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_INTERPOLATION = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
_SAMPLING = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


class GridSample(Function):
    """The input read at the points of ``grid``, whose last dimension is ``(x, y)``, or ``(x, y, z)``.

    -1 and 1 are the outer edges of the input's first and last elements, their centres with
    ``align_corners``. ``padding_mode`` says what is beyond: zeros, the border, or its mirror image.
    """

    torch = "torch.nn.functional.grid_sample"
    examples = (
        "grid_sample()(float32[N, 3, H, W], float32[N, 5, S, 2]) -> float32[N, 3, 5, S]",
        'grid_sample(mode = "nearest", padding_mode = "border")(float32[2, 3, H, W], float32[2, S, 4, 2])'
        " -> float32[2, 3, S, 4]",
        'grid_sample(mode = "bicubic", padding_mode = "reflection")(float32[N, 3, 8, 9], float32[N, 4, 4, 2])'
        " -> float32[N, 3, 4, 4]",
        'grid_sample(padding_mode = "border", align_corners = true)(float16[N, 3, H, W], float16[N, 5, 6, 2])'
        " -> float16[N, 3, 5, 6]",
        'grid_sample(mode = "bicubic", align_corners = true)(float32[1, 2, H, W], float32[1, 5, 6, 2])'
        " -> float32[1, 2, 5, 6]",
        "grid_sample()(bfloat16[N, 3, 8, 8], bfloat16[N, 5, 6, 2]) -> bfloat16[N, 3, 5, 6]",
        'grid_sample(padding_mode = "reflection")(float32[N, 2, 4, 5, 6], float32[N, 2, S, 4, 3])'
        " -> float32[N, 2, 2, S, 4]",
    )

    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear"
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros"
    align_corners: bool | None = None

    def infer(self, input: TensorType, grid: TensorType) -> TensorType:
        require_floating(input, "grid_sample", "input")
        require_rank(input, (4, 5), "grid_sample", "input")
        if self.mode == "bicubic" and input.rank == 5:
            raise Refused('mode "bicubic" needs a tensor of rank 4, as in PyTorch', "mode")
        if grid.dtype is not input.dtype:
            raise Refused(f"the grid must be {input.dtype} as the input is, not {grid.dtype}", "grid")
        require_rank(grid, (input.rank,), f"the grid for a tensor of rank {input.rank}", "grid")
        spatial = input.rank - 2
        if not same_dim(grid.shape[-1], spatial, "the grid's last dimension", "grid"):
            raise Refused(f"the grid's last dimension must be {spatial}, not {grid.shape[-1]}", "grid")
        if not same_dim(input.shape[0], grid.shape[0], "grid_sample of a batch", "grid"):
            raise Refused(f"a batch of {input.shape[0]} needs as many grids, not {grid.shape[0]}", "grid")
        require_elements(input, range(2, input.rank), "grid_sample")
        return input.with_shape((*input.shape[:2], *grid.shape[1:-1]))

    def lower(self, net: Network, input: Tensor, grid: Tensor) -> Tensor:
        return net.add(
            "grid_sample",
            input,
            grid,
            result=net.result,
            interpolation_mode=net.enum(f"InterpolationMode.{_INTERPOLATION[self.mode]}"),
            sample_mode=net.enum(f"SampleMode.{_SAMPLING[self.padding_mode]}"),
            align_corners=bool(self.align_corners),
        )

    def reference(self, torch: Any, input: Any, grid: Any) -> Any:
        # Without an answer PyTorch means False, and warns that it once meant True.
        wide, points = widened_by_torch(torch, input), widened_by_torch(torch, grid)
        align = bool(self.align_corners)
        found = torch.nn.functional.grid_sample(wide, points, self.mode, self.padding_mode, align)
        return found.to(input.dtype)


class AffineGrid(Composed):
    """The grid with which :class:`GridSample` maps images of ``size`` by the matrices ``theta``."""

    torch = "torch.nn.functional.affine_grid"
    examples = (
        "affine_grid((N, 3, 4, 5))(float32[N, 2, 3]) -> float32[N, 4, 5, 2]",
        "affine_grid((N, 3, 4, 7), align_corners = true)(float32[N, 2, 3]) -> float32[N, 4, 7, 2]",
        "affine_grid((2, 1, 3, 4, 5))(float32[2, 3, 4]) -> float32[2, 3, 4, 5, 3]",
        "affine_grid((N, 1, 4, 5))(float16[N, 2, 3]) -> float16[N, 4, 5, 2]",
    )

    size: tuple[Dim, ...]
    align_corners: bool | None = None

    def compose(self, emit: Emit, theta: Part) -> Part:
        sizes = self._checked(type_of_part(theta))
        wide, spatial = emit(To(DType.FLOAT32), theta), len(sizes)
        batch = theta.shape[0]
        columns = [
            emit(Reshape((batch, *(1,) * spatial, spatial)), emit(Select(2, index), wide))
            for index in range(spatial + 1)
        ]
        total = columns[-1]
        # The first column belongs to x, the last dimension.
        for axis, (column, count) in enumerate(zip(columns[:-1], reversed(sizes), strict=True)):
            places = emit(Listed(self._places(count), DType.FLOAT32))
            places = emit(Reshape((count, *(1,) * axis, 1)), places)
            total = emit(Add(), emit(Mul(), places, column), total)
        return emit(To(theta.dtype), total)

    def _checked(self, theta: TensorType) -> list[int]:
        """The sizes of the image's dimensions."""
        require_floating(theta, "affine_grid", "theta")
        spatial = len(self.size) - 2
        if spatial not in (2, 3):
            raise Refused(
                f"`size` must be (N, C, H, W) or (N, C, D, H, W), not {len(self.size)} sizes", "size"
            )
        if theta.rank != 3 or theta.shape[1:] != (spatial, spatial + 1):
            wanted = f"[N, {spatial}, {spatial + 1}]"
            raise Refused(f"for a size of {len(self.size)} `theta` must be {wanted}, not {theta}", "theta")
        if not same_dim(theta.shape[0], self.size[0], "affine_grid", "size"):
            raise Refused(f"`size` names {self.size[0]} images for {theta.shape[0]} matrices", "size")
        sizes = [static(size, "an image size of affine_grid", "size") for size in self.size[2:]]
        for size in (*sizes, self.size[1]):
            if isinstance(size, int) and size < 1:
                raise Refused(f"`size` must be positive, not {size}", "size")
        return sizes

    def _places(self, count: int) -> Any:
        """Where the elements of a dimension lie between -1 and 1."""
        numbers = 2.0 * np.arange(count) + (1 - count)
        return tuple((numbers / (max(count - 1, 1) if self.align_corners else count)).tolist())

    def reference(self, torch: Any, theta: Any) -> Any:
        return torch.nn.functional.affine_grid(theta, list(self.size), bool(self.align_corners))
