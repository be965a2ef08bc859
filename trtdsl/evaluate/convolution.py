"""Convolution and deconvolution (NvInfer.h: ``PaddingMode`` and the layers of those names)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .padding_modes import torch_padding, trims, windows
from .registry import Context, LayerNode, Operands, evaluates, floating


@evaluates("CONVOLUTION")
def convolution(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Correlation with a kernel ``[K, C/groups, *size]``, plus a bias for each of K output maps.

    Kernel and bias are weights, or the second and third input.  Output length: ``PaddingMode``'s formula.
    """
    x = floating(node, operands[0])
    layer, size = node.layer, list(node.layer.kernel_size_nd)
    dilation = list(layer.dilation_nd)
    kernel = _kernel(node, operands, context, [layer.num_output_maps, x.shape[1] // layer.num_groups, *size])
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    spans = [(w.before, w.after) for w in windows(node, reach, list(x.shape[2:]))]
    convolve = {2: F.conv2d, 3: F.conv3d}[len(size)]
    padded = F.pad(x, torch_padding(spans))
    return convolve(
        padded,
        kernel,
        _bias(node, operands, context),
        stride=list(layer.stride_nd),
        dilation=dilation,
        groups=layer.num_groups,
    )


@evaluates("DECONVOLUTION")
def deconvolution(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The transpose of a convolution with a kernel ``[C, K/groups, *size]``; padding trims the result.

    Output length: ``(I - 1) * stride + (size - 1) * dilation + 1 - before - after``.
    """
    x = floating(node, operands[0])
    layer, size = node.layer, list(node.layer.kernel_size_nd)
    dilation = list(layer.dilation_nd)
    kernel = _kernel(node, operands, context, [x.shape[1], layer.num_output_maps // layer.num_groups, *size])
    spread = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[len(size)]
    whole = spread(
        x,
        kernel,
        _bias(node, operands, context),
        stride=list(layer.stride_nd),
        dilation=dilation,
        groups=layer.num_groups,
    )
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    for axis, (before, after) in enumerate(trims(node, reach), start=2):
        length = whole.shape[axis] - before - after
        if before < 0 or after < 0 or length < 0:
            node.refuse(f"trims {before} and {after} of {whole.shape[axis]} elements")
        whole = whole.narrow(axis, before, length)
    return whole


def _kernel(node: LayerNode, operands: Operands, context: Context, shape: list[int]) -> torch.Tensor:
    given = operands.get(1)
    if given is not None:
        return floating(node, given)
    kernel = context.weights(node, "kernel")
    if kernel is None:
        node.refuse("it has no kernel")
    return floating(node, kernel.reshape(shape))


def _bias(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor | None:
    given = operands.get(2)
    return context.weights(node, "bias") if given is None else given.reshape(-1)
