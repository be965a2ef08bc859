"""Attention: masks of every shape, both causal conventions, shared heads, rows that attend to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import tensorrt_rtx
import torch
import torch.nn.functional as F

from tests.closeness import expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts, narrowed
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.ops.attention import CausalLowerRight, ScaledDotProductAttention
from trtdsl.trt.lower import lower

trt: Any = tensorrt_rtx
ATTENTION = ScaledDotProductAttention()
INF = math.inf


def heads(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def layers(network: Any) -> list[str]:
    return [layer.type.name for layer in network]


def both_ways(text: str, inputs: dict[str, torch.Tensor]) -> None:
    """Hold the layers of every release against PyTorch."""
    graph = elaborate_text(text)
    for release in RELEASES:
        dialect = RecordingDialect(facts(release))
        lowered = lower(graph, dialect)
        has = {"ATTENTION_INPUT", "SOFTMAX"} & {*layers(dialect.network)}
        assert len(has) == 1
        given = narrowed(inputs) if release == "8.5.3" else inputs
        found = evaluate(dialect.network, given, weights=lowered.weights)
        require_outputs(found, expected(graph, inputs), 1e-5)


MASKS = [
    (5, 6),
    (1, 6),
    (5, 1),
    (1, 1),
    (6,),
    (),
    (3, 5, 6),
    (3, 1, 6),
    (1, 3, 5, 6),
    (2, 1, 1, 6),
    (2, 3, 5, 6),
]


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_masks_of_every_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
    mask = noise > -0.5 if dtype == torch.bool else noise
    check_equals_torch(ATTENTION, heads(2, 3, 5, 8), heads(2, 3, 6, 8), heads(2, 3, 6, 8), mask)
    # Values of another width are beyond TensorRT's layer.
    check_equals_torch(ATTENTION, heads(2, 3, 5, 8), heads(2, 3, 6, 8), heads(2, 3, 6, 7), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize("boolean", [True, False])
def test_a_query_that_attends_to_nothing_gets_zeros(dtype: torch.dtype, width: int, boolean: bool) -> None:
    allowed = torch.ones(4, 6, dtype=torch.bool)
    allowed[1], allowed[2, :3], allowed[3, 1:] = False, False, False
    mask = allowed if boolean else torch.zeros(4, 6, dtype=dtype).masked_fill(~allowed, -INF)
    q, k, v = (
        heads(2, 3, 4, 8, dtype=dtype),
        heads(2, 3, 6, 8, dtype=dtype),
        heads(2, 3, 6, width, dtype=dtype),
    )
    (y,) = check_equals_torch(ATTENTION, q, k, v, mask)
    assert not y[:, :, 1].any() and y[:, :, [0, 2, 3]].any(-1).all()


def test_masks_in_float32_of_half_queries() -> None:
    """The smallest float32 is minus infinity in half precision."""
    q, k, v = (heads(2, 3, 5, 8, dtype=torch.float16) for _ in range(3))
    mask = torch.randn(5, 5).masked_fill(torch.rand(5, 5) > 0.7, -1e4)
    check_equals_torch(ATTENTION, q, k, v, mask)


@pytest.mark.parametrize(
    "mask",
    ["mask", "mask -> to(float32)", "where(mask, 0.0, -inf)"],
)
@pytest.mark.parametrize("rows", [3, 1])
def test_rows_without_keys_in_every_release(mask: str, rows: int) -> None:
    text = f"""model m {{
      dim L = 1 .. 3 .. 5
      dim S = 1 .. 4 .. 9
      input q: float32[2, 4, L, 8]
      input k: float32[2, 2, S, 8]
      input mask: bool[2, 1, {"L" if rows > 1 else 1}, S]
      output y = scaled_dot_product_attention(q, k, k, {mask}, enable_gqa = true)
    }}"""
    mask_value = torch.rand(2, 1, rows, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    mask_value[1, 0, -1] = False
    both_ways(text, {"q": heads(2, 4, 3, 8), "k": heads(2, 2, 4, 8), "mask": mask_value})


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 7), (3, 7), (5, 5), (5, 3)])
@pytest.mark.parametrize("convention", ["is_causal = true", "attn_mask = causal_lower_right(L, S)"])
def test_causal_conventions_in_every_release(convention: str, queries: int, keys: int) -> None:
    text = f"""model m {{
      dim L = 1 .. 3 .. 5
      dim S = 1 .. 4 .. 9
      input q: float32[2, 3, L, 8]
      input k: float32[2, 3, S, 8]
      output y = scaled_dot_product_attention(q, k, k, {convention})
    }}"""
    both_ways(text, {"q": heads(2, 3, queries, 8), "k": heads(2, 3, keys, 8)})


def test_lower_right_is_pytorchs() -> None:
    from torch.nn.attention.bias import causal_lower_right

    q, k, v = heads(2, 3, 4, 8), heads(2, 3, 6, 8), heads(2, 3, 6, 8)
    (mask,) = check_equals_torch(CausalLowerRight((4, 6)))
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(4, 6))  # pyright: ignore[reportArgumentType]
    (ours,) = check_equals_torch(ATTENTION, q, k, v, mask)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("queries", "keys", "values"), [(6, 6, 6), (6, 2, 2), (6, 1, 1), (6, 2, 3), (6, 6, 1)]
)
@pytest.mark.parametrize("lead", [(), (2,), (2, 2)])
def test_heads_share_keys(lead: tuple[int, ...], queries: int, keys: int, values: int) -> None:
    op = ScaledDotProductAttention(enable_gqa=True, scale=0.3)
    q, k, v = heads(*lead, queries, 5, 8), heads(*lead, keys, 4, 8), heads(*lead, values, 4, 8)
    check_equals_torch(op, q, k, v)
    check_equals_torch(op, q, k, v, torch.rand(queries, 5, 4) > 0.5)
    check_equals_torch(op, q, k, v, torch.rand(*lead, 1, 5, 4))


@pytest.mark.parametrize(
    ("query", "key"),
    [((5, 8), (6, 8)), ((3, 5, 8), (3, 6, 8)), ((2, 2, 3, 5, 8), (2, 2, 3, 6, 8)), ((3, 5, 8), (6, 8))],
)
@pytest.mark.parametrize("causal", [True, False])
def test_ranks(query: tuple[int, ...], key: tuple[int, ...], causal: bool) -> None:
    op = ScaledDotProductAttention(is_causal=causal)
    check_equals_torch(op, heads(*query), heads(*key), heads(*key))
    check_equals_torch(op, heads(1, *query), heads(*key), heads(*key))


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.0, 3])
def test_scales(scale: float) -> None:
    q, k, v = heads(2, 3, 5, 8), heads(2, 3, 6, 8), heads(2, 3, 6, 8)
    check_equals_torch(ScaledDotProductAttention(scale=scale), q, k, v)


def test_large_scores_stay_finite_in_half_precision() -> None:
    """Scaled before the product, which would otherwise be beyond 65504."""
    q, k, v = (heads(1, 1, 4, 64, dtype=torch.float16) for _ in range(3))
    (y,) = check_equals_torch(ATTENTION, 60 * q, 60 * k, v)
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (ScaledDotProductAttention(dropout_p=0.1), ["float32[2, 3, 8]"] * 3, "`dropout_p` must be 0"),
        (
            ScaledDotProductAttention(is_causal=True),
            [*["float32[2, 3, 8]"] * 3, "bool[3, 3]"],
            "with `is_causal = true` there is no `attn_mask`",
        ),
        (ATTENTION, ["float32[8]"] * 3, "rank 2 or more, not float32[8]"),
        (ATTENTION, ["int32[3, 8]"] * 3, "needs a floating-point tensor"),
        (ATTENTION, ["float32[3, 8]", "float16[3, 8]", "float16[3, 8]"], "needs one dtype"),
        (ATTENTION, ["float32[3, 8]", "float32[3, 7]", "float32[3, 8]"], "differ in their last dimension"),
        (ATTENTION, ["float32[3, 8]", "float32[3, 8]", "float32[4, 8]"], "there are 3 keys and 4 values"),
        (ATTENTION, ["float32[3, 8]", "float32[0, 8]", "float32[0, 8]"], "needs a key"),
        (ATTENTION, [*["float32[2, 3, 8]"] * 3, "int32[3, 3]"], "must be bool or float32, not int32"),
        (ATTENTION, [*["float32[2, 3, 8]"] * 3, "float16[3, 3]"], "must be bool or float32, not float16"),
        (ATTENTION, [*["float32[2, 3, 8]"] * 3, "bool[3, 4]"], "does not broadcast to [2, 3, 3]"),
        (ATTENTION, [*["float32[2, 3, 8]"] * 3, "bool[1, 2, 3, 3]"], "does not broadcast to [2, 3, 3]"),
        (ATTENTION, ["float32[1, 4, 3, 8]", *["float32[1, 2, 3, 8]"] * 2], "do not broadcast"),
        (
            ScaledDotProductAttention(enable_gqa=True),
            ["float32[1, 4, 3, 8]", *["float32[1, 3, 3, 8]"] * 2],
            "3 heads of keys do not divide the 4 of the queries",
        ),
        (ScaledDotProductAttention(enable_gqa=True), ["float32[3, 8]"] * 3, "rank 3, the heads among its"),
        (CausalLowerRight((3,)), [], "takes the number of queries and that of keys"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: list[str], message: str) -> None:
    assert message in refused(op, *map(t, types))


def test_uses_tensorrts_layer_within_its_limits() -> None:
    text = """model m {{
      dim N = 1 .. 2 .. 4
      dim H = 2 .. 4 .. 8
      input q: float16[{q}]
      input k: float16[{k}]
      input v: float16[{v}]
      output y = scaled_dot_product_attention(q, k, v{mask})
    }}"""

    def kinds(q: str, k: str, v: str | None = None, mask: str = "") -> set[str]:
        graph = elaborate_text(text.format(q=q, k=k, v=v or k, mask=mask))
        return {*layers(lower(graph).network)} & {"ATTENTION_INPUT", "SOFTMAX"}

    assert kinds("N, 4, 5, 8", "N, 4, 6, 8") == {"ATTENTION_INPUT"}
    assert kinds("N, 5, 8", "N, 6, 8") == {"ATTENTION_INPUT"}
    assert kinds("5, 8", "6, 8") == {"ATTENTION_INPUT"}
    assert kinds("2, N, 4, 5, 8", "2, N, 4, 6, 8") == {"ATTENTION_INPUT"}
    assert kinds("N, 4, 5, 8", "N, 4, 6, 8", "N, 4, 6, 7") == {"SOFTMAX"}
    assert kinds("N, H, 5, 8", "N, H, 6, 8") == {"SOFTMAX"}
    assert kinds("N, 4, 5, 8", "1, 4, 6, 8") == {"SOFTMAX"}


def test_a_constant_mask_without_empty_rows_needs_no_guard() -> None:
    def counts(row: str) -> int:
        rows = f"[[true, false], {row}]"
        graph = elaborate_text(
            "model m { input x: float32[2, 2, 2, 8]\n"
            f"mask = tensor({rows})\n  output y = scaled_dot_product_attention(x, x, x, mask) }}"
        )
        return layers(lower(graph).network).count("SELECT")

    assert (counts("[true, true]"), counts("[false, false]")) == (0, 1)


def followers(graph: Graph) -> tuple[Any, Callable[[Any, int], list[str]]]:
    """The network of TensorRT 8.5, and the kinds of so many layers of it after one."""
    dialect = RecordingDialect(facts("8.5.3"))
    lower(graph, dialect)
    network: Any = dialect.network
    readers = {
        layer.get_input(number).name: layer
        for layer in network
        for number in range(layer.num_inputs)
        if layer.type.name != "SHAPE" and layer.get_input(number) is not None
    }

    def after(layer: Any, count: int) -> list[str]:
        found: list[str] = []
        for _ in range(count):
            layer = readers[layer.get_output(0).name]
            found.append(layer.type.name)
        return found

    return network, after


@pytest.mark.parametrize(
    ("mask", "guarded"),
    [("mask", True), ("to(mask, float32)", True), ("where(mask, 0.0, -1e4)", True), (None, False)],
)
def test_what_tensorrt_8_makes_one_kernel_of(mask: str | None, guarded: bool) -> None:
    """Between the products no more than a sum and the softmax, behind the second one a permutation: all else,
    the zeros of rows that attend to nothing too, comes later. A mask of two layers is made once.
    """
    last = "m" if mask else "is_causal = true"
    graph = elaborate_text(
        f"""model m {{
          dim N = 1 .. 2 .. 4
          input q: float32[N, 3, 5, 8]
          input k: float32[N, 3, 5, 8]
          input mask: bool[N, 1, 5, 5]
          m = {mask or "mask"}
          q = scaled_dot_product_attention(q, k, k, {last})
          output y = scaled_dot_product_attention(q, k, k, {last})
          output m
        }}"""
    )
    network, after = followers(graph)
    products = [layer for layer in network if layer.type.name == "MATRIX_MULTIPLY"]
    assert len(products) == 4
    for scores, summed in zip(products[::2], products[1::2], strict=True):
        assert after(scores, 3) == ["ELEMENTWISE", "SOFTMAX", "MATRIX_MULTIPLY"]
        if guarded:
            assert after(summed, 3) == ["SHUFFLE", "SELECT", "SHUFFLE"]
    chosen = [layer for layer in network if layer.type.name == "SELECT"]
    assert len(chosen) == (2 if guarded else 0) + (mask != "to(mask, float32)")
    highest = [layer.get_output(0).dtype.name for layer in network if layer.type.name == "REDUCE"]
    assert highest == ["INT32" if mask == "mask" else "FLOAT"] * guarded


def test_the_advice_for_two_masks_is_what_can_be_written() -> None:
    text = """model m {{
      input q: float32[2, 3, 8]
      input mask: bool[3, 3]
      causal = causal_lower_right(3, 3)
      output y = scaled_dot_product_attention(q, q, q, {})
    }}"""
    with pytest.raises(DiagnosticError) as info:
        elaborate_text(text.format("mask, is_causal = true"))
    _, advised, _ = info.value.diagnostics[0].help[0].split("`")
    allowed = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    both_ways(text.format(advised), {"q": heads(2, 3, 8), "mask": allowed})


def test_what_tensorrt_8_adds_behind_a_cache_has_the_sizes_of_the_scores() -> None:
    graph = elaborate_text(
        """model m {
          dim N = 1 .. 2 .. 4
          dim P = 0 .. 3 .. 4
          input q: float32[N, 4, 2, 8]
          input past: float32[N, 2, P, 8]
          input mask: bool[N, 1, 2, P + 2]
          k = cat([past, q[:, :2]], 2)
          output y = scaled_dot_product_attention(q, k, k, mask, enable_gqa = true)
        }"""
    )
    network, after = followers(graph)
    scores = next(layer for layer in network if layer.type.name == "MATRIX_MULTIPLY")
    assert after(scores, 3) == ["SHUFFLE", "ELEMENTWISE", "SOFTMAX"]
    makers = {layer.get_output(0).name: layer for layer in network}
    softmax = next(layer for layer in network if layer.type.name == "SOFTMAX")
    added = makers[softmax.get_input(0).name]
    cut = makers[added.get_input(1).name]
    assert cut.type.name == "SLICE"
    sizes = makers[cut.get_input(2).name]
    while sizes.type.name != "SHAPE":
        sizes = makers[sizes.get_input(0).name]
    assert sizes.get_input(0).name == added.get_input(0).name


@pytest.mark.parametrize("padding", ["bool[N, 1, 1, 5]", "bool[5]"])
def test_what_tensorrt_8_makes_fewest_kernels_of(padding: str) -> None:
    """One kernel it has for no attention with a mask of bools. Where all queries have the same, keys are
    turned by a layer that the first product reads through, and zeros are chosen in the softmax's kernel.
    """
    graph = elaborate_text(
        f"""model m {{
          dim N = 1 .. 2 .. 4
          input q: float32[N, 4, 3, 8]
          input k: float32[N, 2, 5, 8]
          input mask: {padding}
          output y = scaled_dot_product_attention(q, k, k, mask, enable_gqa = true)
        }}"""
    )
    network, after = followers(graph)
    scores, summed = (layer for layer in network if layer.type.name == "MATRIX_MULTIPLY")
    scores.__class__ = trt.IMatrixMultiplyLayer
    assert (scores.op0, scores.op1) == (trt.MatrixOperation.NONE, trt.MatrixOperation.NONE)
    regrouped = ["SHUFFLE", "ELEMENTWISE", "SOFTMAX", "SELECT", "SHUFFLE", "MATRIX_MULTIPLY"]
    assert after(scores, 6) == regrouped and after(summed, 1) == ["SHUFFLE"]


@pytest.mark.parametrize(
    ("mask", "guards"),
    [
        ("matmul(q, transpose(q, 1, 2))", 0),
        ('reshape(einsum("nid,njd->nij", q, q), (N, 5, 5)) + matmul(q, transpose(q, 1, 2))', 0),
        ("matmul(q, transpose(q, 1, 2)) + m", 1),
        ("where(m > 0, matmul(q, transpose(q, 1, 2)), -inf)", 1),
        ("m", 1),
    ],
)
def test_biases_that_are_sums_of_products_need_no_guard(mask: str, guards: int) -> None:
    """As SAM's by rows and columns: none of their rows can be minus infinity throughout. TensorRT 8.5 fuses
    what has a guard.
    """
    graph = elaborate_text(
        f"""model m {{
          dim N = 1 .. 2 .. 4
          input q: float32[N, 5, 8]
          input m: float32[N, 5, 5]
          output y = scaled_dot_product_attention(q, q, q, {mask}) + sum(m) * 0
        }}"""
    )
    lowered = lower(graph)
    assert layers(lowered.network).count("SELECT") == guards + ("where" in mask)
    network, _ = followers(graph)
    assert layers(network).count("SELECT") == 1 + ("where" in mask)
    inputs = {"q": heads(2, 5, 8), "m": heads(2, 5, 5)}
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 1e-5)
