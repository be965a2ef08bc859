"""Slices and padding (NvInfer.h: ``ISliceLayer``, ``SampleMode``, ``IPaddingLayer``)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .registry import Context, LayerNode, Operands, evaluates


@evaluates("SLICE")
def slice_(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``out[i] = x[start + i * stride]`` for each dimension; a stride of 0 repeats.

    Start, size, stride and axes are the layer's, or the inputs 1, 2, 3 and 5.  Coordinates outside are
    an error (STRICT_BOUNDS), taken modulo the length (WRAP), clamped (CLAMP), filled with input 4 or 0
    (FILL) or reflected about the middle of the border elements (REFLECT).
    """
    x, layer = operands[0], node.layer
    mode = layer.mode.name
    starts, sizes, strides = (
        _integers(node, operands, index, name) for index, name in ((1, "start"), (2, "shape"), (3, "stride"))
    )
    outside = torch.zeros([1] * x.dim(), dtype=torch.bool)
    axes = _axes(node, operands, x.dim())
    result = x
    for axis, start, size, stride in zip(axes, starts, sizes, strides, strict=True):
        length = x.shape[axis]
        places = start + stride * torch.arange(size)
        beyond = (places < 0) | (places >= length)
        if mode in ("STRICT_BOUNDS", "DEFAULT") and bool(beyond.any()):
            node.refuse(f"{mode}: elements {places.tolist()[:8]} of {length} along axis {axis}")
        if length == 0 and size and mode != "FILL":
            node.refuse(f"{mode} of an empty axis")
        result = _take(result, axis, _inside(node, mode, places, length))
        outside = outside | beyond.reshape([-1 if d == axis else 1 for d in range(x.dim())])
    if mode != "FILL":
        return result
    value = operands.get(4)
    filler = torch.zeros((), dtype=x.dtype) if value is None else value.reshape(()).to(x.dtype)
    return torch.where(outside, filler, result)


def _take(x: torch.Tensor, axis: int, places: torch.Tensor) -> torch.Tensor:
    """Elements along an axis; of an empty axis, zeros for the filler to replace."""
    if x.shape[axis] == 0:
        return x.new_zeros([*x.shape[:axis], len(places), *x.shape[axis + 1 :]])
    return x.index_select(axis, places)


def _inside(node: LayerNode, mode: str, places: torch.Tensor, length: int) -> torch.Tensor:
    """Coordinates brought into the input."""
    if mode in ("STRICT_BOUNDS", "DEFAULT"):
        return places
    if mode == "WRAP":
        return places % max(length, 1)
    if mode in ("CLAMP", "FILL"):
        return places.clamp(0, max(length - 1, 0))
    if mode != "REFLECT":
        node.refuse(f"sample mode {mode}")
    period = max(2 * (length - 1), 1)
    folded = places % period
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(places)


def _integers(node: LayerNode, operands: Operands, index: int, name: str) -> list[int]:
    given = operands.integers(index)
    if given is not None:
        return given
    fixed = _set(getattr(node.layer, name))
    if fixed is None:
        node.refuse(f"it has no {name}")
    return fixed


def _axes(node: LayerNode, operands: Operands, rank: int) -> list[int]:
    given = operands.integers(5)
    if given is None:
        # Releases before 10.6 have no such property.
        fixed = _set(getattr(node.layer, "axes", None))
        given = list(range(rank)) if fixed is None else fixed
    return [axis % rank for axis in given]


def _set(dims: Any) -> list[int] | None:
    """Dimensions that a property holds, None where it was never set.

    RTX before 1.7 then returns an object of length -1, which Python refuses to tell.
    """
    if dims is None:
        return None
    try:
        return list(dims)
    except ValueError:
        return None


@evaluates("PADDING")
def padding(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Zeros around the last two dimensions; negative padding trims."""
    layer = node.layer
    before, after = list(layer.pre_padding_nd), list(layer.post_padding_nd)
    return F.pad(operands[0], [before[1], after[1], before[0], after[0]])
