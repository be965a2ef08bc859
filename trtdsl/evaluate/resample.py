"""Resize and grid sample (NvInfer.h: ``IResizeLayer`` and its enums, ``IGridSampleLayer``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch
import torch.nn.functional as F

from .registry import Context, LayerNode, Operands, evaluates, floating

ROUNDINGS: Mapping[str, Callable[[Fraction], int]] = {
    "HALF_UP": lambda x: math.floor(x + Fraction(1, 2)),
    "HALF_DOWN": lambda x: math.ceil(x - Fraction(1, 2)),
    "FLOOR": math.floor,
    "CEIL": math.ceil,
}


@evaluates("RESIZE")
def resize(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Each resized dimension in turn: every output is a weighted sum of input elements along it.

    Output lengths: the second input, the layer's shape, or ``floor(length * scale)``.  Coordinates are
    computed exactly, from lengths as the documentation states them, not from the scales.
    """
    x = operands[0]
    lengths = _lengths(node, operands, x)
    if node.layer.resize_mode.name != "NEAREST":
        floating(node, x)
    for axis, length in enumerate(lengths):
        if length != x.shape[axis]:
            x = _resize_axis(node, x, axis, length)
    return x


def _lengths(node: LayerNode, operands: Operands, x: torch.Tensor) -> list[int]:
    given = operands.integers(1)
    if given is not None:
        return given
    if node.layer.shape is not None:
        return list(node.layer.shape)
    scales = node.layer.scales
    if len(scales) != x.dim():
        node.refuse(f"{len(scales)} scales for {x.dim()} dimensions")
    return [math.floor(length * scale) for length, scale in zip(x.shape, scales, strict=True)]


def _coordinate(node: LayerNode, place: int, length: int, target: int) -> Fraction:
    """Where an output element lies in the input."""
    layer = node.layer
    if target == 1 and layer.selector_for_single_pixel.name == "UPPER":
        return Fraction(0)
    mode = layer.coordinate_transformation.name
    if mode == "ASYMMETRIC":
        return Fraction(place * length, target)
    if mode == "HALF_PIXEL":
        return (place + Fraction(1, 2)) * Fraction(length, target) - Fraction(1, 2)
    if mode != "ALIGN_CORNERS":
        node.refuse(f"coordinate transformation {mode}")
    return Fraction(place * (length - 1), target - 1) if target > 1 else Fraction(0)


def _resize_axis(node: LayerNode, x: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    length, mode = x.shape[axis], node.layer.resize_mode.name
    if length == 0 and target:
        node.refuse("resize of an empty dimension")
    spots = [_coordinate(node, place, length, target) for place in range(target)]
    if mode == "NEAREST":
        rounded = ROUNDINGS[node.layer.nearest_rounding.name]
        places = [min(max(rounded(spot), 0), length - 1) for spot in spots]
        return x.index_select(axis, torch.tensor(places, dtype=torch.int64))
    if mode not in ("LINEAR", "CUBIC"):
        node.refuse(f"resize mode {mode}")
    matrix = torch.zeros(target, length, dtype=torch.float64)
    for place, spot in enumerate(spots):
        taps = _linear(spot) if mode == "LINEAR" else _cubic(spot, node.layer.cubic_coeff)
        if node.layer.exclude_outside:
            taps = _renormalized(taps, length)
        for source, weight in taps:
            matrix[place, min(max(source, 0), length - 1)] += weight
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.to(x.dtype).mT, -1, axis)


Taps = list[tuple[int, float]]


def _linear(spot: Fraction) -> Taps:
    base = math.floor(spot)
    part = float(spot - base)
    return [(base, 1 - part), (base + 1, part)]


def _cubic(spot: Fraction, a: float) -> Taps:
    """Keys' cubic convolution with coefficient ``a``: four neighbours."""
    base = math.floor(spot)
    part = float(spot - base)

    def near(d: float) -> float:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1

    def far(d: float) -> float:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a

    weights = (far(1 + part), near(part), near(1 - part), far(2 - part))
    return [(base - 1 + i, weight) for i, weight in enumerate(weights)]


def _renormalized(taps: Taps, length: int) -> Taps:
    """``exclude_outside``: weights beyond the input are dropped, the others scaled to sum to 1."""
    inside = [(source, weight) for source, weight in taps if 0 <= source < length]
    total = sum(weight for _, weight in inside)
    return [(source, weight / total) for source, weight in inside]


SAMPLERS: Mapping[str, str] = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}
BORDERS: Mapping[str, str] = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}


@evaluates("GRID_SAMPLE")
def grid_sample(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The input at the points of the grid; -1 and 1 are the borders (their centres if ``align_corners``).

    ONNX GridSample, which is torch's: FILL samples zeros outside, CLAMP the border, REFLECT the mirror.
    """
    layer = node.layer
    mode, border = layer.interpolation_mode.name, layer.sample_mode.name
    if mode not in SAMPLERS or border not in BORDERS:
        node.refuse(f"grid sample {mode} with {border}")
    x, grid = floating(node, operands[0]), floating(node, operands[1])
    if mode == "CUBIC" and x.dim() != 4:
        node.refuse(f"cubic grid sample of {x.dim()} dimensions")
    return F.grid_sample(
        x, grid, mode=SAMPLERS[mode], padding_mode=BORDERS[border], align_corners=layer.align_corners
    )
