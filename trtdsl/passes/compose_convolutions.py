"""Two convolutions one after the other, one of them 1 × 1, become one where that multiplies less.

A convolution by single points mixes channels only: ``V (W * x + b) + c`` is ``(V W) * x + (V b + c)``, and
``W * (V x + b) + c`` the same the other way round, where no padding stands between that has not seen ``b``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from trtdsl.ir import Graph, Node, Outcome, Refusal, Surroundings, merged_origins, rewrite
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.windows import Window
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import Array, made_by, new_weight, obstacle_in_weights, reads_of_weights


@graph_pass(
    tolerance=1e-5,  # each weight is rounded once more
    after=["fold_batch_norm", "fold_scales", "merge_branches"],
    before=["merge_moves"],
    why="a normalisation or a scale between the two is then part of the first",
)
def compose_convolutions(graph: Graph) -> Graph:
    """Make one convolution of two, one of them 1 × 1, where it has fewer multiplications.

    before::

        model example() {
          input x: float32[2, 4, 8, 8]
          wide = x -> wide: Conv2d(16, 3, padding = 1)
          y = wide -> narrow: Conv2d(2, 1)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 4, 8, 8]
          y = x -> "wide+narrow": Conv2d(2, 3, padding = 1)
          output y = y
        }
    """
    return rewrite(graph, _Compose(graph))


class _Compose:
    def __init__(self, graph: Graph) -> None:
        self._reads = reads_of_weights(graph)

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if not isinstance(node.op, CONVOLUTIONS) or not node.operands:
            return None
        first = made_by(node.operands[0], around, type(node.op))
        if first is None:
            return None
        pair = _pair(first, node)
        if pair is None:
            return None
        if why := self._obstacle(first, node) or pair.obstacle:
            return Refusal(why, (first,))
        return _composed(pair)

    def _obstacle(self, first: Node, second: Node) -> str | None:
        for each in (first, second):
            if each.computed_weights:
                return "a weight is computed in the graph"
            if why := obstacle_in_weights(each, self._reads):
                return why
        return None


class _Pair(NamedTuple):
    """Two convolutions that multiply less as one, which has these groups; the points come second or first."""

    first: Node
    second: Node
    groups: int
    points_last: bool

    @property
    def obstacle(self) -> str | None:
        """Why they are not one convolution all the same."""
        op: Any = self.second.op
        if self.points_last or op.padding_mode != "zeros" or not _pads(op.window):
            return None
        bias = self.first.weights.get("bias")
        if bias is None or bias.data is None or not bias.data.any():
            return None
        return "the second one's padding brings in zeros where the first one's bias would be"


def _pair(first: Node, second: Node) -> _Pair | None:
    """The two, if one of them convolves points and the other does all the rest, and it pays."""
    one, other = _op(first), _op(second)
    windows = one.window, other.window
    points_last = _is_of_points(windows[1])
    if not points_last and not (_is_of_points(windows[0]) and _ones(windows[0].stride)):
        return None
    if points_last and one.padding == "same" and not _ones(windows[1].stride):
        return None  # such a padding has a stride of 1
    groups = one.groups if one.groups == other.groups else 1
    inputs, outputs = one.channels(first.operands[0].type), other.out_channels
    kernel = math.prod(windows[0].kernel) * math.prod(windows[1].kernel)
    # For each place of the result; the first is computed at every place that the second steps over.
    steps = math.prod(windows[1].stride)
    apart = steps * inputs // one.groups * one.out_channels * math.prod(windows[0].kernel)
    apart += one.out_channels // other.groups * outputs * math.prod(windows[1].kernel)
    if inputs // groups * outputs * kernel >= apart:
        return None
    return _Pair(first, second, groups, points_last)


def _op(node: Node) -> Any:
    assert isinstance(node.op, CONVOLUTIONS)
    return node.op


def _is_of_points(window: Window) -> bool:
    return _ones(window.kernel) and not _pads(window)


def _pads(window: Window) -> bool:
    return any((*window.before, *window.after))


def _ones(sizes: tuple[int, ...]) -> bool:
    return all(size == 1 for size in sizes)


def _composed(pair: _Pair) -> Node:
    first, second, groups, points_last = pair
    one, other = _op(first), _op(second)
    kernels = [_grouped(node, groups) for node in (first, second)]
    # [group, out, between, …] and [group, between, in, …]; the points have no places of their own.
    kernel = np.einsum("gom...,gmi...->goi...", kernels[1], kernels[0])
    kernel = kernel.reshape(-1, *kernel.shape[2:])
    bias = _bias(second)
    if "bias" in first.weights:
        between = _bias(first).reshape(groups, -1)
        summed = kernels[1].sum(axis=tuple(range(3, kernels[1].ndim)))
        bias = bias + np.einsum("gom,gm->go", summed, between).reshape(-1)
    scope = f"{first.scope}+{second.scope}"
    type = second.weights["weight"].type
    given = {"weight": new_weight(f"{scope}.weight", type.with_shape(kernel.shape), kernel)}
    if has_bias := "bias" in first.weights or "bias" in second.weights:
        given["bias"] = new_weight(f"{scope}.bias", type.with_shape(bias.shape), bias)
    whole = one if points_last else other
    changes: dict[str, Any] = {"out_channels": other.out_channels, "groups": groups, "bias": has_bias}
    if points_last:
        steps = zip(one.window.stride, other.window.stride, strict=True)
        stride = tuple(a * b for a, b in steps)
        changes |= {} if _ones(other.window.stride) else {"stride": stride}
    return second.replace(
        op=whole.replace(**changes),
        operands=(first.operands[0], *given.values()),
        slots=(first.slots[0], *given),
        scope=scope,
        origins=merged_origins([first, second]),
    )


def _grouped(node: Node, groups: int) -> Array:
    """The kernel as ``[groups, out, in, …]``; where it has more groups itself, zeros stand between these."""
    kernel: Any = node.weights["weight"].data
    kernel = kernel.astype(np.float64)
    own = _op(node).groups
    if own == groups:
        return kernel.reshape(groups, -1, *kernel.shape[1:])
    outputs, inputs = kernel.shape[:2]
    dense = np.zeros((outputs, inputs * own, *kernel.shape[2:]))
    for group in range(own):
        rows = slice(group * outputs // own, (group + 1) * outputs // own)
        dense[rows, group * inputs : (group + 1) * inputs] = kernel[rows]
    return dense[None]


def _bias(node: Node) -> Array:
    bias = node.weights.get("bias")
    zeros = np.zeros(_op(node).out_channels)
    return zeros if bias is None or bias.data is None else bias.data.astype(np.float64)
