"""MultiheadAttention: packed and unpacked weights, both layouts, masks of both kinds, what is asked back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.multihead_attention import MultiheadAttention
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

INF = math.inf


def weights_of(op: Any, width: int, kdim: int, vdim: int) -> tuple[nn.MultiheadAttention, dict[str, Any]]:
    """PyTorch's module with random weights, and those by our slots."""
    names = ("num_heads", "dropout", "bias", "add_bias_kv", "add_zero_attn", "batch_first")
    module = nn.MultiheadAttention(width, kdim=kdim, vdim=vdim, **{name: getattr(op, name) for name in names})
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.4)
    slots = {op.key(slot, ""): slot for slot in op.weight_slots}
    return module.eval(), {slots[key]: value.detach() for key, value in module.state_dict().items()}


def check(op: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **masks: Any) -> None:
    """Our layers against the function that the module calls, and against the module."""
    module, weights = weights_of(op, q.shape[-1], k.shape[-1], v.shape[-1])
    operands = (q, k, v, masks.get("key_padding_mask"), masks.get("attn_mask"))
    found = check_equals_torch(op, *operands, weights=weights)
    flags = {name: getattr(op, name) for name in op.call_parameters}
    with torch.no_grad():
        theirs = module(q, k, v, **masks, **flags)
    torch.testing.assert_close(found[0], theirs[0], rtol=1e-4, atol=1e-5)
    if op.need_weights:
        torch.testing.assert_close(found[1], theirs[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("widths", [(8, 8), (6, 8), (8, 6), (4, 6)])
@pytest.mark.parametrize("need", [{}, {"need_weights": True}])
@pytest.mark.parametrize("more", [{}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_layouts_and_weights(batch_first: bool, widths: tuple[int, int], need: Any, more: Any) -> None:
    op = MultiheadAttention(2, batch_first=batch_first, **need, **more)
    q, k, v = torch.randn(3, 3, 8), torch.randn(3, 3, widths[0]), torch.randn(3, 3, widths[1])
    check(op, q, k, v)
    check(op, q[0], k[0], v[0])


@pytest.mark.parametrize("need", [{}, {"need_weights": True}])
@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("padding", [None, torch.bool, torch.float32])
@pytest.mark.parametrize("shape", [None, (3, 5), (4, 3, 5)])
@pytest.mark.parametrize("boolean", [True, False])
def test_masks(need: Any, extended: bool, padding: Any, shape: Any, boolean: bool) -> None:
    """Both masks are true where PyTorch's attention function has false."""
    op = MultiheadAttention(2, batch_first=True, add_bias_kv=extended, add_zero_attn=extended, **need)
    masks: dict[str, torch.Tensor] = {}
    if padding is not None:
        late = torch.tensor([[False] * 5, [False, False, False, True, True]])
        masks["key_padding_mask"] = late if padding == torch.bool else late * -2.5
    if shape is not None:
        forbidden = torch.rand(shape) > 0.6
        forbidden[..., 0] = False
        masks["attn_mask"] = forbidden if boolean else torch.randn(shape).masked_fill(forbidden, -INF)
    if len({mask.dtype for mask in masks.values()}) > 1:
        with pytest.warns(UserWarning, match="mismatched"):
            check(op, torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8), **masks)
    else:
        check(op, torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8), **masks)


@pytest.mark.parametrize("need", [{}, {"need_weights": True}, {"average_attn_weights": False}])
@pytest.mark.parametrize("boolean", [True, False])
def test_a_causal_mask(need: Any, boolean: bool) -> None:
    op = MultiheadAttention(2, is_causal=True, **need)
    late = torch.ones(5, 5, dtype=torch.bool).triu(1)
    mask = late if boolean else torch.zeros(5, 5).masked_fill(late, -INF)
    x = torch.randn(5, 2, 8)
    check(op, x, x.clone(), x.clone(), attn_mask=mask)
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    check(
        op, x, x.clone(), x.clone(), attn_mask=mask, key_padding_mask=padding if boolean else padding * -9.0
    )


def test_a_query_that_attends_to_nothing_gets_the_bias() -> None:
    op = MultiheadAttention(2, batch_first=True)
    _, weights = weights_of(op, 8, 8, 8)
    padding = torch.tensor([[True] * 5, [False, False, True, True, True]])
    x, y = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    (found,) = check_equals_torch(op, x, y, y, padding, weights=weights)
    torch.testing.assert_close(found[0], weights["out_proj_bias"].expand(3, 8))


TEXT = """model m {{
  dim N = 1 .. 2 .. 4
  input x: float32[N, 5, 8]
  input z: float32[N, 6, 8]
  {call}
  output y
}}"""


@pytest.mark.parametrize(
    "call",
    [
        "y = (x, x, x) -> attn: MultiheadAttention(2, batch_first = true)",
        "y, w = (x, z, z) -> attn: MultiheadAttention(2, batch_first = true, need_weights = true)  output w",
        "y = attn: MultiheadAttention(2, batch_first = true)(x, z, z, attn_mask = triu)",
    ],
)
def test_is_written_as_a_pipe_or_a_call(call: str) -> None:
    call = call if "triu" not in call else f"triu = unsqueeze(arange(5), 1) < arange(6)\n  {call}"
    graph = elaborate_text(TEXT.format(call=call))
    state = nn.MultiheadAttention(8, 2).state_dict()
    assert {weight.key for weight in graph.weights} == {f"attn.{key}" for key in state}


def test_attention_to_itself_projects_once() -> None:
    """One product of the packed matrix, no transposition around it, and no scale: that is in the matrix."""
    calls = {
        "y = (x, x, x) -> attn: MultiheadAttention(2, batch_first = true)": 2,
        "y = (x, z, z) -> attn: MultiheadAttention(2, batch_first = true)": 4,
    }
    for call, products in calls.items():
        graph = elaborate_text(TEXT.format(call=call))
        state = {f"attn.{key}": value for key, value in nn.MultiheadAttention(8, 2).state_dict().items()}
        kinds = [layer.type.name for layer in lower(bind(graph, state).graph).network]
        assert kinds.count("MATRIX_MULTIPLY") == products
        assert kinds.count("ATTENTION_INPUT") == 1
        assert kinds.count("ELEMENTWISE") == products  # of biases


@pytest.mark.parametrize(
    ("call", "products"),
    [
        ("(x, x, x) -> attn: MultiheadAttention(2, batch_first = true)", 4),
        ("(x, x, x, late) -> attn: MultiheadAttention(2, batch_first = true)", 6),
        ("(x, x, x, late, far) -> attn: MultiheadAttention(2, batch_first = true)", 4),
        ("(x, x, x, late) -> attn: MultiheadAttention(2, batch_first = true, add_bias_kv = true)", 6),
    ],
)
def test_tensorrt_8_makes_queries_keys_and_values_apart_where_there_is_padding(
    call: str, products: int
) -> None:
    graph = elaborate_text(
        f"""model m {{
          dim N = 1 .. 2 .. 4
          input x: float32[N, 5, 8]
          input late: bool[N, 5]
          input far: bool[5, 5]
          output y = {call}
        }}"""
    )
    module = nn.MultiheadAttention(8, 2, add_bias_kv="bias_kv" in call)
    state = {f"attn.{key}": value for key, value in module.state_dict().items()}
    dialect = RecordingDialect(facts("8.5.3"))
    lower(bind(graph, state).graph, dialect)
    kinds = [layer.type.name for layer in dialect.network]
    assert kinds.count("MATRIX_MULTIPLY") == products


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (MultiheadAttention(3), ["float32[2, 4, 8]"] * 3, "a width of 8 does not divide into 3 heads"),
        (MultiheadAttention(2), ["float32[8]"] * 3, "rank 2 or 3, not 1"),
        (MultiheadAttention(2), ["float32[4, 8]", *["float32[2, 4, 8]"] * 2], "rank 2, not 3"),
        (MultiheadAttention(2), ["float32[4, 2, 8]", *["float32[4, 3, 8]"] * 2], "the batches of"),
        (
            MultiheadAttention(2),
            ["float32[4, 8]", "float32[4, 8]", "float32[5, 8]"],
            "there are 4 keys and 5 values",
        ),
        (MultiheadAttention(2), ["float32[4, 8]", "float16[4, 8]", "float16[4, 8]"], "needs one dtype"),
        (MultiheadAttention(2), ["int32[4, 8]"] * 3, "needs a floating-point tensor"),
        (MultiheadAttention(2, is_causal=True), ["float32[4, 8]"] * 3, "needs an `attn_mask`"),
        (
            MultiheadAttention(2),
            [*["float32[4, 8]"] * 3, "float32[5]"],
            "`key_padding_mask` must have the shape [4], not float32[5]",
        ),
        (MultiheadAttention(2), [*["float32[4, 8]"] * 3, "int32[4]"], "must be bool or float32, not int32"),
        (
            MultiheadAttention(2),
            [*["float32[4, 2, 8]"] * 3, "bool[2, 4]", "bool[1, 4]"],
            "`attn_mask` must have the shape [4, 4] or [4, 4, 4], not bool[1, 4]",
        ),
        (MultiheadAttention(2), ["float32[4, 8]", *["float32[0, 8]"] * 2], "needs a key"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: list[str], message: str) -> None:
    assert message in refused(op, *map(t, types))
