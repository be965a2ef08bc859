"""Power-average pools: the root of each window's sum of powers."""

from __future__ import annotations

import math
from typing import ClassVar

from trtdsl.ops.base import Spelling
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.piecewise_linear import Relu
from trtdsl.ops.pointwise import Mul, Pow
from trtdsl.ops.pooling import AvgPool1d, AvgPool2d, AvgPool3d
from trtdsl.ops.refused import Refused
from trtdsl.ops.unary import Abs, Sign
from trtdsl.ops.windows import per_axis, require_spatial

_AVERAGES = {1: AvgPool1d, 2: AvgPool2d, 3: AvgPool3d}
_MODULE = ("norm_type", "kernel_size", "stride", "ceil_mode")


class _LpPool(Composed, abstract=True):
    spatial: ClassVar[int]

    norm_type: float
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    ceil_mode: bool = False

    def compose(self, emit: Emit, input: Part) -> Part:
        require_spatial(type_of_part(input), self.spatial, self.name)
        if self.norm_type == 0:
            raise Refused("the order of the root must not be 0", "norm_type")
        volume = math.prod(per_axis(self.kernel_size, self.spatial, "kernel_size", 1))
        average = _AVERAGES[self.spatial](self.kernel_size, self.stride, ceil_mode=self.ceil_mode)
        mean = emit(average, emit(Pow(), input, self.norm_type))
        # PyTorch's own way to a sum, which keeps its sign.
        mean = emit(Mul(), emit(Sign(), mean), emit(Relu(), emit(Abs(), mean)))
        return emit(Pow(), emit(Mul(), mean, float(volume)), 1.0 / self.norm_type)


class LpPool1d(_LpPool):
    """``sum(x ** norm_type) ** (1 / norm_type)`` of each window along the last dimension."""

    torch = "torch.nn.functional.lp_pool1d"
    spatial = 1
    spellings = (Spelling("torch.nn.LPPool1d", _MODULE),)
    examples = (
        "lp_pool1d(2.0, 3)(float32[N, 4, S + 2]) -> float32[N, 4, (S + 2) // 3]",
        "lp_pool1d(4.0, 3, stride = 2, ceil_mode = true)(float32[4, 8]) -> float32[4, 4]",
    )


class LpPool2d(_LpPool):
    """``sum(x ** norm_type) ** (1 / norm_type)`` of each window over the last two dimensions."""

    torch = "torch.nn.functional.lp_pool2d"
    spatial = 2
    spellings = (Spelling("torch.nn.LPPool2d", _MODULE),)
    examples = (
        "lp_pool2d(2.0, 3)(float32[N, 4, H, W]) -> float32[N, 4, H // 3, W // 3]",
        "lp_pool2d(2.0, (2, 3), stride = 1)(float16[N, 4, 5, W]) -> float16[N, 4, 4, W - 2]",
    )


class LpPool3d(_LpPool):
    """``sum(x ** norm_type) ** (1 / norm_type)`` of each window over the last three dimensions."""

    torch = "torch.nn.functional.lp_pool3d"
    spatial = 3
    spellings = (Spelling("torch.nn.LPPool3d", _MODULE),)
    examples = ("lp_pool3d(2.0, 2, ceil_mode = true)(float32[N, 2, 3, 4, 5]) -> float32[N, 2, 2, 2, 3]",)
