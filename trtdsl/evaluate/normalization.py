"""Normalisation layers: batch-free normalisation v1 and v2, and LRN."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .registry import Context, LayerNode, Operands, axes_of, evaluates, floating


@evaluates("NORMALIZATION")
def normalization(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over the axes of the mask.

    Variance is ``mean((x - mean) ** 2)``.  With ``num_groups`` other than 1 the channels (dimension 1) are
    split into that many groups, each normalised with the dimensions after it; scale and bias are then
    ``[1, groups, 1, ...]`` for a layer made by ``add_normalization`` and ``[1, C, 1, ...]`` for v2
    (NvInfer.h: ``INormalizationLayer``, ``addNormalization``, ``addNormalizationV2``).
    """
    x, layer = floating(node, operands[0]), node.layer
    scale, bias = floating(node, operands[1]), floating(node, operands[2])
    axes = axes_of(layer.axes, x.dim())
    if not axes or layer.axes >> x.dim():
        node.refuse(f"axes mask {layer.axes:#b} over {x.dim()} dimensions")
    if layer.num_groups == 1:
        return _normalized(x, axes, layer.epsilon) * scale + bias
    if axes != list(range(2, x.dim())):
        node.refuse("groups need a mask of all dimensions after the channels")
    if scale.shape[1] not in (1, layer.num_groups, x.shape[1]):
        node.refuse(f"scale of shape {tuple(scale.shape)} for {layer.num_groups} groups")
    split = x.reshape(x.shape[0], layer.num_groups, -1, *x.shape[2:])
    normal = _normalized(split, list(range(2, split.dim())), layer.epsilon)
    if scale.shape[1] == x.shape[1]:
        return normal.reshape(x.shape) * scale + bias
    return (normal * scale.unsqueeze(2) + bias.unsqueeze(2)).reshape(x.shape)


def _normalized(x: torch.Tensor, axes: list[int], epsilon: float) -> torch.Tensor:
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon)


@evaluates("LRN")
def lrn(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``x / (k + alpha / window * sum(x ** 2 over the window of channels)) ** beta``.

    The documentation's formula leaves the division by the window out; NVIDIA's ONNX parser hands ONNX's
    ``alpha``, which ONNX divides by the window, on as it is.
    """
    x, layer = floating(node, operands[0]), node.layer
    window, axis = layer.window_size, x.dim() - 3
    half = window // 2
    rows = (x * x).movedim(axis, -1)
    padded = F.pad(rows, [half, half])
    sums = padded.unfold(-1, window, 1).sum(-1).movedim(-1, axis)
    return x / (layer.k + layer.alpha / window * sums) ** layer.beta
