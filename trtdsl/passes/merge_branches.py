"""Convolutions of one tensor whose results are added become one.

RepVGG and MobileOne are trained with branches, a 3 × 3 convolution beside a 1 × 1 one and a normalisation,
all of the same tensor. Each is a convolution with a kernel of the largest size, zeros around its own, and the
sum of convolutions is the convolution by the sum of kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from trtdsl.ir import Graph, Node, Outcome, Refusal, Surroundings, Value, Weight, merged_origins, rewrite
from trtdsl.ops.batch_norm import BATCH_NORMS, scale_and_shift
from trtdsl.ops.convolution import CONVOLUTIONS, Conv1d, Conv2d, Conv3d
from trtdsl.ops.pointwise import Add
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Array, made_by, new_weight

Convolution: TypeAlias = Conv1d | Conv2d | Conv3d


@graph_pass(
    tolerance=1e-5,  # kernels are added and rounded once more
    after=["fold_batch_norm", "fold_scales"],
    before=["remove_dead_nodes"],
    why="the normalisation of each branch is then in its kernel",
)
def merge_branches(graph: Graph) -> Graph:
    """Compute a sum of convolutions, and of normalisations, of one tensor by one convolution.

    before::

        model example() {
          input x: float32[2, 4, 8, 8]
          wide = x -> wide: Conv2d(4, 3, padding = 1)
          y = add(wide, x -> narrow: Conv2d(4, 1, bias = false))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 4, 8, 8]
          y = x -> "wide+narrow": Conv2d(4, 3, padding = 1)
          output y = y
        }
    """
    return rewrite(graph, _Merge())


class _Branch(NamedTuple):
    """A convolution of ``source`` as numbers, its kernel ``[out, in / groups, …]``, and where it is from."""

    source: Value
    kernel: Array
    bias: Array
    padding: tuple[int, ...]
    op: Convolution
    node: Node


class _Merge:
    """Remembers what was merged: the same branches, placed again under their labels, are the same ones."""

    def __init__(self) -> None:
        self._merged: dict[tuple[int, ...], dict[str, Weight]] = {}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        merged = _merged(node, around)
        if not isinstance(merged, _Sum):
            return merged
        if merged.identity not in self._merged:
            self._merged[merged.identity] = merged.weights()
        weights = self._merged[merged.identity]
        slots = (merged.node.slots[0], *weights)
        return merged.node.replace(operands=(merged.node.operands[0], *weights.values()), slots=slots)


class _Sum(NamedTuple):
    """The one convolution, still without its weights, and the branches that they are the sum of."""

    node: Node
    large: _Branch
    small: _Branch
    margins: list[int]
    """of the large kernel around the small one"""
    identity: tuple[int, ...]
    """of which weights the sum is"""

    def weights(self) -> dict[str, Weight]:
        kernel = self.large.kernel.astype(np.float64)
        sizes = self.small.kernel.shape[2:]
        inside = tuple(slice(m, m + size) for m, size in zip(self.margins, sizes, strict=True))
        kernel[(slice(None), slice(None), *inside)] += self.small.kernel
        scope = self.node.scope
        type = self.large.node.weights["weight"].type
        total = self.large.bias + self.small.bias
        return {
            "weight": new_weight(f"{scope}.weight", type, kernel),
            "bias": new_weight(f"{scope}.bias", type.with_shape(total.shape), total),
        }


def _merged(node: Node, around: Surroundings) -> _Sum | Refusal | None:
    if not isinstance(node.op, Add) or node.op.alpha != 1:
        return None
    makers = [made_by(value, around, *CONVOLUTIONS, *BATCH_NORMS) for value in node.operands]
    first, second = makers
    if first is None or second is None or first is second or first.operands[0] is not second.operands[0]:
        return None
    if first.result.type != second.result.type:
        return None
    convolution = next((each for each in (first, second) if isinstance(each.op, CONVOLUTIONS)), None)
    if convolution is None:
        return None
    for each in (first, second):
        if each.computed_weights or any(weight.data is None for weight in each.weights.values()):
            return Refusal(
                "the weights of a branch have no values yet, or are computed in the graph", (each,)
            )
    one, other = (_branch(each, convolution) for each in (first, second))
    if one is None or other is None:
        return Refusal("the branches differ in their groups or strides, or their kernels have no one middle")
    return _sum(one, other, node)


def _branch(node: Node, convolution: Node) -> _Branch | None:
    """The node as a convolution like another; None where it is not one."""
    if isinstance(node.op, BATCH_NORMS):
        return _of_norm(node, convolution)
    op: Any = node.op
    if isinstance(op.padding, str):
        return None
    data = {slot: weight.data for slot, weight in node.weights.items()}
    kernel: Any = data["weight"]
    bias = data.get("bias")
    zeros = np.zeros(kernel.shape[0]) if bias is None else bias.astype(np.float64)
    return _Branch(node.operands[0], kernel, zeros, op.window.before, op, node)


def _of_norm(node: Node, convolution: Node) -> _Branch | None:
    """A scale for each channel: a kernel of 1 with the scales on its diagonal."""
    op, like = node.op, convolution.op
    assert isinstance(op, BATCH_NORMS) and isinstance(like, CONVOLUTIONS)
    weight: Any = convolution.weights["weight"].type.shape
    data: Any = {slot: weight.data for slot, weight in node.weights.items()}
    if "running_mean" not in data or node.result.type.rank != like.spatial + 2:
        return None
    if not _ones(like.window.stride):
        return None  # the result has the input's size all the same where the padding makes up for it
    scale, shift = scale_and_shift(
        op.eps, data["running_mean"], data["running_var"], data.get("weight"), data.get("bias")
    )
    kernel = np.zeros((*weight[:2], *(1,) * like.spatial))
    for channel in range(weight[0]):
        kernel[(channel, channel % weight[1], *(0,) * like.spatial)] = scale[channel]
    plain = like.replace(kernel_size=1, padding=0, dilation=1)
    return _Branch(node.operands[0], kernel, shift, (0,) * like.spatial, plain, node)


def _sum(one: _Branch, other: _Branch, node: Node) -> _Sum | Refusal:
    large, small = (one, other) if one.kernel.size >= other.kernel.size else (other, one)
    ours, theirs = _settings(large.op), _settings(small.op)
    margins = [a - b for a, b in zip(large.padding, small.padding, strict=True)]
    spare = [a - b for a, b in zip(large.kernel.shape[2:], small.kernel.shape[2:], strict=True)]
    fits = all(0 <= margin <= room for margin, room in zip(margins, spare, strict=True))
    plain = _ones(large.op.window.dilation) and (
        _ones(small.op.window.dilation) or small.kernel[0, 0].size == 1
    )
    if ours != theirs or not fits or not plain or large.kernel.shape[:2] != small.kernel.shape[:2]:
        return Refusal("the branches differ in their groups or strides, or their kernels have no one middle")
    merged = node.replace(
        op=large.op.replace(bias=True),
        operands=(large.source,),
        slots=(large.node.slots[0],),
        scope=f"{one.node.scope}+{other.node.scope}",
        origins=merged_origins([one.node, other.node, node]),
    )
    identity = tuple(id(weight) for branch in (one, other) for weight in branch.node.weights.values())
    return _Sum(merged, large, small, margins, identity)


def _settings(op: Convolution) -> tuple[object, ...]:
    return op.out_channels, op.groups, op.window.stride, op.padding_mode


def _ones(sizes: tuple[int, ...]) -> bool:
    return all(size == 1 for size in sizes)
