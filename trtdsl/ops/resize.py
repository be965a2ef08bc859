"""Resizing: interpolation, and the shuffles between channels and pixels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from trtdsl.ops.adaptive import lower_adaptive, way
from trtdsl.ops.base import Function, Refused, Spelling
from trtdsl.ops.padding import lower_padding
from trtdsl.ops.rules import require_floating, same_dim
from trtdsl.ops.windows import require_at_most
from trtdsl.types import Dim, TensorType, Undecided, bounds, equal

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

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
_ROUNDING = {"nearest-exact": "HALF_UP"}

# A scale factor is taken for a quotient with a divisor up to this; the input grows by less than that.
_LARGEST_DIVISOR = 64


class Interpolate(Function):
    """The last dimensions resampled to ``size``, or to ``floor(input size * scale_factor)``.

    As in PyTorch, coordinates follow the given ``scale_factor`` itself unless ``recompute_scale_factor`` is
    set, and the ratio of the sizes otherwise. ``nearest`` rounds coordinates in float32 as PyTorch does where
    the sizes are known; for dynamic sizes the rounding of exact ties is TensorRT's.
    """

    torch = "torch.nn.functional.interpolate"
    spellings = (
        Spelling(
            "torch.nn.Upsample", ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
        ),
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
        'interpolate(scale_factor = 1.7, mode = "bilinear", recompute_scale_factor = true)'
        "(float32[1, 8, 5, 9])"
        " -> float32[1, 8, 8, 15]",
        'interpolate((9, W), mode = "bilinear", align_corners = true)(float32[N, 8, H, W])'
        " -> float32[N, 8, 9, W]",
        'interpolate(1, mode = "bilinear", align_corners = true)(float32[N, 8, H, W]) -> float32[N, 8, 1, 1]',
        'interpolate(9, mode = "linear")(float16[N, 8, S]) -> float16[N, 8, 9]',
        'interpolate((11, 6), mode = "bicubic")(float32[1, 8, 5, 9]) -> float32[1, 8, 11, 6]',
        'interpolate(scale_factor = 2, mode = "trilinear")(float32[1, 2, 3, 4, 5])'
        " -> float32[1, 2, 6, 8, 10]",
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
            return self._scaled_sizes(input.shape[2:], scales)
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

    def _scaled_sizes(self, sizes: tuple[Dim, ...], scales: tuple[float, ...]) -> tuple[Dim, ...]:
        outputs = tuple(_scaled(size, scale) for size, scale in zip(sizes, scales, strict=True))
        for size, output in zip(sizes, outputs, strict=True):
            require_at_most(1, output, f"`scale_factor` leaves {output} of {size}", "scale_factor")
        if self._follows_scales:
            self._ratios(sizes, outputs)
        return outputs

    @property
    def _follows_scales(self) -> bool:
        """Whether coordinates are computed from the scale factors, not from the sizes."""
        by_sizes = self.align_corners or self.recompute_scale_factor or self.mode == "area"
        return self.scale_factor is not None and not by_sizes

    def _ratios(self, sizes: tuple[Dim, ...], outputs: tuple[Dim, ...]) -> list[Fraction]:
        """The scale of each dimension as PyTorch applies it."""
        ratios = [_ratio(scale) for scale in self._scales(len(sizes)) or ()]
        axes = zip(sizes, outputs, ratios, strict=True)
        if self.mode == "nearest":
            for size, output, ratio in axes:
                _check_nearest(size, output, ratio)
        elif self.mode in ("linear", "bilinear", "trilinear"):
            # PyTorch copies a dimension that keeps its size, whatever the scale.
            return [Fraction(1) if _keeps(size, output, ratio) else ratio for size, output, ratio in axes]
        return ratios

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
        outputs = net.result.shape[2:]
        if self.mode == "area":
            return lower_adaptive(net, input, outputs, "AVERAGE")
        x = self._picked(net, input, outputs) if self.mode.startswith("nearest") else input
        if not self._follows_scales:
            return self._resize(net, x, outputs)
        # TensorRT's coordinates follow the ratio of the sizes, PyTorch's the scale factor. The edge repeated
        # until the sizes have that ratio, both are the same, and what PyTorch's output lacks is cut off.
        axes = zip(input.shape[2:], x.shape[2:], self._ratios(input.shape[2:], outputs), strict=True)
        ratios = [ratio if size == left else Fraction(1) for size, left, ratio in axes]
        grown = [_grown(size, ratio) for size, ratio in zip(x.shape[2:], ratios, strict=True)]
        amounts = tuple((0, new - size) for size, new in zip(x.shape[2:], grown, strict=True))
        scaled = [size * r.numerator // r.denominator for size, r in zip(grown, ratios, strict=True)]
        whole = self._resize(net, lower_padding(net, x, amounts, "replicate"), tuple(scaled))
        return (
            whole
            if whole.shape == net.result.shape
            else net.slice(whole, (0,) * input.rank, net.result.shape)
        )

    def _picked(self, net: Network, x: Tensor, outputs: tuple[Dim, ...]) -> Tensor:
        """``x`` with the dimensions resampled where PyTorch's rounding in float32 is not the exact one.

        One pair of sizes in fifty is concerned. Only known sizes can be treated; for dynamic ones
        TensorRT's rounding stands.
        """
        scales = self._scales(len(outputs)) if self._follows_scales else None
        for i, (size, output) in enumerate(zip(x.shape[2:], outputs, strict=True)):
            if isinstance(size, int) and isinstance(output, int) and size != output:
                offset = 0.5 if self.mode == "nearest-exact" else 0.0
                indices = _nearest(size, output, scales[i] if scales else None, offset)
                if indices is not None:
                    x = net.gather(x, net.constant(indices), i + 2)
        return x

    def _resize(self, net: Network, x: Tensor, outputs: tuple[Dim, ...]) -> Tensor:
        shape = (*x.shape[:2], *outputs)
        if shape == x.shape:
            return x
        static = all(isinstance(dim, int) for dim in shape)
        given = {"shape": shape} if static else {}
        return net.add(
            "resize",
            x,
            result=x.type.with_shape(shape),
            inputs={} if static else {1: net.shape_tensor(shape)},
            resize_mode=net.enum(f"InterpolationMode.{_INTERPOLATION.get(self.mode, 'LINEAR')}"),
            coordinate_transformation=net.enum(f"ResizeCoordinateTransformation.{self._coordinates}"),
            nearest_rounding=net.enum(f"ResizeRoundMode.{_ROUNDING.get(self.mode, 'FLOOR')}"),
            # With aligned corners a single output pixel is the first input pixel.
            selector_for_single_pixel=net.enum(
                f"ResizeSelector.{'UPPER' if self.align_corners else 'FORMULA'}"
            ),
            **given,
        )

    @property
    def _coordinates(self) -> str:
        if self.mode == "nearest":
            return "ASYMMETRIC"
        return "ALIGN_CORNERS" if self.align_corners else "HALF_PIXEL"


def _scaled(size: Dim, scale: float) -> Dim:
    """``floor(size * scale)`` as PyTorch computes it, in float64; refused where that is no quotient."""
    if isinstance(size, int):
        return math.floor(size * scale)
    ratio = _ratio(scale)
    low, high = bounds(size)
    for value in range(low, high + 1):
        expected = value * ratio.numerator // ratio.denominator
        if math.floor(value * scale) != expected:
            message = f"{value} * {scale} rounds down to {math.floor(value * scale)} in floating point, "
            raise Refused(f"{message}not to {expected}", "scale_factor", "give `size` instead")
    return size * ratio.numerator // ratio.denominator


def _ratio(scale: float) -> Fraction:
    """The scale as a quotient of small numbers; refused if it is none."""
    ratio = Fraction(scale).limit_denominator(_LARGEST_DIVISOR)
    if abs(float(ratio) - scale) > 1e-7 * scale:
        raise Refused(
            f"the scale {scale} is no quotient with a divisor up to {_LARGEST_DIVISOR}",
            "scale_factor",
            "give `size`, or `recompute_scale_factor = true` if the ratio of the sizes may be used",
        )
    return ratio


def _nearest(size: int, output: int, scale: float | None, offset: float) -> Array | None:
    """The elements PyTorch takes, rounding in float32; None where that comes to the exact ones."""
    step = np.float32(size) / np.float32(output) if scale is None else np.float32(1 / scale)
    places = np.arange(output, dtype=np.float32) + np.float32(offset)
    taken = np.minimum(np.floor(places * step), size - 1).astype(np.int32)
    ratio = Fraction(output, size) if scale is None else _ratio(scale)
    exact = [math.floor((i + Fraction(offset)) / ratio) for i in range(output)]
    return None if np.array_equal(taken, np.minimum(exact, size - 1)) else taken


def _keeps(size: Dim, output: Dim, ratio: Fraction) -> bool:
    if ratio == 1:
        return True
    what = "PyTorch's `linear` modes copy a dimension that keeps its size and scale it otherwise"
    return same_dim(output, size, what, "scale_factor")


def _check_nearest(size: Dim, output: Dim, ratio: Fraction) -> None:
    """Refuse what PyTorch's kernels do not agree on.

    Those for two dimensions copy where the size stays or doubles, whatever the scale; the others do not.
    """
    for factor in (1, 2):
        if ratio != factor and not _surely_differs(output, factor * size):
            raise Refused(
                f"a scale of {float(ratio)} makes {output} of {size}: PyTorch's `nearest` kernels disagree",
                "scale_factor",
                "give `size`, or `recompute_scale_factor = true`",
            )


def _surely_differs(left: Dim, right: Dim) -> bool:
    try:
        return not equal(left, right)
    except Undecided:
        return False


def _grown(size: Dim, ratio: Fraction) -> Dim:
    """The next size that the ratio's divisor divides."""
    divisor = ratio.denominator
    return -(-size // divisor) * divisor


class PixelShuffle(Function):
    """Squares of pixels out of channels: ``[*, C * r * r, H, W]`` to ``[*, C, r * H, r * W]``."""

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
