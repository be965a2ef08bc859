"""Known numbers after a convolution or linear layer go into its weight and bias.

``(W x + b) * s + t`` is ``(s W) x + (s b + t)``, with one number for all or one for each output, or those of
a batch normalisation. Permutations and other shapes may stand between as long as they keep the outputs apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trtdsl.ir import (
    Graph,
    Node,
    Outcome,
    Refusal,
    Surroundings,
    Value,
    merged_origins,
    rewrite,
)
from trtdsl.ops.convolution import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from trtdsl.ops.deformable import DeformConv2d
from trtdsl.ops.division import Div
from trtdsl.ops.linear import Linear
from trtdsl.ops.pointwise import Add, Mul, Sub
from trtdsl.ops.shape import Permuting, Reshaping
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.fold_batch_norm import normalisation, scaled_outputs
from trtdsl.passes.matching import (
    Array,
    array_of,
    made_by,
    new_weight,
    obstacle_in_weights,
    reads_of_weights,
)
from trtdsl.types import product

LAYERS = (Linear, DeformConv2d, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)


@graph_pass(
    tolerance=1e-5,  # each weight is rounded once more
    after=["simplify_arithmetic", "recognise_linear", "fold_batch_norm"],
    before=["merge_moves"],
    why="a normalisation leaves a number only where it cannot fold, and moves are still told apart",
)
def fold_scales(graph: Graph) -> Graph:
    """Scale and shift the outputs of a convolution or linear layer by constants after it.

    A batch normalisation counts as such where `fold_batch_norm` has left one behind a move.

    before::

        model example() {
          input x: float32[2, 5, 8]
          y = mul(x -> fc: Linear(3), gamma: Parameter(3))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 5, 8]
          y = x -> "fc+y": Linear(3)
          output y = y
        }
    """
    return rewrite(graph, _Fold(graph))


class _Change(NamedTuple):
    """What to multiply outputs by and then to add: a number for each element along one axis, or for all."""

    scale: Array
    shift: Array
    axis: int | None


class _Path(NamedTuple):
    """A layer, and what stands after it, the first first, none of it read by anything else."""

    layer: Node
    moves: tuple[Node, ...]


class _Fold:
    def __init__(self, graph: Graph) -> None:
        self._reads = reads_of_weights(graph)

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if normal := normalisation(node, around):
            path = _path(node.operands[0], around)
            # Without a move between it is a matter of `fold_batch_norm`, which may have been left out.
            return self._folded(path, _Change(*normal, axis=1), node, around) if path and path.moves else None
        if not isinstance(node.op, Mul | Div | Add | Sub) or len(node.operands) != 2:
            return None
        left, right = node.operands
        for value, constant in ((left, right), (right, left)):
            path = _path(value, around) if value.type == node.result.type else None
            array = array_of(constant, around) if path else None
            if path is None or array is None or value is constant:
                continue
            change = _change(node, array, value is left)
            if change is not None:
                return self._folded(path, change, node, around)
        return None

    def _folded(
        self, path: _Path, change: _Change, node: Node, around: Surroundings
    ) -> list[Node] | Refusal | None:
        """The layer with other weights, and what stands after it, making what the node made."""
        layer, axis = path.layer, change.axis
        assert isinstance(layer.op, LAYERS)
        if axis is not None:
            for move in reversed(path.moves):
                axis = _axis_before(move, axis)
                if axis is None:
                    return None
            if axis != layer.result.type.rank + layer.op.channel_dim:
                return None
        if why := obstacle_in_weights(layer, self._reads):
            return Refusal(why, (layer,))
        build = around.builder()
        made = scaled_layer(layer, change.scale, change.shift, [node])
        ends = [move.results for move in path.moves]
        names = [layer.results, *ends]
        fresh = [tuple(Value(build.names.unique(v.name), v.type) for v in each) for each in names]
        fresh[-1] = node.results
        nodes = [made.replace(results=fresh[0])]
        for move, before, after in zip(path.moves, fresh, fresh[1:], strict=False):
            nodes.append(move.replace(operands=before, results=after))
        return nodes


def scaled_layer(layer: Node, scale: Array, shift: Array, takers: Sequence[Node]) -> Node:
    """The layer whose outputs are these times ``scale`` plus ``shift``: a number for all, or for each.

    ``takers`` are the nodes whose work that was.
    """
    op: Any = layer.op
    channels = int(layer.result.type.shape[layer.result.type.rank + op.channel_dim])  # pyright: ignore[reportArgumentType]
    data = {slot: weight.data for slot, weight in layer.weights.items() if weight.data is not None}
    scale, shift = (np.broadcast_to(each, (channels,)) for each in (scale, shift))
    kernel, bias = scaled_outputs(op, data, scale.astype(np.float64), shift.astype(np.float64))
    labels = [node.scope if node.weights else node.result.name for node in takers]
    scope = "+".join([layer.scope, *labels])
    type = layer.weights["weight"].type
    with_bias = op.bias or bool(shift.any())
    given = {**dict(layer.tensors), "weight": new_weight(f"{scope}.weight", type, kernel)}
    if with_bias:
        given["bias"] = new_weight(f"{scope}.bias", type.with_shape(bias.shape), bias)
    return layer.replace(
        op=op.replace(bias=with_bias),
        operands=tuple(given.values()),
        slots=tuple(given),
        scope=scope,
        origins=merged_origins([layer, *takers]),
    )


def _path(value: Value, around: Surroundings) -> _Path | None:
    """The layer that makes a value, by way of nothing but moves."""
    moves: list[Node] = []
    while maker := made_by(value, around, *LAYERS, Permuting, Reshaping):
        if isinstance(maker.op, LAYERS):
            return _Path(maker, tuple(reversed(moves)))
        moves.append(maker)
        value = maker.operands[0]
    return None


def _axis_before(move: Node, axis: int) -> int | None:
    """Which dimension of what is moved becomes this one of the result; None where none does as it is."""
    before, after = move.operands[0].type.shape, move.result.type.shape
    if isinstance(move.op, Permuting):
        return move.op.permutation(len(after))[axis]
    same = (after[axis], product(after[axis + 1 :]))
    found = [each for each in range(len(before)) if (before[each], product(before[each + 1 :])) == same]
    return found[-1] if found else None


def _change(node: Node, array: Array, is_left: bool) -> _Change | None:
    """What the node does to its other operand with these numbers; None where it is nothing that folds."""
    varying = [axis for axis, size in enumerate(array.shape) if size != 1]
    rank = node.result.type.rank
    if len(varying) > 1 or array.size == 0 or not np.isfinite(array.astype(np.float64)).all():
        return None
    axis = varying[0] + rank - array.ndim if varying else None
    numbers = array.astype(np.float64).reshape(-1)
    one, zero = np.asarray(1.0), np.asarray(0.0)
    match node.op:
        case Mul():
            return _Change(numbers, zero, axis)
        case Div(rounding_mode=None) if is_left and (numbers != 0).all():
            return _Change(1 / numbers, zero, axis)
        case Add(alpha=alpha) if is_left or alpha == 1:
            return _Change(one, numbers * alpha, axis)
        case Sub(alpha=alpha) if is_left:
            return _Change(one, -numbers * alpha, axis)
        case _:
            return None
