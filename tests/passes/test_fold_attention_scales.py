"""The scale of an attention in the layer that makes its queries or keys, or in the part of it that does."""

from __future__ import annotations

from random import Random
from typing import TypeAlias

import numpy as np
import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import model
from trtdsl.ir import Graph, refusals, verify
from trtdsl.ops.attention import ScaledDotProductAttention
from trtdsl.passes import fold_attention_scales
from trtdsl.reference import random_inputs, run

Dim: TypeAlias = int | str

ROWS = "dim S = 1 .. 5 .. 9\n  input x: float32[N, S, 8]"
IMAGE = "dim H = 1 .. 3 .. 4\n  dim W = 1 .. 2 .. 4\n  input x: float32[N, 8, H, W]"
HEADS = "q, k, v = qkv -> reshape(N, S, 3, 2, 4) -> permute(2, 0, 3, 1, 4) -> unbind"
JOINT = f"qkv = x -> a: Linear(24)\n{HEADS}"
ATTENTION = "scaled_dot_product_attention(q, k, v)"
FOLDED = {
    "a layer of its own": (
        ROWS,
        "scaled_dot_product_attention(x -> q: Linear(8) -> unsqueeze(1), unsqueeze(x, 1), unsqueeze(x, 1))",
        "",
        8,
    ),
    "a third of one": (ROWS, ATTENTION, JOINT, 8),
    "keys, where queries are added too": (ROWS, f"{ATTENTION} + q", JOINT, 8),
    "a scale that is given": (ROWS, "scaled_dot_product_attention(q, k, v, scale = 3.0)", JOINT, 8),
    "the last third": (ROWS, "scaled_dot_product_attention(v, q, k)", JOINT, 8),
    "chunks": (
        ROWS,
        "scaled_dot_product_attention(unsqueeze(q, 1), unsqueeze(k, 1), unsqueeze(v, 1))",
        "q, k, v = x -> a: Linear(24, bias = false) -> chunk(3, dim = 2)",
        8,
    ),
    "one part and a slice of two": (
        ROWS,
        "scaled_dot_product_attention(h[0], kv[0], kv[1])",
        "h = x -> a: Linear(24) -> reshape(N, S, 3, 2, 4) -> permute(2, 0, 3, 1, 4)\nkv = h[1:]",
        8,
    ),
    "head by head": (
        ROWS,
        ATTENTION,
        "h = x -> a: Linear(20) -> reshape(N, S, 2, 10) -> transpose(1, 2)\n"
        "q, k, v = split(h, (3, 3, 4), dim = 3)",
        6,
    ),
    "windows": (
        "dim H = 1 .. 2 .. 3\n  input x: float32[N, 2 * H, 6, 8]",
        ATTENTION,
        "h = x -> a: Linear(24) -> reshape(N, H, 2, 3, 2, 24) -> permute(0, 1, 3, 2, 4, 5)\n"
        "q, k, v = h -> reshape(N * H * 3, 4, 3, 2, 4) -> permute(2, 0, 3, 1, 4) -> unbind",
        8,
    ),
    "channels": (
        IMAGE,
        "scaled_dot_product_attention(transpose(q, 2, 3), transpose(k, 2, 3), transpose(v, 2, 3))",
        "q, k, v = x -> a: Conv2d(16, 1) -> reshape(N, 2, 8, H * W) -> split((2, 2, 4), dim = 2)",
        4,
    ),
    "with sizes that are known": (
        "input x: float32[N, 5, 8]",
        ATTENTION,
        "h = x -> a: Linear(24) -> reshape(N, 120) -> reshape(N, 5, 3, 2, 4)\n"
        "q, k, v = h -> permute(2, 0, 3, 1, 4) -> unbind",
        8,
    ),
    "two attentions": (
        ROWS,
        f"{ATTENTION} + scaled_dot_product_attention(w, k, v, scale = 2.0)",
        "q, k, v, w = x -> a: Linear(32) -> reshape(N, S, 4, 2, 4) -> permute(2, 0, 3, 1, 4) -> unbind",
        16,
    ),
}
KEPT = {
    "a scale of 1": (ROWS, "scaled_dot_product_attention(q, k, v, scale = 1.0)", JOINT),
    "queries that are keys": (ROWS, "scaled_dot_product_attention(q, q, v)", JOINT),
    "queries and keys that are added too": (ROWS, f"{ATTENTION} + q + k", JOINT),
    "a layer that is read whole": (ROWS, f"{ATTENTION} + sum(qkv)", JOINT),
    "a part that overlaps": (ROWS, f"{ATTENTION} + sum(qkv[:, :, 4:12])", JOINT),
    "queries of one part of the positions": (
        "input x: float32[N, 4, 8]",
        "scaled_dot_product_attention(q, x, x) + others",
        "q, others = x -> a: Linear(8) -> chunk(2, dim = 1)",
    ),
    "queries behind an activation": (ROWS, ATTENTION, f"qkv = x -> a: Linear(24) -> relu\n{HEADS}"),
    "the input itself": (ROWS, "scaled_dot_product_attention(x, x * 2, x)", ""),
    "parts that depend on a size": (
        ROWS,
        "scaled_dot_product_attention(q, k, k)",
        "q, k = x -> a: Linear(8) -> reshape(N, 8, S) -> transpose(1, 2) -> split(4, dim = 2)",
    ),
}


def layers(graph: Graph) -> list[str]:
    return [node.scope for node in graph.nodes if node.weights]


@pytest.mark.parametrize("case", FOLDED)
def test_folds(case: str) -> None:
    declaration, expression, before, scaled = FOLDED[case]
    graph = model(declaration, expression, before)
    folded = fold_attention_scales(graph)
    assert verify(folded) == ()
    assert [node.op.name for node in folded.nodes] == [node.op.name for node in graph.nodes]
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(folded, inputs), expected(graph, inputs), fold_attention_scales.tolerance)
    (old,), (new,) = (
        [node.weights["weight"].data for node in each.nodes if node.weights] for each in (graph, folded)
    )
    assert old is not None and new is not None
    changed = (old != new).reshape(len(old), -1).any(1)
    assert np.count_nonzero(changed) == scaled


def test_every_attention_has_its_own_scale() -> None:
    declaration, expression, before, _ = FOLDED["a third of one"]
    folded = fold_attention_scales(model(declaration, expression, before))
    (attention,) = (node.op for node in folded.nodes if isinstance(node.op, ScaledDotProductAttention))
    assert attention.scale == 1.0
    assert layers(folded) == ["a+y"]


@pytest.mark.parametrize("case", KEPT)
def test_keeps(case: str) -> None:
    graph = model(*KEPT[case])
    assert fold_attention_scales(graph) is graph


def test_keeps_an_output() -> None:
    graph = model(ROWS, f"{ATTENTION}\noutput whole = qkv", JOINT)
    assert fold_attention_scales(graph) is graph


def moved(random: Random, length: Dim) -> tuple[list[str], list[tuple[str, list[Dim]]]]:
    """Random moves of a layer's outputs, as lines, and the names and shapes of what they make."""
    made: list[tuple[str, list[Dim]]] = [("h", ["N", length, random.choice([24, 32])])]
    lines = [f"h = x -> a: Linear({made[0][1][2]})"]
    for step in range(random.randint(2, 6)):
        value, shape = random.choice(made[-3:])
        axis = random.randrange(len(shape))
        size, before, after = shape[axis], shape[:axis], shape[axis + 1 :]
        names = [f"h{step}"]
        move = random.choice(["reshape", "permute", "slice", "select", "chunk"])
        if move == "permute":
            order = random.sample(range(len(shape)), len(shape))
            new, expression = [shape[each] for each in order], f"permute({value}, {list(order)})"
        elif isinstance(size, str) or size % 4:
            continue
        elif move == "reshape":
            new = [*before, size // 2, 2, *after]
            expression = f"reshape({value}, {', '.join(map(str, new))})"
        elif move == "slice":
            new, expression = [*before, size - 1, *after], f"slice({value}, {axis}, 1)"
        elif move == "select":
            new, expression = [*before, *after], f"select({value}, {axis}, {random.randrange(size)})"
        else:
            new, names = [*before, size // 2, *after], [f"h{step}", f"g{step}"]
            expression = f"chunk({value}, 2, dim = {axis})"
        lines.append(f"{', '.join(names)} = {expression}")
        made += [(name, new) for name in names]
    return lines, [each for each in made if len(each[1]) > 1]


@pytest.mark.parametrize("seed", [5, 9, 11, 24])
def test_random_moves(seed: int) -> None:
    """By a power of two, which rounds nothing: every number stays as it is."""
    random, folded = Random(seed), 0
    for _ in range(50):
        length: Dim = random.choice(["S", 4])
        lines, made = moved(random, length)
        (query, shape), (other, _) = random.choice(made), random.choice(made)
        known = f"k = expand(w: Parameter(5, 1), {', '.join(map(str, [*shape[:-2], 5, shape[-1]]))})"
        values = f"v = expand(u: Parameter(1, 1), {', '.join(map(str, shape))})"
        beside = f" + sum({other})" if random.random() < 0.5 else ""
        operands = f"{query}, k, k" if random.random() < 0.5 else f"k, {query}, v"
        attention = f"scaled_dot_product_attention({operands}, scale = 4.0){beside}"
        input = f"dim S = 1 .. 2 .. 4\n  input x: float32[N, {length}, 8]"
        graph = model(input, attention, *lines, known, values)
        found = fold_attention_scales(graph)
        folded += found is not graph
        inputs = random_inputs(graph, seed=seed)
        (wanted,), (got,) = (run(each, inputs, in_float64=True).values() for each in (graph, found))
        np.testing.assert_allclose(got, wanted, rtol=1e-13)
    assert folded >= 2


def test_says_why_not() -> None:
    graph = model(ROWS, f"{ATTENTION} + sum(x -> a: Linear(24))", JOINT)
    with refusals() as heard:
        assert fold_attention_scales(graph) is graph
    assert [each.refusal.reason for each in heard] == ["its weights are read elsewhere too"]
