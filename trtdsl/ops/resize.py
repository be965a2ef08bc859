"""Interpolation."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.adaptive import lower_adaptive, way
from trtdsl.ops.antialias import lower_smoothed, smoothing
from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.pad import lower_padding
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_elements, require_floating, same_dim
from trtdsl.types import Dim, TensorType, bounds, equal, surely
from trtdsl.types.arrays import np

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
    the sizes are known; for dynamic sizes the rounding of exact ties is TensorRT's. With ``antialias`` an
    image that shrinks is smoothed by products with constant matrices, for which its sizes must be known.
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
        Spelling("torch.nn.functional.upsample", ("size", "scale_factor", "mode", "align_corners")),
        Spelling("torch.nn.functional.upsample_nearest", ("size", "scale_factor"), fixed={"mode": "nearest"}),
        Spelling(
            "torch.nn.functional.upsample_bilinear",
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
        'interpolate((4, 13), mode = "bicubic", antialias = true)(float32[N, 8, 9, 9])'
        " -> float32[N, 8, 4, 13]",
        'interpolate(scale_factor = (0.5, 1), mode = "bilinear", antialias = true)(float16[N, 3, 9, W])'
        " -> float16[N, 3, 4, W]",
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
        require_elements(input, range(2, input.rank), "interpolate")
        if self.antialias and self.mode not in ("bilinear", "bicubic"):
            raise Refused('antialiasing needs mode "bilinear" or "bicubic"', "antialias")
        if self.align_corners is not None and self.mode not in _ALIGNABLE:
            raise Refused(f'`align_corners` has no meaning with mode "{self.mode}"', "align_corners")
        outputs = self._outputs(input)
        if self.mode == "area":
            for size, output in zip(input.shape[2:], outputs, strict=True):
                way(size, output)
        elif self.mode.startswith("nearest"):
            self._rounded(input.shape[2:], outputs)
        elif self.antialias:
            self._smoothed(input.shape[2:], outputs)
        return input.with_shape((*input.shape[:2], *outputs))

    def is_identity(self, input: TensorType) -> bool:
        return not self._follows_scales and self.infer(input) == input

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
        if self.antialias:
            return lower_smoothed(net, input, self._smoothed(input.shape[2:], outputs))
        x = self._picked(net, input) if self.mode.startswith("nearest") else input
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
        if whole.shape == net.result.shape:
            return whole
        return net.slice(whole, (0,) * input.rank, net.result.shape)

    def _picked(self, net: Network, x: Tensor) -> Tensor:
        """``x`` with the dimensions resampled where PyTorch's rounding in float32 is not the exact one.

        One pair of sizes in fifty is concerned. Only known sizes can be treated; for dynamic ones
        TensorRT's rounding stands.
        """
        for axis, indices in self._rounded(x.shape[2:], net.result.shape[2:]).items():
            x = net.gather(x, net.constant(indices), axis + 2)
        return x

    def _rounded(self, sizes: tuple[Dim, ...], outputs: tuple[Dim, ...]) -> dict[int, Array]:
        """The elements to take from each dimension for which TensorRT would take others."""
        scales = self._scales(len(sizes)) if self._follows_scales else None
        found: dict[int, Array] = {}
        for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
            if isinstance(size, int) and isinstance(output, int) and size != output:
                indices = _nearest(size, output, scales and scales[axis], self.mode == "nearest-exact")
                if indices is not None:
                    found[axis] = indices
        return found

    def _smoothed(self, sizes: tuple[Dim, ...], outputs: tuple[Dim, ...]) -> list[Array | None]:
        """The matrix with which antialiasing makes each dimension, None for one that is kept."""
        scales = self._scales(len(sizes)) if self._follows_scales else None
        cubic, aligned = self.mode == "bicubic", bool(self.align_corners)
        return [
            smoothing(size, output, cubic, aligned, scales[axis] if scales else None)
            for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True))
        ]

    def reference(self, torch: Any, input: Any) -> Any:
        if not self.antialias or input.dtype not in (torch.float16, torch.bfloat16):
            return None
        # PyTorch has no such kernel of these dtypes on the CPU; that of the GPU computes in float32.
        wide = torch.nn.functional.interpolate(
            input.float(),
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
            self.antialias,
        )
        return wide.to(input.dtype)

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
            f"the scale {scale} is not a quotient with a divisor of at most {_LARGEST_DIVISOR}",
            "scale_factor",
            "give `size`, or `recompute_scale_factor = true` if the ratio of the sizes may be used",
        )
    return ratio


@lru_cache(maxsize=1024)
def _nearest(size: int, output: int, scale: float | None, centred: bool) -> Array | None:
    """The elements PyTorch takes, rounding in float32; None where that comes to the exact ones.

    ``nearest-exact`` (``centred``) is refused where PyTorch's kernels disagree: some fuse product and sum.
    """
    step = np.float32(size) / np.float32(output) if scale is None else np.float32(1 / scale)
    places = np.arange(output, dtype=np.float32)
    half = np.float32(0.5)
    if centred:
        places += half
        fused = (places.astype(np.float64) * np.float64(step) - 0.5).astype(np.float32)
        found = _floor(np.maximum(places * step - half, 0) + half, size)
        if not np.array_equal(found, _floor(np.maximum(fused, 0) + half, size)):
            message = f"PyTorch's `nearest-exact` kernels disagree on {output} elements out of {size}"
            raise Refused(message, "size", "another size, or another mode, has one meaning")
    else:
        found = _floor(places * step, size)
    ratio = Fraction(output, size) if scale is None else _ratio(scale)
    twice = 2 * np.arange(output, dtype=np.int64) + int(centred)
    exact = np.minimum(twice * ratio.denominator // (2 * ratio.numerator), size - 1)
    return None if np.array_equal(found, exact) else found


def _floor(places: Array, size: int) -> Array:
    return np.minimum(np.floor(places).astype(np.int32), size - 1)


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
        agree = ratio == factor or surely(lambda one, other: not equal(one, other), output, factor * size)
        if not agree:
            raise Refused(
                f"a scale of {float(ratio)} makes {output} of {size}: PyTorch's `nearest` kernels disagree",
                "scale_factor",
                "give `size`, or `recompute_scale_factor = true`",
            )


def _grown(size: Dim, ratio: Fraction) -> Dim:
    """The next size that the ratio's divisor divides."""
    divisor = ratio.denominator
    # Not -(-size // divisor): TensorRT's bounds of a quotient want a dividend that is not negative.
    return (size + (divisor - 1)) // divisor * divisor
