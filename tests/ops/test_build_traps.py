"""Lowerings whose layers TensorRT accepts one by one: the engine must build too."""

from __future__ import annotations

import pytest

from tests.closeness import LIMIT, expected, require_outputs
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import random_inputs, random_weights
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower

MODEL = """
model m() {{
  dim N = 1 .. 2 .. 3
  dim L = 2 .. 5 .. 9
  input x: float32[N, 4, L, L + 3]
  output y = x -> {call}
}}
"""


@pytest.mark.parametrize(
    "call",
    [
        # The bounds of the grown size were negative where its quotient had a negative dividend.
        'interpolate(scale_factor = 1.7, mode = "bilinear")',
        'interpolate(scale_factor = 0.5, mode = "bicubic")',
        # Stride and dilation together: "Strided & Dilated Deconv are currently not supported".
        "up: ConvTranspose2d(6, 3, stride = 2, dilation = 2, groups = 2)",
        "up: ConvTranspose2d(6, 3, stride = 3, output_padding = 2)",
        'conv: Conv2d(6, 3, padding = 1, padding_mode = "circular")',
        "avg_pool2d(3, stride = 2, padding = 1, ceil_mode = true)",
        "avg_pool2d(2, stride = 3, padding = 1, ceil_mode = true, count_include_pad = false)",
        "local_response_norm(4)",
        "pad((0, -L % 4, 1, -1))",
        "norm: GroupNorm(2)",
        # A single number as the bias of lines that are computed as images.
        "flatten(2) -> line: Conv1d(6, 3) -> add(1)",
        "flatten(2) -> line: ConvTranspose1d(6, 3) -> sub(0.5)",
    ],
)
def test_builds_for_dynamic_sizes(call: str) -> None:
    graph = random_weights(elaborate_text(MODEL.format(call=call)))
    assert len(build(lower(graph))) > 0


ATTENTIONS = """
def attend(q, k, v) { return scaled_dot_product_attention(q, k, v) }

def module(q, k) { return a: MultiheadAttention(2, batch_first = true)(q, k, k) }

model m {
  dim N = 1 .. 2 .. 3
  dim L = 2 .. 5 .. 9
  dim S = 2 .. 5 .. 9
  input q: float32[N, 4, L, 8]
  input k: float32[N, 4, S, 8]
  input v: float32[N, 4, S, 8]
"""


@pytest.mark.parametrize(
    "statements",
    [
        # TensorRT moves the product with a number into the attention, which ended the process where two
        # have it and failed where something else has it.
        "output y = attend(q, k, v) output z = attend(q, v, k)",
        "half = k * 0.5 output y = attend(q, half, half)",
        "half = q / 2 output y = attend(half, k, v) output half",
        "output y = module(q[0], k[0]) output z = module(q[0], v[0])",
    ],
    ids=["query", "key", "scaled query", "module"],
)
def test_builds_attentions_that_share(statements: str) -> None:
    require_builds_and_computes(f"{ATTENTIONS}{statements}\n}}")


def require_builds_and_computes(text: str) -> None:
    """With random weights, what PyTorch does."""
    graph = optimize(random_weights(elaborate_text(text)))
    lowered = lower(graph)
    inputs = random_inputs(graph)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), LIMIT)
    assert len(build(lowered)) > 0


@pytest.mark.parametrize(
    "statements",
    [
        "output y = attend(relu(q), k, v) output z = attend(relu(q), v, k)",
        "output y = attend(relu(q + 1), k, v) output z = attend(relu(q + 1), v, k)",
        "output y = module(relu(q[0]), k[0]) output z = module(relu(q[0]), v[0])",
    ],
)
def test_builds_attentions_of_equal_queries(statements: str) -> None:
    """Where no pass makes one of them, TensorRT does."""
    graph = optimize(
        random_weights(elaborate_text(f"{ATTENTIONS}{statements}\n}}")),
        skip=["merge_common_subexpressions"],
    )
    assert len(build(lower(graph))) > 0


IN_BODIES = """
def attend(x) { return scaled_dot_product_attention(x, x, x * 2) }

def total(x) {
  scan a in x with h = zeros(3, 5, 8) { h = h + a emit y = h }
  return y
}

model m {
  dim N = 1 .. 2 .. 3
  input x: float32[N, 3, 5, 8]
"""


@pytest.mark.parametrize(
    "statements",
    [
        "scan a in x with h = zeros(3, 5, 8) { h = attend(h + a) emit y = h } output y",
        "output y = cond(amax(x) > 0, attend, relu, (x,))",
        # "Assertion tScope == mScopedOp2Scopes.at(op) failed": a loop of a branch began with a constant.
        "output y = cond(amax(x) > 0, total, relu, (x,))",
    ],
    ids=["attention in a loop", "attention in a branch", "loop in a branch"],
)
def test_builds_in_a_body(statements: str) -> None:
    graph = optimize(elaborate_text(f"{IN_BODIES}{statements}\n}}"))
    assert len(build(lower(graph))) > 0


@pytest.mark.parametrize(
    "statements",
    [
        "output y = attend(q, k, v) scan a in q with h = zeros(4, L, 8) { h = h + a } output h",
        "z, _ = attend(q, k, v)[:, 0] -> rnn: GRU(3, batch_first = true) output z",
        "output y = cond(amax(q) > 0, total, attend, (q, k, v)) output z = module(q[0], k[0])",
    ],
    ids=["beside a scan", "before a GRU", "beside a loop in a branch"],
)
def test_builds_attention_beside_a_loop_of_dynamic_length(statements: str) -> None:
    """TensorRT-RTX's layer of attention would end the process."""
    total = "def total(q, k, v) { scan a in q with h = zeros(4, q.shape[2], 8) { h = h + a } return q + h }"
    require_builds_and_computes(f"{total}{ATTENTIONS}{statements}\n}}")


@pytest.mark.parametrize("mask", ["bool[2, 1, 1, 4]", "bool[2, 1, 5, 4]", "float32[5, 4]"])
def test_builds_masked_attention_in_a_loop_beside_another(mask: str) -> None:
    """Zeros between two permutations in the loop, and a layer outside: "does not have a producer"."""
    text = f"""model m {{
      input q: float32[2, 3, 5, 8]
      input k: float32[2, 3, 4, 8]
      input mask: {mask}
      input s: float32[3, 1]
      scan x in s {{ emit z = scaled_dot_product_attention(q, k, k * x, mask) }}
      output y = scaled_dot_product_attention(q, k, k, mask)
      output z
    }}"""
    assert len(build(lower(optimize(elaborate_text(text))))) > 0
