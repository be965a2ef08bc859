"""A convolution over patches that becomes tokens is a linear layer of each patch.

Where a convolution steps by its own kernel and does not pad, each element of its input is part of one window.
Vision transformers read the windows as tokens, channels last, which is what a linear layer makes of the rows
that the windows are laid out in. TensorRT lays them out anyway, before the convolution and after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trtdsl.ir import Graph, Node, Outcome, Refusal, Surroundings, merged_origins, rewrite
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.linear import Linear
from trtdsl.ops.shape import Permuting, Reshape
from trtdsl.ops.shuffle import Shuffle
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import made_by, new_weight, obstacle_in_weights, reads_of_weights
from trtdsl.types import Dim


@graph_pass(
    tolerance=1e-6,  # sums of products run in another order
    after=["fold_batch_norm", "fold_scales", "merge_branches", "compose_convolutions", "merge_moves"],
    before=["remove_dead_nodes"],
    why="the convolution has its last weights, and what makes tokens of its output is one move",
)
def recognise_patches(graph: Graph) -> Graph:
    """Make a linear layer of a convolution that steps by its kernel, where its output is read as tokens.

    before::

        model example() {
          input image: float32[2, 3, 8, 8]
          maps = image -> proj: Conv2d(16, 4, stride = 4)
          y = shuffle(maps, (0, 1, 2, 3), (2, 16, 4), (0, 2, 1))
          output y = y
        }

    after::

        model example() {
          input image: float32[2, 3, 8, 8]
          windows = shuffle(image, (0, 1, 2, 3), (2, 3, 2, 4, 2, 4), (0, 2, 4, 1, 3, 5))
          patches = reshape(windows, 2, 4, 48)
          y = patches -> "proj+y": Linear(16)
          output y = y
        }
    """
    return rewrite(graph, _Recognise(graph))


class _Recognise:
    def __init__(self, graph: Graph) -> None:
        self._reads = reads_of_weights(graph)

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        if not isinstance(node.op, Permuting | Shuffle):
            return None
        layer = made_by(node.operands[0], around, *CONVOLUTIONS)
        if layer is None or not _is_of_patches(layer) or not _is_of_tokens(node):
            return None
        if _is_made_of_tokens(around.producer(layer.operands[0])):
            return None
        if why := obstacle_in_weights(layer, self._reads):
            return Refusal(why, (layer,))
        return _linear(layer, node, around)


def _is_of_patches(layer: Node) -> bool:
    """Whether each element of the input is part of just one window, and a window is not a single point."""
    op: Any = layer.op
    window, sizes = op.window, layer.operands[0].type.shape[-op.spatial :]
    return (
        layer.operands[0].type.rank == op.spatial + 2
        and op.groups == 1
        and window.kernel == window.stride == window.reach
        and math.prod(window.kernel) > 1
        and not any((*window.before, *window.after))
        and all(
            isinstance(size, int) and size % kernel == 0
            for size, kernel in zip(sizes, window.kernel, strict=True)
        )
    )


def _orders(move: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How a move permutes before and after it reshapes."""
    rank = move.operands[0].type.rank
    if isinstance(move.op, Permuting):
        return tuple(move.op.permutation(rank)), tuple(range(rank))
    assert isinstance(move.op, Shuffle)
    return move.op.orders(rank)


def _is_of_tokens(move: Node) -> bool:
    """Whether a move puts the channels, which were second, last, and leaves all else in order."""
    before, after = move.operands[0].type.shape, move.result.type.shape
    first, second = _orders(move)
    if first == (0, *range(2, len(before)), 1):
        return second == tuple(range(len(after))) and after[-1] == before[1]
    in_order = first == tuple(range(len(before)))
    return in_order and second == (0, 2, 1) and (after[0], after[2]) == before[:2]


def _is_made_of_tokens(move: Node | None) -> bool:
    """Whether a move makes an image of what has its channels last, which a convolution reads as it lies: of
    the windows TensorRT-RTX makes a kernel more."""
    if move is None or not isinstance(move.op, Permuting | Shuffle):
        return False
    before, after = move.operands[0].type.shape, move.result.type.shape
    first, second = _orders(move)
    is_second = first == (0, len(before) - 1, *range(1, len(before) - 1))
    return is_second and second == tuple(range(len(after))) and after[:2] == (before[0], before[-1])


def _linear(layer: Node, move: Node, around: Surroundings) -> Sequence[Node]:
    op: Any = layer.op
    source, result = layer.operands[0], move.result
    batch, channels, *_ = source.type.shape
    counts = layer.result.type.shape[2:]
    cut: list[Dim] = [batch, channels]
    for count, kernel in zip(counts, op.window.kernel, strict=True):
        cut += (count, kernel)
    places, within = range(2, len(cut), 2), range(3, len(cut), 2)
    build, origins = around.builder(), merged_origins([layer, move])
    turn = Shuffle(tuple(range(source.type.rank)), tuple(cut), (0, *places, 1, *within))
    windows = build.value(turn, source, name="windows", origins=origins)
    data = {slot: weight.data for slot, weight in layer.weights.items() if weight.data is not None}
    rows = data["weight"].reshape(op.out_channels, -1)
    flat = Reshape((*result.type.shape[:-1], rows.shape[1]))
    patches = build.value(flat, windows, name="patches", origins=origins)
    scope = f"{layer.scope}+{result.name}"
    given = [
        (slot, new_weight(f"{scope}.{slot}", source.type.with_shape(array.shape), array))
        for slot, array in {**data, "weight": rows}.items()
    ]
    linear = Linear(op.out_channels, op.bias)
    build.place_at(linear, [("input", patches), *given], scope=scope, origins=origins, results=[result])
    return build.nodes
