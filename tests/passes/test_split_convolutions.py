"""1 × 1 convolutions of what is joined: what is convolved apart, and that the sum is the same."""

from __future__ import annotations

import pytest

from tests.passes.texts import calls, changed_by, model, names
from trtdsl.ir import Graph, refusals
from trtdsl.passes import (
    merge_moves,
    merge_pads,
    merge_slices,
    optimize,
    remove_dead_nodes,
    split_convolutions,
)

X = "input x: float32[N, 8, 4, 4]"
MOVED = "moved = roll(x[:, :2], 1, 0)"
SPLIT = {
    "in front": ("cat([moved, x[:, 2:]], 1) -> conv: Conv2d(4, 1)", [MOVED]),
    "behind": ("cat([x[:, :6], moved], 1) -> conv: Conv2d(4, 1)", ["moved = roll(x[:, 6:], 1, 0)"]),
    "on both sides": (
        "cat([moved, x[:, 2:6], last], 1) -> conv: Conv2d(4, 1)",
        [MOVED, "last = roll(x[:, 6:], -1, 0)"],
    ),
    "half of them": ("cat([moved, x[:, 4:]], 1) -> conv: Conv2d(4, 1)", ["moved = roll(x[:, :4], 1, 0)"]),
    "without a bias": ("cat([moved, x[:, 2:]], 1) -> conv: Conv2d(4, 1, bias = false)", [MOVED]),
    "with a stride and padding": (
        "cat([moved, x[:, 2:]], 1) -> conv: Conv2d(6, 1, stride = 2, padding = 1)",
        [MOVED],
    ),
    "reflected": (
        'cat([moved, x[:, 2:]], 1) -> conv: Conv2d(4, 1, padding = 1, padding_mode = "reflect")',
        [MOVED],
    ),
    "parts of a split": (
        "cat([roll(few, 1, 0), rest], 1) -> conv: Conv2d(4, 1)",
        ["few, rest = split(x, (2, 6), 1)"],
    ),
    "in another shape": (
        "flatten(cat([moved, x[:, 2:]], 1), 2) -> conv: Conv1d(4, 1)",
        [MOVED],
    ),
    "of numbers that a layer computes": (
        "cat([y, x[:, 2:]], 1) -> conv: Conv2d(4, 1)",
        ["y = x[:, :2] -> other: Conv2d(2, 3, padding = 1)"],
    ),
}
"""What is convolved, and the statements before."""

LEFT = {
    "where they did not stand": ("cat([x[:, 2:], moved], 1) -> conv: Conv2d(4, 1)", [MOVED]),
    "more of them moved": (
        "cat([moved, x[:, 5:]], 1) -> conv: Conv2d(3, 1)",
        ["moved = roll(x[:, :5], 1, 0)"],
    ),
    "more results": ("cat([moved, x[:, 2:]], 1) -> conv: Conv2d(7, 1)", [MOVED]),
    "a larger kernel": ("cat([moved, x[:, 2:]], 1) -> conv: Conv2d(4, 3)", [MOVED]),
    "groups": ("cat([moved, x[:, 2:]], 1) -> conv: Conv2d(4, 1, groups = 2)", [MOVED]),
    "of another tensor": ("cat([moved, exp(x[:, 2:])], 1) -> conv: Conv2d(4, 1)", [MOVED]),
    "of fewer channels": ("cat([moved, x[:, 2:6]], 1) -> conv: Conv2d(3, 1)", [MOVED]),
    "every second": ("cat([x[:, ::2], moved], 1) -> conv: Conv2d(4, 1)", ["moved = roll(x[:, 4:], 1, 0)"]),
    "along the height": ("cat([x[:, :, :1] * 2, x[:, :, 1:]], 2) -> conv: Conv2d(4, 1)", []),
    "channels put together": (
        "reshape(cat([x[:, :, :1] * 2, x[:, :, 1:]], 2), N, 32, 2, 2) -> conv: Conv2d(3, 1)",
        [],
    ),
    "read by something else": (
        "(joined -> conv: Conv2d(4, 1)) + sum(joined)",
        [MOVED, "joined = cat([moved, x[:, 2:]], 1)"],
    ),
}


def _prepared(expression: str, before: list[str], declaration: str = X) -> Graph:
    return merge_pads(merge_slices(model(declaration, expression, *before)))


def _convolutions(graph: Graph) -> list[str]:
    return [node.scope for node in graph.nodes if node.op.name.startswith("Conv") and node.scope != "other"]


@pytest.mark.parametrize("case", SPLIT)
def test_splits(case: str) -> None:
    changed = remove_dead_nodes(changed_by(split_convolutions, _prepared(*SPLIT[case])))
    assert _convolutions(changed) == ["conv.kept", "conv.moved"]
    stays = [len(node.operands) for node in changed.nodes if node.op.name == "cat"]
    assert stays == ([2] if case == "on both sides" else [])


@pytest.mark.parametrize("case", LEFT)
def test_leaves(case: str) -> None:
    graph = _prepared(*LEFT[case])
    assert "cat" in names(graph) and split_convolutions(graph) is graph


@pytest.mark.parametrize("case", SPLIT)
def test_weights_of_what_moved_are_zeros(case: str) -> None:
    graph = _prepared(*SPLIT[case])
    (before,) = (node for node in graph.nodes if node.scope == "conv")
    after = split_convolutions(graph)
    rest, moved = (node for node in after.nodes if node.scope.startswith("conv") and node.weights)
    kernels = [node.weights["weight"].data for node in (before, rest, moved)]
    assert all(kernel is not None for kernel in kernels)
    whole, kept, cut = (kernel for kernel in kernels if kernel is not None)
    is_kept = (kept == whole).all(axis=(0, *range(2, whole.ndim)))
    assert not kept[:, ~is_kept].any() and (cut == whole[:, ~is_kept]).all()
    assert cut.shape[1] == (~is_kept).sum() > 0
    keys = {weight.key for each in (rest, moved) for weight in each.weights.values()}
    assert not keys & {weight.key for weight in before.weights.values()}  # these are the checkpoint's
    assert "bias" not in moved.weights and ("bias" in rest.weights) == ("bias" in before.weights)


SHIFT = [
    "clip = reshape(x, N, 3, 16, 2, 2)",
    "after = pad(clip[:, 1:, :2], (0, 0, 0, 0, 0, 0, 0, 1))",
    "before = pad(clip[:, :-1, 2:4], (0, 0, 0, 0, 0, 0, 1, 0))",
    "h = flatten(cat([after, before, clip[:, :, 4:]], 2), 0, 1)",
]
FRAMES = "input x: float32[3 * N, 16, 2, 2]"


def test_a_temporal_shift_brings_only_what_it_moves_into_another_shape() -> None:
    graph = _prepared("h -> conv: Conv2d(8, 1)", SHIFT, FRAMES)
    changed = merge_moves(remove_dead_nodes(changed_by(split_convolutions, graph)))
    assert calls(remove_dead_nodes(changed)) == [
        "x -> conv.kept: Conv2d(8, 1)",
        "slice(x, dim = 1, start = 0, end = 4)",
        "reshape(slice, (N, 3, 4, 2, 2))",
        "pad(reshape_1, (0, 0, 0, 0, 0, -2, -1, 1))",
        "pad(reshape_1, (0, 0, 0, 0, -2, 0, 1, -1))",
        "cat([pad, pad_1], dim = 2)",
        "reshape(cat_1, (3 * N, 4, 2, 2))",
        "reshape_2 -> conv.moved: Conv2d(8, 1, bias = false)",
        "conv: add(conv_kept, conv_moved)",
    ]


def test_the_whole_pipeline_splits_behind_a_norm() -> None:
    graph = model(FRAMES, "relu(h -> conv: Conv2d(8, 1, bias = false) -> bn: BatchNorm2d)", *SHIFT)
    assert _convolutions(optimize(graph)) == ["conv+bn.kept", "conv+bn.moved"]


def test_says_why_it_left_a_convolution() -> None:
    twice = "(h -> conv: Conv2d(8, 1)) + (x -> conv: Conv2d(8, 1))"
    graph = _prepared(twice, SHIFT, FRAMES)
    with refusals() as heard:
        assert split_convolutions(graph) is graph
    assert [each.refusal.reason for each in heard] == ["its weights are read elsewhere too"]


def test_another_layer_may_have_the_label_already() -> None:
    graph = _prepared("h -> conv: Conv2d(8, 1) -> conv.moved: Conv2d(8, 1)", SHIFT, FRAMES)
    changed = changed_by(split_convolutions, graph)
    assert _convolutions(changed) == ["conv.kept2", "conv.moved2", "conv.moved"]


def test_what_moved_may_stand_in_another_tensor_where_it_stood() -> None:
    parts = "cat([few[:, :2], exp(few[:, :1]), x[:, 3:]], 1)"
    graph = _prepared(f"{parts} -> conv: Conv2d(2, 1)", ["few = exp(x[:, :3])"])
    changed = changed_by(split_convolutions, graph)
    assert _convolutions(changed) == ["conv.kept", "conv.moved.kept", "conv.moved.moved"]
