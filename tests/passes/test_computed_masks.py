"""Masks for which TensorRT 8.5 is not told all sizes."""

from __future__ import annotations

import pytest

from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.compile import optimize_graph
from trtdsl.elaborate import elaborate_text
from trtdsl.options import CompileOptions

TEXT = """block Attend()(q, mask) {{
  return scaled_dot_product_attention(q, q, q, mask)
}}

block Keep()(q, mask) {{
  return q
}}

model m {{
  dim N = 1 .. 2 .. 4
  input q: float32[N, 3, 5, 8]
  input mask: bool[N, 1, 5, 5]
  input row: bool[N, 1, 1, 5]
  output y = {y}
}}"""
DYNAMIC = {
    "a mask for each query": "scaled_dot_product_attention(q, q, q, mask)",
    "one that is computed": "scaled_dot_product_attention(q, q, q, mask and causal_lower_right(5, 5))",
    "one that is found in a softmax": (
        "matmul(softmax(where(mask, matmul(q, transpose(q, 2, 3)), -inf), -1), q)"
    ),
    "biases that are products": "scaled_dot_product_attention(q, q, q, matmul(q, transpose(q, 2, 3)))",
    "of a module": (
        "q[:, 0] -> mh: MultiheadAttention(2, batch_first = true)(q[:, 0], q[:, 0], attn_mask = mask[0, 0])"
    ),
    "in a branch": "cond(amax(q) > 0, Attend(), Keep(), (q, mask))",
}
FIXED = {
    "none": "scaled_dot_product_attention(q, q, q)",
    "one for all queries": "scaled_dot_product_attention(q, q, q, row)",
    "a constant": "scaled_dot_product_attention(q, q, q, causal_lower_right(5, 5))",
    "numbers": "scaled_dot_product_attention(q, q, q, where(mask, 0.0, -1e4))",
    "no attention": "q + where(mask, 1.0, 0.0)[..., :1]",
}


@pytest.mark.parametrize("release", ["8.5.3", "10.13"])
@pytest.mark.parametrize("y", [*DYNAMIC.values(), *FIXED.values()], ids=[*DYNAMIC, *FIXED])
def test_which_sizes_tensorrt_is_told(y: str, release: str) -> None:
    text = TEXT.format(y=y)
    options = CompileOptions(profiles="N=2")
    optimized = optimize_graph(elaborate_text(text), options, RecordingDialect(facts(release)))
    stays_dynamic = release == "8.5.3" and y in DYNAMIC.values()
    assert [symbol.name for symbol in optimized.graph.symbols] == (["N"] if stays_dynamic else [])


@pytest.mark.parametrize(("profile", "left"), [("N=2", ["S"]), ("N=2, S=3", ["N", "S"])])
def test_where_another_size_is_dynamic_what_is_fixed_is_known(profile: str, left: list[str]) -> None:
    text = TEXT.format(y=DYNAMIC["a mask for each query"] + " + z").replace(
        "  output", "  dim S = 1 .. 2 .. 8\n  input s: float32[S]\n  z = sum(s)\n  output"
    )
    seen: list[str] = []
    optimized = optimize_graph(
        elaborate_text(text),
        CompileOptions(profiles=profile),
        RecordingDialect(facts("8.5.3")),
        after=lambda name, _: seen.append(name),
    )
    assert [symbol.name for symbol in optimized.graph.symbols] == left
    assert [*dict.fromkeys(seen)] == seen  # each pass is seen once
