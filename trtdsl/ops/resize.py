"""Resizing: interpolation, and the shuffles between channels and pixels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from trtdsl.ops.adaptive import lower_adaptive, way
from trtdsl.ops.base import Function, Refused, Spelling
from trtdsl.ops.rules import require_floating, same_dim
from trtdsl.types import Dim, TensorType, bounds

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"]

_RANKS = {
    "nearest": (3, 4, 5),
    "nearest-exact": (3, 4, 5),
    "area": (3, 4, 5),
    "linear": (3,),
    "bilinear": (4,),
    "bicubic": (4,),
    "trilinear": (5,),
}
_ALIGNABLE = ("linear", "bilinear", "bicubic", "trilinear")
_INTERPOLATION = {"nearest": "NEAREST", "nearest-exact": "NEAREST", "bicubic": "CUBIC"}

# The largest divisor tried for a scale factor such as 2 / 3 on a dynamic dimension.
_LARGEST_DIVISOR = 1000


class Interpolate(Function):
    """The last dimensions resampled to ``size``, or to ``floor(input size * scale_factor)``.

    As in PyTorch, coordinates follow the given ``scale_factor`` itself unless ``recompute_scale_factor`` is
    set, and the ratio of the sizes otherwise.
    """

    torch = "torch.nn.functional.interpolate"
    spellings = (
        Spelling("torch.nn.Upsample", ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")),
        Spelling("torch.nn.UpsamplingNearest2d", ("size", "scale_factor"), fixed={"mode": "nearest"}),
        Spelling(
            "torch.nn.UpsamplingBilinear2d",
            ("size", "scale_factor"),
            fixed={"mode": "bilinear", "align_corners": True},
        ),
    )
    examples = (
        "interpolate(scale_factor = 2)(float32[N, 8, H, W]) -> float32[N, 8, 2 * H, 2 * W]",
        "interpolate((2 * H, 31))(float32[N, 8, H, W]) -> float32[N, 8, 2 * H, 31]",
        'interpolate(size = 7, mode = "nearest-exact")(float32[N, 8, S]) -> float32[N, 8, 7]',
        'interpolate(scale_factor = (0.5, 1.5), mode = "bilinear")(float32[N, 8, H, W])'
        " -> float32[N, 8, H // 2, 3 * W // 2]",
        'interpolate(scale_factor = 1.7, mode = "bilinear")(float32[1, 8, 5, 9]) -> float32[1, 8, 8, 15]',
        'interpolate(scale_factor = 1.7, mode = "bilinear", recompute_scale_factor = true)(float32[1, 8, 5, 9])'
        " -> float32[1, 8, 8, 15]",
        'interpolate((9, W), mode = "bilinear", align_corners = true)(float32[N, 8, H, W]) -> float32[N, 8, 9, W]',
        'interpolate(1, mode = "bilinear", align_corners = true)(float32[N, 8, H, W]) -> float32[N, 8, 1, 1]',
        'interpolate(9, mode = "linear")(float16[N, 8, S]) -> float16[N, 8, 9]',
        'interpolate((11, 6), mode = "bicubic")(float32[1, 8, 5, 9]) -> float32[1, 8, 11, 6]',
        'interpolate(scale_factor = 2, mode = "trilinear")(float32[1, 2, 3, 4, 5]) -> float32[1, 2, 6, 8, 10]',
        'interpolate((3, 4), mode = "area")(float32[N, 8, 10, 8]) -> float32[N, 8, 3, 4]',
    )

    size: Dim | tuple[Dim, ...] | None = None
    scale_factor: float | tuple[float, ...] | None = None
    mode: Mode = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None
    antialias: bool = False

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "interpolate", "input")
        if input.rank not in _RANKS[self.mode]:
            ranks = " or ".join(map(str, _RANKS[self.mode]))
            raise Refused(f'mode "{self.mode}" needs a tensor of rank {ranks}, not {input}', "mode")
        if self.antialias:
            raise Refused("TensorRT's resize has no antialiasing", "antialias")
        if self.align_corners is not None and self.mode not in _ALIGNABLE:
            raise Refused(f'`align_corners` has no meaning with mode "{self.mode}"', "align_corners")
        outputs = self._outputs(input)
        if self.mode == "area":
            for size, output in zip(input.shape[2:], outputs, strict=True):
                way(size, output)
        return input.with_shape((*input.shape[:2], *outputs))

    def _outputs(self, input: TensorType) -> tuple[Dim, ...]:
        if (self.size is None) == (self.scale_factor is None):
            raise Refused("interpolate needs either `size` or `scale_factor`", "size")
        spatial = input.rank - 2
        scales = self._scales(spatial)
        if scales is not None:
            return tuple(_scaled(size, scale) for size, scale in zip(input.shape[2:], scales, strict=True))
        if self.recompute_scale_factor:
            raise Refused("`recompute_scale_factor` has no meaning with `size`", "recompute_scale_factor")
        sizes = self.size if isinstance(self.size, tuple) else (self.size,) * spatial
        known = tuple(size for size in sizes if size is not None)
        if len(known) != spatial:
            raise Refused(f"`size` needs one number or {spatial}, not {len(known)}", "size")
        for size in known:
            if bounds(size)[0] < 1:
                raise Refused(f"`size` must be at least 1, not {size}", "size")
        return known

    def _scales(self, spatial: int) -> tuple[float, ...] | None:
        if self.scale_factor is None:
            return None
        given = self.scale_factor
        scales = given if isinstance(given, tuple) else (given,) * spatial
        if len(scales) != spatial:
            raise Refused(f"`scale_factor` needs one number or {spatial}, not {len(scales)}", "scale_factor")
        for scale in scales:
            if not (scale > 0 and math.isfinite(scale)):
                raise Refused(f"`scale_factor` must be a positive number, not {scale}", "scale_factor")
        return scales

    def lower(self, net: Network, input: Tensor) -> Tensor:
        shape = net.result.shape
        if self.mode == "area":
            return lower_adaptive(net, input, shape[2:], "AVERAGE")
        properties, inputs = self._target(net, shape)
        return net.add(
            "resize",
            input,
            inputs=inputs,
            resize_mode=net.enum(f"InterpolationMode.{_INTERPOLATION.get(self.mode, 'LINEAR')}"),
            coordinate_transformation=net.enum(f"ResizeCoordinateTransformation.{self._coordinates}"),
            nearest_rounding=net.enum(f"ResizeRoundMode.{'HALF_UP' if self.mode == 'nearest-exact' else 'FLOOR'}"),
            # With aligned corners a single output pixel is the first input pixel.
            selector_for_single_pixel=net.enum(f"ResizeSelector.{'UPPER' if self.align_corners else 'FORMULA'}"),
            **properties,
        )

    @property
    def _coordinates(self) -> str:
        if self.mode == "nearest":
            return "ASYMMETRIC"
        return "ALIGN_CORNERS" if self.align_corners else "HALF_PIXEL"

    def _target(self, net: Network, shape: tuple[Dim, ...]) -> tuple[dict[str, object], dict[int, Tensor]]:
        """The output's size as TensorRT is told it: by scales where coordinates follow them."""
        scales = self._scales(len(shape) - 2)
        if scales is not None and not self.align_corners and not self.recompute_scale_factor:
            return {"scales": [1.0, 1.0, *scales]}, {}
        if all(isinstance(dim, int) for dim in shape):
            return {"shape": shape}, {}
        return {}, {1: net.shape_tensor(shape)}


def _scaled(size: Dim, scale: float) -> Dim:
    """``floor(size * scale)`` as PyTorch computes it; refused where TensorRT's float32 comes to another value."""
    if isinstance(size, int):
        _check_rounding(size, scale, math.floor(size * scale))
        return math.floor(size * scale)
    ratio = Fraction(scale).limit_denominator(_LARGEST_DIVISOR)
    scaled = size * ratio.numerator // ratio.denominator
    low, high = bounds(size)
    for value in range(low, high + 1):
        # The same quotient of a number, for every number that the dimension may be.
        expected = value * ratio.numerator // ratio.denominator
        if math.floor(value * scale) != expected:
            raise Refused(
                f"floor({size} * {scale}) is no quotient of integers: for {value} it is {math.floor(value * scale)}",
                "scale_factor",
                "give `size` instead",
            )
        _check_rounding(value, scale, expected)
    return scaled


def _check_rounding(size: int, scale: float, expected: int) -> None:
    if expected < 1:
        raise Refused(f"a scale of {scale} leaves nothing of a dimension of {size}", "scale_factor")
    single = math.floor(np.float32(size) * np.float32(scale))
    if single != expected:
        raise Refused(
            f"{size} * {scale} is {expected} in PyTorch's arithmetic, but {single} in TensorRT's float32",
            "scale_factor",
            "give `size` instead",
        )


class PixelShuffle(Function):
    """``r * r`` channels become an ``r`` times ``r`` square of pixels: ``[*, C * r * r, H, W]`` to ``[*, C, r * H, r * W]``."""

    torch = "torch.nn.functional.pixel_shuffle"
    spellings = (Spelling("torch.nn.PixelShuffle", ("upscale_factor",)),)
    examples = (
        "pixel_shuffle(2)(float32[N, 12, H, W]) -> float32[N, 3, 2 * H, 2 * W]",
        "pixel_shuffle(3)(float16[9, H, 4]) -> float16[1, 3 * H, 12]",
        "pixel_shuffle(2)(int32[2, N, 4, 3, 5]) -> int32[2, N, 1, 6, 10]",
    )

    upscale_factor: int

    def infer(self, input: TensorType) -> TensorType:
        factor = self.upscale_factor
        _check_shuffle(input, factor, "pixel_shuffle", "upscale_factor")
        *batch, channels, height, width = input.shape
        what = f"the number of channels must be divisible by {factor} * {factor}"
        if not same_dim(channels % (factor * factor), 0, what, "input"):
            message = f"the {channels} channels are no multiple of {factor} * {factor}"
            raise Refused(message, "upscale_factor")
        return input.with_shape((*batch, channels // (factor * factor), height * factor, width * factor))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        factor = self.upscale_factor
        *batch, channels, height, width = input.shape
        split = net.reshape(input, (*batch, channels // (factor * factor), factor, factor, height, width))
        return net.reshape(net.transpose(split, _order(len(batch), (0, 3, 1, 4, 2))), net.result.shape)


class PixelUnshuffle(Function):
    """The reverse of :class:`PixelShuffle`: ``[*, C, r * H, r * W]`` to ``[*, C * r * r, H, W]``."""

    torch = "torch.nn.functional.pixel_unshuffle"
    spellings = (Spelling("torch.nn.PixelUnshuffle", ("downscale_factor",)),)
    examples = (
        "pixel_unshuffle(2)(float32[N, 3, 2 * H, 2 * W]) -> float32[N, 12, H, W]",
        "pixel_unshuffle(3)(float16[2, 9, 6]) -> float16[18, 3, 2]",
    )

    downscale_factor: int

    def infer(self, input: TensorType) -> TensorType:
        factor = self.downscale_factor
        _check_shuffle(input, factor, "pixel_unshuffle", "downscale_factor")
        *batch, channels, height, width = input.shape
        for size in (height, width):
            if not same_dim(size % factor, 0, f"`{size}` must be divisible by {factor}", "input"):
                raise Refused(f"the dimension {size} is no multiple of {factor}", "downscale_factor")
        return input.with_shape((*batch, channels * (factor * factor), height // factor, width // factor))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        factor = self.downscale_factor
        *batch, channels, height, width = input.shape
        split = net.reshape(input, (*batch, channels, height // factor, factor, width // factor, factor))
        return net.reshape(net.transpose(split, _order(len(batch), (0, 2, 4, 1, 3))), net.result.shape)


def _check_shuffle(input: TensorType, factor: int, what: str, about: str) -> None:
    if factor < 1:
        raise Refused(f"`{about}` must be at least 1, not {factor}", about)
    # Two dimensions more stand between the two reshapes, and TensorRT has eight.
    if not 3 <= input.rank <= 6:
        raise Refused(f"{what} needs a tensor [*, C, H, W] of rank 3 to 6, not {input}", "input")


def _order(batch: int, rest: tuple[int, ...]) -> tuple[int, ...]:
    """A permutation of the dimensions behind the batch dimensions."""
    return (*range(batch), *(batch + axis for axis in rest))
