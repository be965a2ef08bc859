"""``x[…]`` has PyTorch's shape, or is refused where PyTorch refuses or cannot be followed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.elaborate.bodies import graph_of, mistakes_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.reference import run
from trtdsl.runner import load

DECLARED = "input x: float32[4, 5, 6]\ninput i: int64[2, 3]\ninput j: int64[3]\ninput k: int32[]\n"

INTEGERS = ["0", "-1", "none", "...", "0, 1", "0, 1, 2", ":, 2", "..., 0", "..., none", "none, 0, ..., none"]
SLICES = ["1:", ":-1", "1:100", "::2", "1:4:3", ":, none, 1:3", "0:0", "3:1", "-2:", "..., 1:, ::5"]
TENSORS = [
    "j",
    ":, j",
    "..., j",
    "j, :, 0",
    "1:, j",
    "i",
    ":, i",
    "i, j",
    "i, :, j",
    "none, i, j",
    "j, none, j",
]
MIXED = [
    "0, i",
    "0, :, j",
    "i, 0",
    ":, 1:, i",
    "k",
    "k, :, j",
    "j, k, j",
    "[0, 2]",
    "[[0], [1]], 0",
    "..., [-1]",
]
MASKS = ["[true, false, true, true]", ":, [true, false, true, false, true], 1:", "m", "m, j[:1]"]


@pytest.mark.parametrize("subscripts", [*INTEGERS, *SLICES, *TENSORS, *MIXED, *MASKS])
def test_is_pytorchs(subscripts: str) -> None:
    values = {
        "x": torch.arange(120.0).reshape(4, 5, 6),
        "i": torch.tensor([[3, -4, 0], [1, -1, 2]]),
        "j": torch.tensor([-2, 3, 0]),
        "k": torch.tensor(-3, dtype=torch.int32),
    }
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[1, 2] = mask[0, 4] = mask[3, 0] = True
    text = subscripts.replace("none", "None").replace("true", "True").replace("false", "False")
    wanted = eval(f"x[{text}]", {**values, "m": mask})
    stated = str(mask.tolist()).lower()
    graph = graph_of(f"m = tensor({stated})\noutput o = x[{subscripts}]", declared=DECLARED)
    assert graph.outputs[0].value.type.shape == tuple(wanted.shape)
    given = {value.name: values[value.name] for value in graph.inputs}
    assert torch.equal(run(graph, given)["o"], wanted)


@pytest.mark.parametrize("slice", [": S // 2", "S // 2 :", "S // 2 : S : 2", ": S - 1", "S // 3 : S // 2"])
def test_a_slice_that_is_empty_at_some_sizes(slice: str) -> None:
    """It never ends before it starts, so that what is left has a size."""
    declared = "dim S = 1 .. 16 .. 64\ninput x: float32[2, S]\n"
    graph = graph_of(f"output o = x[:, {slice}]", declared=declared)
    network = load(graph, device="cpu")
    for S in (1, 2, 7):
        x = np.arange(2.0 * S, dtype=np.float32).reshape(2, S)
        assert np.array_equal(network(x=x)["o"], eval(f"x[:, {slice}]", {"x": x, "S": S}))


def test_a_slice_that_may_end_before_it_starts() -> None:
    with pytest.raises(DiagnosticError, match="whether the slice from 3 to S // 2 is empty depends"):
        graph_of("output o = x[:, 3 : S // 2]", declared="dim S = 4 .. 16 .. 64\ninput x: float32[2, S]\n")


@pytest.mark.parametrize(
    ("subscripts", "message"),
    [
        ("4", "out of range"),
        ("0, 0, 0, 0", "4 subscripts for a tensor of rank 3"),
        ("..., ...", "at most one `...`"),
        ("::-1", "step must be at least 1"),
        ('"a"', "an index holds"),
        ("0.5", "an index holds"),
        ("x", "an index must be int32 or int64, not float32"),
        ("x > 0", "how many elements a bool mask keeps depends on its values"),
        ("i, j, i, j", "4 subscripts for a tensor of rank 3"),
        ("i, :, i[:, :2]", "do not broadcast"),
        ("[0, 4]", "position 4 is out of range in a dimension of 4"),
        ("tensor([-5])", "position -5 is out of range in a dimension of 4"),
        (":, tensor(5)", "position 5 is out of range in a dimension of 5"),
        ("[true, false]", "the mask has 2 elements for a dimension of 4"),
        ("[0.5]", "a list among subscripts holds integers or booleans"),
        ("[[0, 1], [2]]", "the lists are not all of one length"),
        ("[x]", "a list among subscripts holds integers or booleans, not a float32[4, 5, 6] tensor"),
        ("true", "an index holds"),
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
