"""Pads and slices after one another: what they become, and that no element that was cut off comes back."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn.functional import pad

from tests.passes.texts import calls, changed_by, model, names
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.passes import merge_pads, merge_slices
from trtdsl.reference import random_inputs, run
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower

X = """dim H = 4 .. 6 .. 9
  input x: float32[N, 6, 8]
  input h: float32[N, H, 8]"""
MERGED = {
    "cut before, padded behind": ("pad(x[..., 1:], (0, 2))", ["pad(x, (-1, 2))"]),
    "cut behind, padded before": ("pad(x[:, :-2], (0, 0, 1, 0))", ["pad(x, (0, 0, 1, -2))"]),
    "one dimension cut, another padded": ("pad(x[:, 2:5], (1, 1))", ["pad(x, (1, 1, -2, -1))"]),
    "two dimensions cut": ("pad(x[:, 1:, :4], (0, 1, 0, 2))", None),
    "a temporal shift": ("pad(x[:, 1:, :2], (0, 0, 0, 1))", ["pad(x, (0, -6, -1, 1))"]),
    "with a value": ("pad(x[:, 1:], (0, 0, 0, 1), value = 2)", ["pad(x, (0, 0, -1, 1), value = 2.0)"]),
    "nothing left": ("pad(x[:, 6:], (0, 0, 0, 2))", ["pad(x, (0, 0, -6, 2))"]),
    "nothing left of the front": ("pad(x[:, :0], (0, 0, 2, 0))", ["pad(x, (0, 0, 2, -6))"]),
    "cut twice at one side": ("pad(x[:, 1:], (0, 0, -2, 1))", ["pad(x, (0, 0, -3, 1))"]),
    "a dynamic size": ("pad(h[:, 1:], (0, 0, 0, 1))", ["pad(h, (0, 0, -1, 1))"]),
    "the front of a dynamic size": ("pad(h[:, :4], (0, 0, 3, 0))", ["pad(h, (0, 0, 3, 4 - H))"]),
    "as many as a dynamic size has": ("pad(h[:, H // 2 :], (0, 0, 0, H // 2))", None),
    "to a multiple of four": ("pad(h[:, 1:], (0, 0, 0, -(H - 1) % 4))", None),
    "a slice of a pad": ("pad(x, (0, 0, 1, 1))[:, :6]", ["pad(x, (0, 0, 1, -1))"]),
    "a slice that cuts all of a pad": ("pad(x, (0, 0, 2, 2), value = 3)[:, 2:-2]", []),
    "a slice that cuts more than a pad": ("pad(x, (0, 0, 2, 0))[:, 3:]", ["pad(x, (0, 0, -1, 0))"]),
    "two pads": (
        "pad(pad(x, (1, 0), value = 2), (0, 3, 1, 0), value = 2)",
        ["pad(x, (1, 3, 1, 0), value = 2.0)"],
    ),
    "a pad that only cuts": (
        "pad(pad(x, (-1, 0), value = 1), (0, 3), value = 2)",
        ["pad(x, (-1, 3), value = 2.0)"],
    ),
    "a pad and another that only cuts": (
        "pad(pad(x, (1, 0), value = 1), (0, -3))",
        ["pad(x, (1, -3), value = 1.0)"],
    ),
    "three in a row": ("pad(pad(x[:, 1:], (0, 0, 0, 2)), (1, 0))[..., :5]", ["pad(x, (1, -4, -1, 2))"]),
}
"""What is written, and which pads and slices are left; None where that there is one says enough."""

LEFT = {
    "cut and padded before": "pad(x[:, 1:], (0, 0, 1, 0))",
    "cut and padded behind": "pad(x[:, :-1], (0, 0, 0, 1))",
    "one of two sides cut and padded": "pad(x[:, 1:-1], (0, 0, 0, 1))",
    "one of two dimensions cut and padded": "pad(x[:, 1:, 2:], (0, 2, 2, 0))",
    "a pad after one that cuts": "pad(pad(x, (-1, 0)), (1, 0))",
    "every second": "pad(x[:, ::2], (0, 0, 0, 1))",
    "every second of a dimension": "pad(x[:, 1:, ::2], (0, 0, 0, 1))",
    "every second of what is padded": "pad(x, (0, 0, 0, 1))[:, ::2]",
    "a position": "pad(x[:, 1], (0, 1))",
    "another mode": 'pad(x[:, 1:], (0, 2), mode = "replicate")',
    "another mode before": 'pad(x, (0, 2), mode = "replicate")[..., 1:]',
    "other values": "pad(pad(x, (1, 0), value = 1), (0, 1), value = 2)",
    "none and a value": "pad(pad(x, (1, 0)), (0, 1), value = 2)",
    "a cut that may be none": "pad(h[:, : H - H % 4], (0, 0, 0, 1))",
    "a pad that may be none": "pad(h[:, :-1], (0, 0, 0, H % 4))",
    "slices alone": "x[:, 1:][..., 1:]",
    "more cut than there was": "pad(x, (0, 9))[..., 10:]",
}


@pytest.mark.parametrize("case", MERGED)
def test_merges(case: str) -> None:
    expression, wanted = MERGED[case]
    graph = merge_slices(
        model(X, "exp(y)\n  output w = y\n  output v = sum(h) + sum(x)", f"y = {expression}")
    )
    found = [call for call in calls(changed_by(merge_pads, graph)) if call.split("(")[0] in ("pad", "slice")]
    assert found == wanted if wanted is not None else len(found) == 1


@pytest.mark.parametrize("case", LEFT)
def test_leaves(case: str) -> None:
    graph = merge_slices(model(X, f"exp({LEFT[case]}) + sum(h) + sum(x)"))
    assert merge_pads(graph) is graph


@pytest.mark.parametrize("more", ["sum(part)", "sum(pad(part, (0, 0, 0, 1)))"])
def test_leaves_what_something_else_reads(more: str) -> None:
    graph = model(X, f"pad(part, (0, 0, 0, 1)) + {more} + sum(h)", "part = x[:, 1:]")
    assert merge_pads(graph) is graph


def test_leaves_what_is_an_output() -> None:
    graph = model(X, "pad(part, (0, 0, 0, 1)) + sum(h)\n  output part", "part = x[:, 1:]")
    assert merge_pads(graph) is graph


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "bool", "uint8", "int8"])
def test_tensorrt_builds_them_as_one_layer(dtype: str) -> None:
    """Past both ends, of a dynamic size too, and where nothing of the input is left."""
    expressions = (
        *("pad(x[:, 1:, :2], (0, 0, 0, 1), value = 1)", "pad(x[:, :-1, 2:], (0, 3, 1, 0))"),
        *("pad(x[:, 3:], (0, 0, 0, 5))", "pad(x, (0, 0, 2, 1), value = 1)[:, :2]"),
        *("pad(h[:, 1:], (0, 0, 0, 1))", "pad(h[:, H // 2 :], (2, 0, 0, H // 2), value = 1)"),
    )
    outputs = "\n".join(f"  output y{place} = {each}" for place, each in enumerate(expressions))
    text = f"dim H = 2 .. 4 .. 7  input x: {dtype}[2, 3, 5]  input h: {dtype}[2, H, 3]"
    graph = merge_slices(elaborate_text(f"model m() {{ {text}\n{outputs}\n}}"))
    merged = merge_pads(graph)
    assert names(merged) == ["pad"] * len(expressions)
    lowered = lower(merged)
    assert build(lowered)
    inputs = random_inputs(graph, seed=1)
    wanted = run(graph, inputs)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def step_of(chance: random.Random, size: int) -> str:
    """A slice or pad of a vector, of at most a few elements at either side."""
    first, last = (chance.choice([0, 0, 1, 2]) for _ in range(2))
    if chance.random() < 0.5:
        return f"[{first}:{max(first, size - last)}]"
    least = -(size // 2)
    amounts = tuple(max(least, chance.choice([-2, -1, 0, 0, 1, 2])) for _ in range(2))
    return f" -> pad({amounts}, value = -1)"


def after(x: torch.Tensor, step: str) -> tuple[torch.Tensor, tuple[int, int]]:
    """What PyTorch makes of a vector, and how many elements that adds before and behind."""
    if step.startswith("["):
        start, end = (int(bound) for bound in step[1:-1].split(":"))
        return x[start:end], (-start, min(end, len(x)) - len(x) if end > start else start - len(x))
    first, last = (int(amount) for amount in step[step.index("((") + 2 : step.index(")")].split(","))
    return pad(x, (first, last), value=-1), (first, last)


@pytest.mark.parametrize("seed", range(60))
def test_merges_exactly_where_one_pad_does_the_same(seed: int) -> None:
    """Elements differ from each other and from the fill: one pad with the sums shows what it reads."""
    chance = random.Random(seed)
    x = torch.arange(chance.randint(3, 6)).float()
    first = step_of(chance, len(x))
    middle, inner = after(x, first)
    second = step_of(chance, len(middle))
    wanted, outer = after(middle, second)
    sums = (inner[0] + outer[0], inner[1] + outer[1])
    fits = len(x) + min(sums[0], 0) + min(sums[1], 0) >= 0
    text = f"model m() {{ input x: float32[{len(x)}]  y = (x{first}){second}  output y }}"
    graph = elaborate_text(text)
    merged = merge_pads(merge_slices(graph))
    assert torch.equal(run(merged, {"x": x})["y"], wanted)
    slices = "pad" not in names(graph)
    assert (len(merged.nodes) < 2) == (slices or (fits and torch.equal(pad(x, sums, value=-1), wanted)))
