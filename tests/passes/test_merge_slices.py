"""Slices of slices and of what was joined: what they become, and that they take the same elements."""

from __future__ import annotations

import pytest

from tests.passes.texts import calls, model, names
from trtdsl.evaluate import evaluate
from trtdsl.ir import verify
from trtdsl.passes import merge_slices, remove_dead_nodes
from trtdsl.reference import random_inputs, run
from trtdsl.trt.lower import lower

X = """dim H = 4 .. 6 .. 9
  input x: float32[N, 6, 8]
  input z: float32[N, 6, 8]
  input h: float32[N, H, 8]
  input i: int32[N, 6, 8]"""
MERGED = {
    "two dimensions": ("x[:, ::2, 1::2]", ["strided_slice(x, (1, 2), (0, 1), (5, 8), (2, 2))"]),
    "three cuts": ("x[:, ::2][..., 1:7][..., ::3]", ["strided_slice(x, (1, 2), (0, 1), (5, 5), (2, 3))"]),
    "one dimension": ("x[:, 1:][:, ::2]", ["slice(x, dim = 1, start = 1, end = 6, step = 2)"]),
    "from the end": ("x[:, -3:][:, -2:]", ["slice(x, dim = 1, start = 4, end = 6)"]),
    "nothing": ("x[:, 0:1][:, :-1:2]", ["slice(x, dim = 1, start = 0, end = 0, step = 2)"]),
    "nothing of two dimensions": (
        "x[:, :, :0:3][:, ::2]",
        ["strided_slice(x, (1, 2), (0, 0), (5, 0), (2, 3))"],
    ),
    "a dynamic size": ("h[:, 1:, 1:]", ["strided_slice(h, (1, 2), (1, 1), (H, 8), (1, 1))"]),
    "a dynamic size twice": (
        "h[:, 1:][:, ::2]",
        ["slice(h, dim = 1, start = 1, end = 2 * (H // 2), step = 2)"],
    ),
    "two positions": (
        "x[:, 2, 3]",
        ["strided_slice(x, (1, 2), (2, 3), (3, 4), (1, 1))", "reshape(y_part, (N,))"],
    ),
    "a position of a slice": (
        "x[:, 1:][:, 2]",
        ["slice(x, dim = 1, start = 3, end = 4)", "reshape(y_part, (N, 8))"],
    ),
    "a slice of a position": (
        "x[:, 2][:, 1:3]",
        ["strided_slice(x, (1, 2), (2, 1), (3, 3), (1, 1))", "reshape(y_part, (N, 2))"],
    ),
    "of the first joined": ("cat([x, z], 1)[:, 1:4]", ["slice(x, dim = 1, start = 1, end = 4)"]),
    "of the second joined": ("cat([x, z], 1)[:, 7::2]", ["slice(z, dim = 1, start = 1, end = 6, step = 2)"]),
    "one joined": ("cat([x, z], 1)[:, 6:]", []),
    "behind one of a dynamic size": ("cat([h, x], 1)[:, H + 1 :]", ["slice(x, dim = 1, start = 1, end = 6)"]),
    "a position of a cat": ("cat([x, z], 1)[:, 8]", ["select(z, 1, 2)"]),
    "one of a stack": ("stack([x, z], 1)[:, 1]", []),
    "joined at once": ("cat([cat([x, z], 1), cat([z, x], 1), z], 1)", ["cat([x, z, z, x, z], dim = 1)"]),
}
"""What is written, and what is left of it."""

LEFT = {
    "of both joined": "cat([x, z], 1)[:, 5:7]",
    "along another dimension": "cat([x, z], 1)[..., 1:]",
    "a cast": "cat([i, x], 1)[:, 0:6]",
    "two of a stack": "stack([x, z], 1)[:, 0:1]",
    "joined elsewhere": "cat([cat([x, z], 1), cat([x, z], 1)], 2)",
    "joined in another type": "cat([cat([i, i], 1), x], 1)",
    "where the size decides": "cat([h, x], 1)[:, 5:6]",
}


@pytest.mark.parametrize("case", MERGED)
def test_merges(case: str) -> None:
    expression, wanted = MERGED[case]
    graph = model(X, "exp(y)\n  output w = y\n  output v = sum(h) + sum(i) + sum(z)", f"y = {expression}")
    merged = remove_dead_nodes(merge_slices(graph))
    assert [call for call in calls(merged) if call.split("(")[0] not in ("exp", "sum", "add")] == wanted
    assert merge_slices(merged) is merged
    assert verify(merged) == ()
    inputs = random_inputs(graph, seed=1)
    lowered = lower(merged)
    found = (run(merged, inputs), evaluate(lowered.network, inputs, weights=lowered.weights))
    for name in ("y", "w"):
        assert all((run(graph, inputs)[name] == each[name]).all() for each in found)


@pytest.mark.parametrize("case", LEFT)
def test_leaves(case: str) -> None:
    graph = model(X, f"exp({LEFT[case]}) + sum(h) + sum(i) + sum(z)")
    assert merge_slices(graph) is graph


def test_a_slice_of_a_position_that_is_read_elsewhere_stays() -> None:
    graph = model(X, "exp(row[:, 1:3]) + sum(row)", "row = x[:, 2]")
    assert merge_slices(graph) is graph


def test_two_positions_of_a_position_read_it() -> None:
    graph = model(X, "part[:, 3] + part[:, 4]", "part = x[:, 2]")
    assert merge_slices(graph) is graph


def test_a_cat_that_is_read_elsewhere_stays() -> None:
    graph = model(X, "cat([both, z], 1) + sum(both)", "both = cat([x, z], 1)")
    assert "cat" in names(graph)
    assert merge_slices(graph) is graph
