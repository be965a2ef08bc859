"""Batch normalisation disappears into the convolution or linear layer beside it.

In inference it is ``y = x * s + t`` per channel with ``s = weight / sqrt(running_var + eps)`` and
``t = bias - running_mean * s`` (torch.nn.BatchNorm2d).  Behind a layer ``W x + b`` that makes
``(s W) x + (s b + t)``; in front of one, ``(W s) x + (b + W t)``, which holds only where no padding
brings in zeros that the normalisation has not seen.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Value, Weight
from trtdsl.ops.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, scale_and_shift
from trtdsl.ops.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from trtdsl.ops.linear import Linear

Array = npt.NDArray[Any]
Convolution: TypeAlias = Conv1d | Conv2d | Conv3d
Transposed: TypeAlias = ConvTranspose1d | ConvTranspose2d | ConvTranspose3d
BatchNorm: TypeAlias = BatchNorm1d | BatchNorm2d | BatchNorm3d
Layer: TypeAlias = Convolution | Transposed | Linear

TOLERANCE = 1e-5
"""Relative L2 error in float32: folding rounds each weight once more."""


def fold_batch_norm(graph: Graph) -> Graph:
    """Scale the weights of a convolution or linear layer by the normalisation next to it.

    Nothing is folded while the weights have no values, or where another node reads what lies between.

    before::

        model example() {
          input x: float32[1, 3, 8, 8]
          c = x -> conv: Conv2d(4, 3, bias = false)
          y = c -> bn: BatchNorm2d()
          output y = y
        }

    after::

        model example() {
          input x: float32[1, 3, 8, 8]
          y = x -> "conv+bn": Conv2d(4, 3)
          output y = y
        }
    """
    nodes: dict[int, Node] = {}
    makers: dict[Value, int] = {}
    folded: dict[tuple[int, ...], dict[str, Weight]] = {}
    for index, node in enumerate(graph.nodes):
        maker = makers.get(node.operands[0]) if node.operands else None
        first = nodes[maker] if maker is not None else None
        if first is not None and maker is not None and _is_foldable(graph, first, node):
            del nodes[maker]
            node = _merged(first, node, folded)
        nodes[index] = node
        makers.update((result, index) for result in node.results)
    return graph if len(nodes) == len(graph.nodes) else graph.replace(nodes=tuple(nodes.values()))


def _is_foldable(graph: Graph, first: Node, second: Node) -> bool:
    """Whether the two nodes, the second reading the first, can become one."""
    between = second.operands[0]
    if len(graph.users[between]) != 1 or between in graph.output_values:
        return False
    match first.op, second.op:
        case layer, BatchNorm1d() | BatchNorm2d() | BatchNorm3d() if isinstance(layer, Layer):
            valid = between.type.rank == _batched_rank(layer)
        case BatchNorm1d() | BatchNorm2d() | BatchNorm3d(), layer if isinstance(layer, Convolution | Linear):
            valid = between.type.rank == _batched_rank(layer) and _is_unpadded(layer)
        case _:
            return False
    values = (*first.weights.values(), *second.weights.values())
    return valid and _has_statistics(first, second) and all(weight.data is not None for weight in values)


def _batched_rank(layer: Layer) -> int:
    """The rank at which dimension 1 holds the layer's channels."""
    return 2 if isinstance(layer, Linear) else layer.spatial + 2


def _is_unpadded(layer: Convolution | Linear) -> bool:
    if isinstance(layer, Linear) or layer.padding == "valid":
        return True
    return layer.padding == 0 or (isinstance(layer.padding, tuple) and not any(layer.padding))


def _has_statistics(first: Node, second: Node) -> bool:
    """Without running statistics the normalisation depends on the batch."""
    return any("running_mean" in node.weights for node in (first, second))


def _merged(first: Node, second: Node, folded: dict[tuple[int, ...], dict[str, Weight]]) -> Node:
    """One layer in place of both, with the second's results and both their origins. The same two
    sets of weights, placed again under their labels, give the same new weights."""
    behind = isinstance(second.op, (BatchNorm1d, BatchNorm2d, BatchNorm3d))
    layer, norm = (first, second) if behind else (second, first)
    op: Any = layer.op
    scope = f"{first.scope}+{second.scope}"
    identity = tuple(id(weight) for weight in (*first.weights.values(), *second.weights.values()))
    if identity not in folded:
        fold = _scaled_outputs if behind else _scaled_inputs
        kernel, bias = fold(op, _data(layer), *_scale_and_shift(norm))
        type = layer.weights["weight"].type
        folded[identity] = {
            "weight": _weight(f"{scope}.weight", type.dtype.numpy, kernel, type),
            "bias": _weight(f"{scope}.bias", type.dtype.numpy, bias, type.with_shape(bias.shape)),
        }
    weights = folded[identity]
    return dataclasses.replace(
        second,
        op=dataclasses.replace(op, bias=True),
        operands=(first.operands[0], *weights.values()),
        slots=(first.slots[0], *weights),
        scope=scope,
        origins=first.origins + second.origins,
    )


def _weight(key: str, dtype: Any, data: Array, type: Any) -> Weight:
    return Weight(key, type, key, np.ascontiguousarray(data, dtype=dtype))


def _data(node: Node) -> dict[str, Array]:
    """The values of the node's weights, by name."""
    return {slot: weight.data for slot, weight in node.weights.items() if weight.data is not None}


def _product(kernel: Array, factor: Array) -> Array:
    """``kernel * factor``, computed in float64 and rounded once to the kernel's dtype.

    numpy converts a few thousand elements at a time, so that no float64 copy of a kernel ever exists.
    """
    result = np.empty_like(kernel, order="C", subok=False)
    return np.multiply(kernel, factor, out=result, dtype=np.float64, casting="same_kind")


def _scale_and_shift(norm: Node) -> tuple[Array, Array]:
    """What the normalisation multiplies each channel by and then adds, in float64."""
    data = _data(norm)
    op: Any = norm.op
    return scale_and_shift(
        op.eps, data["running_mean"], data["running_var"], data.get("weight"), data.get("bias")
    )


def _scaled_outputs(op: Any, data: dict[str, Array], scale: Array, shift: Array) -> tuple[Array, Array]:
    """``(s W) x + (s b + t)``."""
    kernel = data["weight"]
    if isinstance(op, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)):
        # [in, out / groups, ...]: the output channels of group g stand in the rows of its inputs.
        grouped = kernel.reshape(op.groups, -1, *kernel.shape[1:])
        by_group = scale.reshape(op.groups, 1, -1, *(1,) * op.spatial)
        scaled = _product(grouped, by_group).reshape(kernel.shape)
    else:
        scaled = _product(kernel, scale.reshape(-1, *(1,) * (kernel.ndim - 1)))
    bias = data.get("bias", np.zeros_like(shift))
    return scaled, scale * bias + shift


def _scaled_inputs(op: Any, data: dict[str, Array], scale: Array, shift: Array) -> tuple[Array, Array]:
    """``(W s) x + (b + W t)``."""
    kernel = data["weight"]
    groups = 1 if isinstance(op, Linear) else op.groups
    grouped = kernel.reshape(groups, -1, *kernel.shape[1:])
    by_group = (groups, 1, -1, *(1,) * (kernel.ndim - 2))
    shifted = (grouped * shift.reshape(by_group)).reshape(kernel.shape[0], -1).sum(axis=1)
    bias = data.get("bias", np.zeros(kernel.shape[0]))
    return _product(grouped, scale.reshape(by_group)).reshape(kernel.shape), bias + shifted
