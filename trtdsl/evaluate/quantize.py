"""Quantise, dequantise and dynamic quantise.

``q = clamp(round(x / scale))``, ``x = q * scale``, rounding halves to even (NvInfer.h:
``IQuantizeLayer``; "Quantization Schemes" in the TensorRT documentation).  FP8 is E4M3 with largest
value 448, FP4 is E2M1 with largest value 6.  Values of both are kept as wider floats, exactly.
"""

from __future__ import annotations

import torch

from .readback import FP4_VALUES
from .registry import Context, LayerNode, Operands, evaluates, floating

INTEGER_RANGES = {"INT8": (-128, 127), "INT4": (-8, 7)}
LARGEST = {"FP8": 448.0, "FP4": 6.0}


def round_to(node: LayerNode, x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Values rounded to the nearest of a quantised type, ties to even, out of range clamped."""
    if dtype in INTEGER_RANGES:
        return torch.round(x).clamp(*INTEGER_RANGES[dtype]).to(torch.int8)
    if dtype not in LARGEST:
        node.refuse(f"quantisation to {dtype}")
    clamped = x.clamp(-LARGEST[dtype], LARGEST[dtype])
    if dtype == "FP8":
        return clamped.float().to(torch.float8_e4m3fn).to(x.dtype)
    return _round_fp4(clamped)


def _round_fp4(x: torch.Tensor) -> torch.Tensor:
    """Nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6; a tie goes to the value whose mantissa bit is 0."""
    values = FP4_VALUES[:8].to(x.dtype)
    middles = (values[1:] + values[:-1]) / 2
    magnitude = x.abs()
    low = torch.bucketize(magnitude, middles)
    high = torch.bucketize(magnitude, middles, right=True)
    even = torch.where(low % 2 == 0, low, high)
    return torch.copysign(values[even], x)


@evaluates("QUANTIZE")
def quantize(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``clamp(round(x / scale))`` to the layer's type."""
    x = floating(node, operands[0])
    return round_to(node, x / _scale(node, operands, x), node.dtypes[0])


@evaluates("DEQUANTIZE")
def dequantize(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``x * scale``."""
    x = operands[0].to(context.compute)
    return x * _scale(node, operands, x)


def _scale(node: LayerNode, operands: Operands, x: torch.Tensor) -> torch.Tensor:
    """The scale spread over the input: one value, one for each index of ``axis``, or one for each block."""
    scale, zero = floating(node, operands[1]), operands.get(2)
    if zero is not None and bool((zero != 0).any()):
        node.refuse("a zero point other than zero")
    if scale.numel() == 1:
        return scale.reshape(())
    if scale.dim() == 1:
        axis = node.layer.axis % x.dim()
        if len(scale) != x.shape[axis]:
            node.refuse(f"{len(scale)} scales for {x.shape[axis]} indices of axis {axis}")
        return scale.reshape([-1 if d == axis else 1 for d in range(x.dim())])
    return spread_blocks(node, scale, x)


def spread_blocks(node: LayerNode, scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A scale for each block repeated over the block's elements."""
    if scale.dim() != x.dim():
        node.refuse(f"scale of shape {tuple(scale.shape)} for {tuple(x.shape)}")
    for axis in range(x.dim()):
        count, length = scale.shape[axis], x.shape[axis]
        if count == 0 or length % count:
            node.refuse(f"{count} blocks along axis {axis} of length {length}")
        scale = scale.repeat_interleave(length // count, axis)
    return scale


@evaluates("DYNAMIC_QUANTIZE")
def dynamic_quantize(
    node: LayerNode, operands: Operands, context: Context
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks quantised with scales found from their largest magnitudes; returns data and scales.

    NVFP4 (FP4 data, FP8 scales, double-quantisation scale ``g``):
    ``scale = FP8(amax / 6 / g)``, ``data = FP4(x / (scale * g))``.  FP32 scales: ``scale = amax / 448``.
    MXFP8's choice of the power of two (E8M0) is not documented, so it is refused.
    """
    x = floating(node, operands[0])
    data_type, scale_type = node.dtypes
    block = _block(node, x)
    blocks, axes = _blocks(node, x, block)
    largest = blocks.abs().amax(axes)
    second = operands.get(1)
    if scale_type == "E8M0":
        node.refuse("MXFP8: TensorRT does not document how the power-of-two scale is chosen")
    if scale_type == "FP8" and second is None:
        node.refuse("NVFP4 without a double-quantisation scale")
    outer = torch.ones((), dtype=x.dtype) if second is None else second.reshape(())
    scale = largest / LARGEST[data_type] / outer
    if scale_type == "FP8":
        scale = round_to(node, scale, "FP8")
    divisor = spread_blocks(node, scale * outer, x)
    safe = torch.where(divisor == 0, torch.ones_like(divisor), divisor)
    return round_to(node, torch.where(divisor == 0, torch.zeros_like(x), x / safe), data_type), scale


def _block(node: LayerNode, x: torch.Tensor) -> list[int]:
    # Releases before add_dynamic_quantize_v2 have no such property.
    shape = list(getattr(node.layer, "block_shape", ()))
    if shape:
        return [x.shape[d] if length == -1 else length for d, length in enumerate(shape)]
    axis = node.layer.axis % x.dim()
    return [node.layer.block_size if d == axis else 1 for d in range(x.dim())]


def _blocks(node: LayerNode, x: torch.Tensor, block: list[int]) -> tuple[torch.Tensor, list[int]]:
    """The input with each dimension split into blocks and their elements, and the latter's axes."""
    split: list[int] = []
    for length, size in zip(x.shape, block, strict=True):
        if length % size:
            node.refuse(f"blocks of {size} in a dimension of {length}")
        split += [length // size, size]
    return x.reshape(split), list(range(1, 2 * x.dim(), 2))
