"""Heads of queries, keys and values: taken from one product where all are made alike, and only there."""

from __future__ import annotations

import pytest

from tests.passes.texts import calls, changed_by, model, names
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, refusals
from trtdsl.options import CompileOptions
from trtdsl.passes import merge_heads, merge_moves, optimize
from trtdsl.reference import random_weights
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.lower import lower

TWO = "a, b = chunk(x -> fc: Linear(24), 2, 2)"
X = "input x: float32[N, 5, 8]"
ATTEND = "scaled_dot_product_attention(q, k, v)"


def heads(part: str, count: int = 3, width: int = 4) -> str:
    return f"transpose(reshape({part}, (N, 5, {count}, {width})), 1, 2)"


def merged(expression: str, *statements: str) -> Graph:
    """What the pass makes of it, found to compute the same."""
    return changed_by(merge_heads, merge_moves(model(X, expression, *statements)))


def test_of_one_product() -> None:
    statements = ("a, b, c = chunk(x -> fc: Linear(36), 3, 2)", f"q = {heads('a')}", f"k = {heads('b')}")
    changed = merged(ATTEND, *statements, f"v = {heads('c')}")
    assert calls(changed) == [
        "x -> fc: Linear(36)",
        "shuffle(fc, (0, 1, 2), (N, 5, 9, 4), (0, 2, 1, 3))",
        "split(fc_heads, (3, 3, 3), dim = 1)",
        "scaled_dot_product_attention(q, k, v)",
    ]


def test_of_a_single_position() -> None:
    """Heads of which need no permutation, as where one token is written after the other."""
    made = [f"{name} = transpose(reshape(x -> {name}: Linear(12), (N, 1, 3, 4)), 1, 2)" for name in "qkv"]
    changed = changed_by(merge_heads, merge_moves(model("input x: float32[N, 1, 8]", ATTEND, *made)))
    assert calls(changed)[:2] == [
        'x -> "q+k+v": Linear(36)',
        "shuffle(heads, (0, 1, 2), (N, 1, 9, 4), (0, 2, 1, 3))",
    ]
    two = [each.replace("(N, 1, 3, 4)", "(N, 1, 3, 2, 2)").replace(", 1, 2)", ", 1, 3)") for each in made]
    rest = "sum(q) + sum(k) + sum(v)"
    kept = merge_moves(model("input x: float32[N, 1, 8]", rest, *two))
    assert merge_heads(kept) is kept


@pytest.mark.parametrize("bias", ["", ", bias = false"])
def test_of_a_product_for_each(bias: str) -> None:
    statements = [f"{name} = {heads(f'x -> {name}: Linear(12{bias})')}" for name in "qkv"]
    changed = merged(ATTEND, *statements)
    assert calls(changed)[0] == f'x -> "q+k+v": Linear(36{bias})'
    assert names(changed) == ["Linear", "shuffle", "split", "scaled_dot_product_attention"]


def test_of_fewer_keys_than_queries() -> None:
    widths = {"q": 4, "k": 2, "v": 2}
    statements = [f"{name} = {heads(f'x -> {name}: Linear({4 * n})', n)}" for name, n in widths.items()]
    changed = merged("scaled_dot_product_attention(q, k, v, enable_gqa = true)", *statements)
    assert calls(changed)[2] == "split(heads_heads, (4, 2, 2), dim = 1)"


def test_keys_without_a_bias() -> None:
    """As Whisper has them."""
    statements = [
        f"{name} = {heads(f'x -> {name}: Linear(12{bias})')}"
        for name, bias in {"q": "", "k": ", bias = false", "v": ""}.items()
    ]
    changed = merged(ATTEND, *statements)
    assert calls(changed)[0] == 'x -> "q+k+v": Linear(36)'


def test_of_keys_and_values_alone() -> None:
    statements = [f"{name} = {heads(f'x -> {name}: Linear(12)')}" for name in "kv"]
    changed = merged(ATTEND, f"q = {heads('exp(x) -> q: Linear(12)')}", *statements)
    assert sorted(node.scope for node in changed.nodes if node.op.name == "Linear") == ["k+v", "q"]


def test_a_position_that_is_read_first_stays_in_order() -> None:
    """Something reads the queries before the layers of keys and values stand in the text."""
    first, *others = (f"{name} = {heads(f'x -> {name}: Linear(12)')}" for name in "qkv")
    merged(f"{ATTEND} + s", first, "s = sum(q)", *others)


LEFT = {
    "one of them": (f"{heads('a')}[:, :, :, :3] * sum(b)", TWO),
    "other widths": (
        f"sum({heads('a')}) + sum({heads('b', 2, 6)})",
        TWO,
    ),
    "read elsewhere": (
        f"sum({heads('a')}) + sum({heads('b')}) + sum(b)",
        TWO,
    ),
    "cut along the length": (
        "sum(transpose(reshape(a, (N, 3, 2, 4)), 1, 2)) + sum(b)",
        "a, b = chunk(x, 2, 1)",
    ),
    "not turned": ("sum(reshape(a, (N, 5, 3, 4))) + sum(b)", TWO),
    "of two tensors": (
        f"sum({heads('x -> a: Linear(12)')}) + sum({heads('y_ -> b: Linear(12)')})",
        "y_ = exp(x)",
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_leaves(case: str) -> None:
    graph = merge_moves(model(X, *LEFT[case]))
    with refusals() as heard:
        assert merge_heads(graph) is graph
    assert heard == []


REFUSED = {
    "its weights are computed in the graph": "linear(x, exp(w: Parameter(12, 8)))",
    "its weights are read elsewhere too": "x -> a: Linear(12, bias = false)",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_says_why_not(reason: str) -> None:
    one = heads(REFUSED[reason])
    graph = merge_moves(
        model(X, f"sum({one}) + sum(exp({one})) + sum({heads('x -> b: Linear(12, bias = false)')})")
    )
    with refusals() as heard:
        assert merge_heads(graph) is graph
    assert {each.refusal.reason for each in heard} == {reason}


def test_weights_without_values_are_awaited() -> None:
    one, other = (heads(f"x -> {name}: Linear(12)").replace("N", "2") for name in "ab")
    graph = elaborate_text(f"model m() {{ input x: float32[2, 5, 8] output y = {one} + {other} }}")
    with refusals() as heard:
        merge_heads(merge_moves(graph))
    assert {each.refusal.reason for each in heard} == {"the weights have no values yet: give a checkpoint"}


BLOCK = """model block() {
  dim N = 1 .. 2 .. 8
  dim S = 1 .. 16 .. 128
  input x: float32[N, S, 64]
  h = x -> ln: LayerNorm(64)
  rows = addmm(b: Parameter(192), reshape(h, (N * S, 64)), w: Parameter(64, 192))
  a, b_, c = chunk(reshape(rows, (N, S, 192)), 3, 2)
  q = transpose(reshape(a, (N, S, 4, 16)), 1, 2)
  k = transpose(reshape(b_, (N, S, 4, 16)), 1, 2)
  v = transpose(reshape(c, (N, S, 4, 16)), 1, 2)
  y = scaled_dot_product_attention(q, k, v, is_causal = true)
  output o = x + (reshape(transpose(y, 1, 2), (N, S, 64)) -> o: Linear(64))
}"""


def test_tensorrt_needs_fewer_kernels() -> None:
    """A linear layer that was recognised costs none, as it did where its product was cut by its outputs."""
    graph = random_weights(elaborate_text(BLOCK), seed=0)

    def kernels(*skip: str) -> int:
        lowered = lower(optimize(graph, skip=skip))
        return len(build_with_facts(lowered, CompileOptions(targets=("sm86",)), kernels=True).kernels)

    assert kernels() < kernels("merge_heads")
    assert kernels() <= kernels("recognise_linear")
    assert kernels("merge_heads") > kernels("merge_heads", "recognise_linear")
