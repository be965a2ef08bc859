"""Layers along an axis: reduce, softmax, ragged softmax, top-k, cumulative sum.

Sources: ``ReduceOperation`` (with its table of empty reductions), ``ISoftMaxLayer``, ``ITopKLayer``,
``ICumulativeLayer``, ``IRaggedSoftMaxLayer`` in NvInfer.h.
"""

from __future__ import annotations

import torch

from .registry import Context, LayerNode, Operands, axes_of, evaluates, floating, single_axis


@evaluates("REDUCE")
def reduce(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """SUM, PROD, MAX, MIN or AVG over the axes of the mask."""
    x = operands[0]
    layer, operation = node.layer, node.layer.op.name
    axes = axes_of(layer.axes, x.dim())
    if not axes or layer.axes >> x.dim():
        node.refuse(f"axes mask {layer.axes:#b} over {x.dim()} dimensions")
    if x.dtype == torch.bool:
        node.refuse("a reduction of booleans")
    folded = _reduced(node, operation, x, axes)
    return folded if layer.keep_dims else folded.squeeze(axes)


def _reduced(node: LayerNode, operation: str, x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """The reduction with its axes kept as length 1."""
    if operation == "SUM":
        return x.sum(axes, keepdim=True, dtype=x.dtype)
    if operation == "AVG":
        return _mean(x, axes)
    if operation not in ("PROD", "MAX", "MIN"):
        node.refuse(f"reduction {operation}")
    for axis in axes:
        x = _along(operation, x, axis)
    return x


def _mean(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Average; of integers, the sum divided with truncation, and 0 over nothing."""
    if x.is_floating_point():
        return x.mean(axes, keepdim=True)
    count = max(1, _volume(x, axes))
    return torch.div(x.sum(axes, keepdim=True), count, rounding_mode="trunc").to(x.dtype)


def _volume(x: torch.Tensor, axes: list[int]) -> int:
    volume = 1
    for axis in axes:
        volume *= x.shape[axis]
    return volume


def _along(operation: str, x: torch.Tensor, axis: int) -> torch.Tensor:
    if operation == "PROD":
        return x.prod(axis, keepdim=True, dtype=x.dtype)
    if x.shape[axis]:
        return x.amax(axis, keepdim=True) if operation == "MAX" else x.amin(axis, keepdim=True)
    shape = [*x.shape[:axis], 1, *x.shape[axis + 1 :]]
    if x.is_floating_point():
        return torch.full(shape, float("-inf" if operation == "MAX" else "inf"), dtype=x.dtype)
    info = torch.iinfo(x.dtype)
    return torch.full(shape, info.min if operation == "MAX" else info.max, dtype=x.dtype)


@evaluates("SOFTMAX")
def softmax(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``exp(x) / sum(exp(x))`` along the one axis of the mask."""
    x = floating(node, operands[0])
    return torch.softmax(x, single_axis(node, node.layer.axes, x.dim()))


@evaluates("RAGGED_SOFTMAX")
def ragged_softmax(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Softmax over the first ``bounds[z]`` elements of each sequence ``z`` of the last axis, 0 after."""
    x, bounds = floating(node, operands[0]), operands[1]
    inside = torch.arange(x.shape[-1]) < bounds
    masked = x.masked_fill(~inside, float("-inf"))
    return torch.softmax(masked, -1).masked_fill(~inside, 0.0)


@evaluates("TOPK")
def topk(node: LayerNode, operands: Operands, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest or smallest values along an axis in order, and their indices; ties by index."""
    x = operands[0]
    axis = single_axis(node, node.layer.axes, x.dim())
    given = operands.integers(1)
    k = node.layer.k if given is None else given[0]
    if k > x.shape[axis]:
        node.refuse(f"k {k} of {x.shape[axis]} elements")
    largest = bool(node.layer.op.name == "MAX")
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


@evaluates("CUMULATIVE")
def cumulative(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Running sum along an axis: inclusive ``0..j`` or exclusive ``0..j-1``, from the end if reversed."""
    x, layer = operands[0], node.layer
    if layer.op.name != "SUM":
        node.refuse(f"cumulative {layer.op.name}")
    axis = int(operands[1])
    run = x.flip(axis) if layer.reverse else x
    total = run.cumsum(axis, dtype=run.dtype)
    if layer.exclusive and total.shape[axis]:
        # Moved by one, not the element subtracted again: of infinity that is not a number.
        total = torch.cat(
            [torch.zeros_like(total.narrow(axis, 0, 1)), total.narrow(axis, 0, total.shape[axis] - 1)], axis
        )
    return total.flip(axis) if layer.reverse else total
