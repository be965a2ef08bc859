"""Batch normalisation disappears into the convolution or linear layer beside it.

In inference it is ``y = x * s + t`` per channel with ``s = weight / sqrt(running_var + eps)`` and
``t = bias - running_mean * s`` (torch.nn.BatchNorm2d).  Behind a layer ``W x + b`` that makes
``(s W) x + (s b + t)``; in front of one, ``(W s) x + (b + W t)``, which holds only where no padding
brings in zeros that the normalisation has not seen.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from trtdsl.ir import (
    Graph,
    Node,
    Outcome,
    Refusal,
    Surroundings,
    Value,
    Weight,
    merged_origins,
    refusals,
    refuse,
    rewrite,
    walk,
)
from trtdsl.ops.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, scale_and_shift
from trtdsl.ops.convolution import (
    TRANSPOSED_CONVOLUTIONS,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from trtdsl.ops.deformable import DeformConv2d
from trtdsl.ops.linear import Linear
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Array, array_of, is_constant, new_weight

Convolution: TypeAlias = Conv1d | Conv2d | Conv3d
Transposed: TypeAlias = ConvTranspose1d | ConvTranspose2d | ConvTranspose3d
BatchNorm: TypeAlias = BatchNorm1d | BatchNorm2d | BatchNorm3d
Layer: TypeAlias = Convolution | Transposed | DeformConv2d | Linear


@graph_pass(tolerance=1e-5)  # each weight is rounded once more
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
    with refusals() as heard:
        folded = rewrite(graph, _Fold())
    left = {result for node in walk(folded) for result in node.results}
    paired = {node.results for each in heard for node in each.refusal.about}
    for node, refusal in ((each.node, each.refusal) for each in heard):
        # Nothing before a normalisation takes it in: what stands after it may have, or has said why not.
        if refusal.about or (node.result in left and node.results not in paired):
            refuse(node, refusal)
    return folded


class _Fold:
    """Remembers what was folded: the same two sets of weights, placed again under their labels, give the
    same new weights."""

    def __init__(self) -> None:
        self._folded: dict[tuple[int, ...], dict[str, Weight]] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        first = around.producer(node.operands[0]) if node.operands else None
        if not isinstance(node.op, BatchNorm | Convolution | Linear):
            return None
        if first is None or not _is_pair(first, node):
            return Refusal("no convolution or linear layer is beside it") if _is_norm(node) else None
        reason = _obstacle(first, node, around)
        return Refusal(reason, (first,)) if reason else self._merged(first, node, around)

    def _merged(self, first: Node, second: Node, around: Surroundings) -> Node:
        """One layer in place of both, with the second's results and both their origins."""
        behind = _is_norm(second)
        layer, norm = (first, second) if behind else (second, first)
        op: Any = layer.op
        # The labels name the checkpoint's weights: what is given in their place may differ from use to use.
        given = first.computed_weights or second.computed_weights
        scope = f"folded+{second.result.name}" if given else f"{first.scope}+{second.scope}"
        identity = tuple(id(weight) for node in (first, second) for weight in _weights(node).values())
        if identity not in self._folded:
            fold = scaled_outputs if behind else _scaled_inputs
            normal = _scale_and_shift(norm.op, _data(norm, around))
            kernel, bias = fold(op, _data(layer, around), *normal)
            type = _weights(layer)["weight"].type
            self._folded[identity] = {
                "weight": new_weight(f"{scope}.weight", type, kernel),
                "bias": new_weight(f"{scope}.bias", type.with_shape(bias.shape), bias),
            }
        operands = {**dict(first.tensors), **self._folded[identity]}
        return second.replace(
            op=op.replace(bias=True),
            operands=tuple(operands.values()),
            slots=tuple(operands),
            scope=scope,
            origins=merged_origins([first, second]),
        )


def normalisation(node: Node, around: Surroundings) -> tuple[Array, Array] | None:
    """What a batch normalisation multiplies each channel by and then adds, in float64.

    None for another node, and where that depends on the batch or has no values yet.
    """
    if not _is_norm(node) or not _has_statistics(node):
        return None
    known = _data(node, around)
    return _scale_and_shift(node.op, known) if known.keys() == _weights(node).keys() else None


def _is_norm(node: Node) -> bool:
    return isinstance(node.op, BatchNorm)


def _is_pair(first: Node, second: Node) -> bool:
    """Whether one is a normalisation and the other a layer that takes it in, if nothing is in the way."""
    if _is_norm(second):
        return isinstance(first.op, Layer)
    return _is_norm(first) and isinstance(second.op, Convolution | Linear)


def _obstacle(first: Node, second: Node, around: Surroundings) -> str | None:
    """Why the two nodes, the second reading the first, cannot become one; None where they can."""
    between = second.operands[0]
    layer: Any = (first if _is_norm(second) else second).op
    given = [pair for node in (first, second) for pair in node.computed_weights.items()]
    computed = [slot for slot, value in given if not is_constant(value, around)]
    if around.is_output(between):
        return f"`{between.name}`, which lies between, is an output"
    if not around.is_read_once(between):
        return f"`{between.name}`, which lies between, is read elsewhere too"
    if between.type.rank != _batched_rank(layer):
        return f"dimension 1 of {between.type} is not the layer's channels"
    if _is_norm(first) and not _is_unpadded(layer):
        return "the layer's padding brings in zeros that the normalisation has not seen"
    if computed:
        return f"`{computed[0]}` is computed in the graph"
    if not _has_statistics(first, second):
        return "it takes the statistics of the batch"
    if any(array is None for node in (first, second) for array in _arrays(node, around).values()):
        return "the weights have no values yet: give a checkpoint"
    return None


def _batched_rank(layer: Layer) -> int:
    """The rank at which dimension 1 holds the layer's channels."""
    return 1 - layer.channel_dim


def _is_unpadded(layer: Convolution | Linear) -> bool:
    if isinstance(layer, Linear) or layer.padding == "valid":
        return True
    return layer.padding == 0 or (isinstance(layer.padding, tuple) and not any(layer.padding))


def _has_statistics(*nodes: Node) -> bool:
    """Whether one has running statistics, without which a normalisation depends on the batch."""
    return any("running_mean" in node.slots for node in nodes)


def _weights(node: Node) -> dict[str, Value]:
    """What stands in the places of the node's weights, by name."""
    return {**node.weights, **node.computed_weights}


def _data(node: Node, around: Surroundings) -> dict[str, Array]:
    """The values of the node's weights, by name."""
    return {slot: array for slot, array in _arrays(node, around).items() if array is not None}


def _arrays(node: Node, around: Surroundings) -> dict[str, Array | None]:
    return {slot: array_of(value, around) for slot, value in _weights(node).items()}


def _product(kernel: Array, factor: Array) -> Array:
    """``kernel * factor``, computed in float64 and rounded once to the kernel's dtype.

    numpy converts a few thousand elements at a time, so that no float64 copy of a kernel ever exists.
    """
    result = np.empty_like(kernel, order="C", subok=False)
    return np.multiply(kernel, factor, out=result, dtype=np.float64, casting="same_kind")


def _scale_and_shift(op: Any, data: dict[str, Array]) -> tuple[Array, Array]:
    """What the normalisation multiplies each channel by and then adds, in float64."""
    return scale_and_shift(
        op.eps, data["running_mean"], data["running_var"], data.get("weight"), data.get("bias")
    )


def scaled_outputs(op: Any, data: dict[str, Array], scale: Array, shift: Array) -> tuple[Array, Array]:
    """``(s W) x + (s b + t)``: weight and bias, from a layer's own by name and numbers for each output."""
    kernel = data["weight"]
    if isinstance(op, TRANSPOSED_CONVOLUTIONS):
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
