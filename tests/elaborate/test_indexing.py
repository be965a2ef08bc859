"""``x[…]`` has PyTorch's shape, or is refused where PyTorch refuses or cannot be followed."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import graph_of, mistakes_of

DECLARED = "input x: float32[4, 5, 6]\ninput i: int64[2, 3]\ninput j: int64[3]\n"

INTEGERS = ["0", "-1", "none", "...", "0, 1", "0, 1, 2", ":, 2", "..., 0", "..., none", "none, 0, ..., none"]
SLICES = ["1:", ":-1", "1:100", "::2", "1:4:3", ":, none, 1:3", "0:0", "3:1", "-2:", "..., 1:, ::5"]
TENSORS = ["j", ":, j", "..., j", "j, :, 0", "1:, j"]


@pytest.mark.parametrize("subscripts", [*INTEGERS, *SLICES, *TENSORS])
def test_shape_is_pytorchs(subscripts: str) -> None:
    x, j = torch.zeros(4, 5, 6), torch.zeros(3, dtype=torch.int64)
    wanted = eval(f"x[{subscripts}]".replace("none", "None"), {"x": x, "j": j})
    graph = graph_of(f"output o = x[{subscripts}]", declared=DECLARED)
    assert graph.outputs[0].value.type.shape == tuple(wanted.shape)


@pytest.mark.parametrize(
    ("subscripts", "message"),
    [
        ("4", "out of range"),
        ("0, 0, 0, 0", "4 subscripts for a tensor of rank 3"),
        ("..., ...", "at most one `...`"),
        ("::-1", "step must be at least 1"),
        ('"a"', "an index holds"),
        ("0.5", "an index holds"),
        ("x", "a tensor subscript must"),
        ("i", "a tensor subscript must have rank 1"),
    ],
)
def test_refused(subscripts: str, message: str) -> None:
    (found,) = mistakes_of(f"output o = x[{subscripts}]", declared=DECLARED)
    assert message in found


@pytest.mark.parametrize(
    ("expression", "shape"),
    [
        ("x[1:]", "float32[N - 1, 3, H, 8]"),
        ("x[:, :, H // 2:]", "float32[N, 3, H - H // 2, 8]"),
        ("x[:, :, ::2]", "float32[N, 3, (H + 1) // 2, 8]"),
        ("x[..., :H]", "float32[N, 3, H, min(H, 8)]"),
        ("x[-1]", "float32[3, H, 8]"),
    ],
)
def test_dynamic_sizes(expression: str, shape: str) -> None:
    declared = "dim N = 2 .. 3 .. 64\ndim H = 2 .. 8 .. 32\ninput x: float32[N, 3, H, 8]\n"
    graph = graph_of(f"output o = {expression}", declared=declared)
    assert str(graph.outputs[0].value.type) == shape
