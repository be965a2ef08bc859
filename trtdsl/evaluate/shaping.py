"""Layers that make or rearrange tensors: constant, shuffle, concatenation, shape, squeeze, fill, one-hot."""

from __future__ import annotations

import math

import torch

from .registry import Context, LayerNode, Operands, evaluates


@evaluates("CONSTANT")
def constant(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The weights in the layer's shape."""
    shape = list(node.layer.shape)
    values = context.weights(node, "weights")
    if values is None:
        return torch.empty(shape, dtype=context.storage(node.dtypes[0]))
    return values.reshape(shape)


@evaluates("SHUFFLE")
def shuffle(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Transpose, reshape, transpose.

    In the reshape 0 copies the length at its place (where ``zero_is_placeholder``) and one -1 is
    inferred; the dimensions are the layer's or the second input's.
    """
    x, layer = operands[0], node.layer
    turned = x.permute(list(layer.first_transpose)[: x.dim()])
    wanted = operands.integers(1)
    if wanted is None and layer.reshape_dims is not None:
        wanted = list(layer.reshape_dims)
    shaped = turned if wanted is None else turned.reshape(_resolve(node, wanted, turned))
    return shaped.permute(list(layer.second_transpose)[: shaped.dim()])


def _resolve(node: LayerNode, wanted: list[int], x: torch.Tensor) -> list[int]:
    lengths = list(wanted)
    if node.layer.zero_is_placeholder:
        if any(length == 0 and i >= x.dim() for i, length in enumerate(wanted)):
            node.refuse(f"reshape {wanted} copies a dimension that {tuple(x.shape)} lacks")
        lengths = [x.shape[i] if length == 0 else length for i, length in enumerate(wanted)]
    known = math.prod(length for length in lengths if length >= 0)
    if lengths.count(-1) == 1 and known:
        lengths[lengths.index(-1)] = x.numel() // known
    if min(lengths, default=0) < 0 or math.prod(lengths) != x.numel():
        node.refuse(f"reshape of {tuple(x.shape)} to {wanted}")
    return lengths


@evaluates("CONCATENATION")
def concatenation(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The inputs one after the other along ``axis``."""
    return torch.cat(operands.all(), dim=node.layer.axis)


@evaluates("SHAPE")
def shape(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The input's lengths."""
    return torch.tensor(list(operands[0].shape), dtype=torch.int64)


@evaluates("SQUEEZE")
def squeeze(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Without the unit dimensions that the second input names; without all of them if it is absent."""
    x, axes = operands[0], operands.integers(1)
    if axes is None:
        return x.squeeze()
    if any(x.shape[axis] != 1 for axis in axes):
        node.refuse(f"squeezes axes {axes} of {tuple(x.shape)}")
    return x.squeeze(axes)


@evaluates("UNSQUEEZE")
def unsqueeze(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """With unit dimensions where the second input wants them in the result."""
    x, axes = operands[0], operands.integers(1)
    if axes is None:
        node.refuse("it has no axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@evaluates("FILL")
def fill(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """LINSPACE: ``alpha + sum(beta[d] * index[d])``. Random fills are refused: no value is defined."""
    layer, operation = node.layer, node.layer.operation.name
    if operation != "LINSPACE":
        node.refuse(f"{operation} draws random numbers")
    dtype = context.storage(node.dtypes[0])
    kept = context.compute if dtype.is_floating_point else dtype
    lengths = operands.integers(0)
    if lengths is None:
        lengths = list(layer.shape)
    alpha, beta = operands.get(1), operands.get(2)
    start = torch.tensor(layer.alpha, dtype=kept) if alpha is None else alpha
    steps = (torch.tensor(layer.beta, dtype=kept) if beta is None else beta).reshape(-1).to(kept)
    if len(steps) != len(lengths):
        node.refuse(f"{len(steps)} steps for {len(lengths)} dimensions")
    total = start.to(kept).reshape([1] * len(lengths)).expand(lengths)
    for axis, length in enumerate(lengths):
        ramp = steps[axis] * torch.arange(length, dtype=kept)
        total = total + ramp.reshape([-1 if d == axis else 1 for d in range(len(lengths))])
    return total


@evaluates("ONE_HOT")
def one_hot(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """``values[1]`` where the new axis' index equals the input's value, else ``values[0]``."""
    indices, values = operands[0], operands[1]
    depth = int(operands[2])
    axis = node.layer.axis % (indices.dim() + 1)
    wrapped = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis)
    places = torch.arange(depth).reshape([-1 if d == axis else 1 for d in range(indices.dim() + 1)])
    return torch.where(wrapped == places, values[1], values[0])


@evaluates("REVERSE_SEQUENCE")
def reverse_sequence(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The first ``lengths[i]`` elements along ``sequence_axis`` of slice ``i`` of ``batch_axis`` reversed."""
    x, lengths = operands[0], operands[1]
    batch, sequence = node.layer.batch_axis % x.dim(), node.layer.sequence_axis % x.dim()
    place = torch.arange(x.shape[sequence])
    size = lengths.to(torch.int64).unsqueeze(1)
    source = torch.where(place < size, size - 1 - place, place)
    shape = [x.shape[d] if d in (batch, sequence) else 1 for d in range(x.dim())]
    ordered = source if batch < sequence else source.mT
    return x.gather(sequence, ordered.reshape(shape).expand(x.shape))
