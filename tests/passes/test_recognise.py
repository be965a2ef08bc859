"""What is written out and found again, in each way in which it is written, and what only looks like it."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.passes.texts import calls, model, names
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, refusals, verify
from trtdsl.passes import (
    Pass,
    merge_common_subexpressions,
    recognise_activations,
    recognise_attention,
    recognise_linear,
    recognise_norms,
    recognise_rotary,
    remove_dead_nodes,
)
from trtdsl.reference import random_inputs, run
from trtdsl.trt.lower import lower

X = "input x: float32[N, 5, 8]"
ACTIVATIONS = {
    "gelu by erf": ("x * 0.5 * (1 + erf(x / 1.4142135623730951))", "gelu(x)"),
    "gelu, halved at the end": ("x * (1 + erf(x * 0.7071067811865476)) * 0.5", "gelu(x)"),
    "gelu, divided": ("x * (erf(x * 0.7071067811865476) + 1) / 2", "gelu(x)"),
    "gelu by tanh": (
        "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)))",
        'gelu(x, approximate = "tanh")',
    ),
    "gelu by tanh, factored": (
        "0.5 * x * (1 + tanh(x * 0.7978845608028654 * (1 + 0.044715 * x * x)))",
        'gelu(x, approximate = "tanh")',
    ),
    "gelu by tanh, a cube of products": (
        "x * (tanh((x * x * x * 0.044715 + x) * 0.7978845608028654) + 1) * 0.5",
        'gelu(x, approximate = "tanh")',
    ),
    "silu": ("x * sigmoid(x)", "silu(x)"),
    "silu, turned round": ("sigmoid(x) * x", "silu(x)"),
    "hardswish": ("x * hardsigmoid(x)", "hardswish(x)"),
    "hardswish by relu6": ("x * relu6(x + 3) / 6", "hardswish(x)"),
    "hardswish by clamp": ("x * (clamp(x + 3, 0, 6) / 6)", "hardswish(x)"),
    "mish": ("x * tanh(softplus(x))", "mish(x)"),
}
NO_ACTIVATION = {
    "of another value": "x * sigmoid(x + 1)",
    "with a factor": "2 * x * sigmoid(x)",
    "quick gelu": "x * sigmoid(1.702 * x)",
    "another constant": "x * 0.5 * (1 + erf(x / 1.5))",
    "another cubic": "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.05 * x ** 3)))",
    "another bound": "x * clamp(x + 3, 0, 5) / 6",
    "a softplus of its own": "x * tanh(softplus(x, beta = 2.0))",
    "a smaller factor": "x * sigmoid(x[:, :, 0:1])",
}
NORMS = {
    "RMS": ("x * rsqrt(mean(x ** 2, -1, keepdim = true) + 1e-06)", "RMSNorm(8, 1e-06, false)"),
    "RMS by division": ("x / sqrt(mean(x * x, -1, keepdim = true) + 0.001)", "RMSNorm(8, 0.001, false)"),
    "RMS of two dimensions": (
        "x * rsqrt(mean(square(x), (1, 2), keepdim = true) + 0.001)",
        "RMSNorm((5, 8), 0.001, false)",
    ),
    "RMS with a weight": (
        "(w: Parameter(8)) * (x * rsqrt(mean(x ** 2, -1, keepdim = true) + 1e-06))",
        "RMSNorm(8, 1e-06)",
    ),
    "layer": ("d / sqrt(mean(d ** 2, -1, keepdim = true) + 1e-05)", "LayerNorm(8, 1e-05, false)"),
    "layer by variance": (
        "d / sqrt(var(x, -1, correction = 0, keepdim = true) + 1e-05)",
        "LayerNorm(8, 1e-05, false)",
    ),
    "layer with a weight and a bias": (
        "d * rsqrt(mean(d * d, -1, keepdim = true) + 1e-05) * (w: Parameter(8)) + (b: Parameter(8))",
        "LayerNorm(8)",
    ),
}
NO_NORM = {
    "a mean in half precision": "x * rsqrt(mean(x ** 2, -1, keepdim = true, dtype = float16) + 1e-03)",
    "a deviation from a mean in half precision": (
        "(x - mean(x, -1, keepdim = true, dtype = float16))"
        " / sqrt(var(x, -1, keepdim = true, unbiased = false) + 1e-05)"
    ),
    "without the dimension": "x * rsqrt(mean(x ** 2, -1, keepdim = true)[:, 0:1] + 1e-06)",
    "over other dimensions": "x * rsqrt(mean(x ** 2, 1, keepdim = true) + 1e-06)",
    "of another value": "x * rsqrt(mean(d ** 2, -1, keepdim = true) + 1e-06)",
    "without a bound": "x * rsqrt(mean(x ** 2, -1, keepdim = true))",
    "an unbiased variance": "d / sqrt(var(x, -1, keepdim = true) + 1e-05)",
    "a cube": "x * rsqrt(mean(x ** 3, -1, keepdim = true) + 1e-06)",
    "a larger epsilon": "x * rsqrt(mean(x ** 2, -1, keepdim = true) + full((3, 1, 1, 1), 1e-06))",
    "a larger epsilon below the variance": (
        "d / sqrt(var(x, -1, correction = 0, keepdim = true) + full((3, 1, 1, 1), 1e-06))"
    ),
}
LINEAR = {
    "addmm": ("addmm(b: Parameter(3), reshape(x, (-1, 8)), w: Parameter(8, 3)) -> reshape(N, 5, 3)", True),
    "matmul": ("matmul(x, w: Parameter(8, 3))", False),
    "matmul and a bias": ("matmul(x, w: Parameter(8, 3)) + (b: Parameter(3))", True),
    "a bias in front": ("(b: Parameter(3)) + (x -> fc: Linear(3, bias = false))", True),
}
NO_LINEAR = {
    "a bias of another shape": "addmm(b: Parameter(1), flatten(x, 0, 1), w: Parameter(8, 3))",
    "a scaled bias": "addmm(b: Parameter(3), flatten(x, 0, 1), w: Parameter(8, 3), beta = 0.5)",
    "a matrix in front": "matmul(w: Parameter(5, 5), x)",
    "no columns": "sum(matmul(x, w: Parameter(8, 0)))",
    "a batch of matrices": "matmul(x, w: Parameter(1, 8, 3))",
}


def found(step: Pass, expression: str, *statements: str, declaration: str = X) -> Graph:
    """What the pass makes of it, found to compute the same."""
    graph = merge_common_subexpressions(model(declaration, expression, *statements))
    changed = remove_dead_nodes(step(graph))
    assert verify(changed) == ()
    inputs = random_inputs(graph, seed=1)
    wanted = expected(graph, inputs)
    require_outputs(run(changed, inputs), wanted, step.tolerance)
    lowered = lower(changed)
    computed = evaluate(lowered.network, inputs, weights=lowered.weights)
    require_outputs(computed, wanted, max(1e-5, step.tolerance))
    return changed


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_activations_are_found(case: str) -> None:
    expression, wanted = ACTIVATIONS[case]
    assert calls(found(recognise_activations, expression)) == [wanted]


@pytest.mark.parametrize("case", NO_ACTIVATION)
def test_what_is_no_activation_stays(case: str) -> None:
    graph = merge_common_subexpressions(model(X, NO_ACTIVATION[case]))
    assert recognise_activations(graph) is graph


def test_an_activation_whose_parts_are_read_stays() -> None:
    graph = model(X, "x * part + part", "part = sigmoid(x)")
    assert recognise_activations(graph) is graph


def test_one_of_several_results_is_a_factor() -> None:
    graph = model(X, "a * sigmoid(b)", "a, b = chunk(x, 2, dim = -1)")
    assert recognise_activations(graph) is graph


@pytest.mark.parametrize("case", NORMS)
def test_norms_are_found(case: str) -> None:
    expression, wanted = NORMS[case]
    changed = found(recognise_norms, expression, "d = x - mean(x, -1, keepdim = true)")
    (node,) = (node for node in changed.nodes if node.op.name != "Parameter")
    (bare,) = elaborate_text(f"model m() {{ input x: float32[2, 5, 8] output y = x -> n: {wanted} }}").nodes
    assert node.op == bare.op


@pytest.mark.parametrize("case", NO_NORM)
def test_what_is_no_norm_stays(case: str) -> None:
    expression = NO_NORM[case]
    graph = merge_common_subexpressions(model(X, expression, "d = x - mean(x, -1, keepdim = true)"))
    assert recognise_norms(graph) is graph


def test_half_precision_keeps_its_parts() -> None:
    graph = model("input x: float16[N, 8]", "x * rsqrt(mean(x ** 2, -1, keepdim = true) + 0.001)")
    assert recognise_norms(graph) is graph


@pytest.mark.parametrize("case", LINEAR)
def test_linear_layers_are_found(case: str) -> None:
    expression, bias = LINEAR[case]
    changed = found(recognise_linear, expression)
    assert [name for name in names(changed) if name != "Parameter"] == ["Linear"]
    (node,) = (node for node in changed.nodes if node.op.name == "Linear")
    assert ("bias" in node.slots) == bias
    assert node.operands[0] is changed.inputs[0]


@pytest.mark.parametrize("case", NO_LINEAR)
def test_what_is_no_linear_layer_stays(case: str) -> None:
    graph = model(X, NO_LINEAR[case])
    assert recognise_linear(graph) is graph


def test_a_matrix_without_values_is_awaited() -> None:
    graph = elaborate_text("model m() { input x: float32[2, 4] output y = x @ (w: Parameter(4, 4)) }")
    with refusals() as heard:
        assert recognise_linear(graph) is graph
    assert [each.refusal.reason for each in heard] == ["the matrix has no values yet: give a checkpoint"]


def test_a_matrix_that_is_used_twice_is_turned_once() -> None:
    graph = model("input x: float32[N, 8]", "(x @ w) @ w", "w = weight: Parameter(8, 8)")
    keys = [weight.key for weight in recognise_linear(graph).weights]
    assert keys.count("weight+turned.weight") == 1


def test_a_matrix_with_two_biases_is_turned_once() -> None:
    graph = model(
        "input x: float32[N, 8]",
        "addmm(b, addmm(a, x, w), w)",
        "w = weight: Parameter(8, 8)",
        "a = one: Parameter(8)",
        "b = other: Parameter(8)",
    )
    changed = remove_dead_nodes(recognise_linear(graph))
    assert verify(changed) == ()
    assert {weight.key for weight in changed.weights} == {
        "weight+turned.weight",
        "weight+turned.bias",
        "other",
    }
    inputs = random_inputs(graph, seed=1)
    require_outputs(run(changed, inputs), expected(graph, inputs), recognise_linear.tolerance)


WEIGHTS = {
    "one bias for two products": "addmm(b, x, w) + addmm(b, relu(x), w)",
    "one filled matrix": "matmul(x, full((8, 3), 0.5)) + matmul(relu(x), full((8, 3), 0.5))",
    "labels of one stem": 'matmul(x, "a.weight": Parameter(8, 3)) + matmul(x, a: Parameter(8, 3))',
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_every_weight_has_a_key_of_its_own(case: str) -> None:
    statements = ("w = w: Parameter(8, 3)", "b = b: Parameter(3)")
    changed = found(recognise_linear, WEIGHTS[case], *statements, declaration="input x: float32[N, 8]")
    assert names(changed).count("Linear") == 2


def test_a_parameter_at_the_layers_key_is_its_weight() -> None:
    text = "n.weight: Parameter(8)"
    graph = model(
        "input x: float32[N, 8]", f"n: mul({text}, x * rsqrt(mean(x ** 2, -1, keepdim = true) + 0.001))"
    )
    changed = remove_dead_nodes(recognise_norms(merge_common_subexpressions(graph)))
    assert calls(changed) == ["x -> n: RMSNorm(8, eps = 0.001)"]


QKV = """input q: float32[N, 4, 5, 8]
  input k: float32[N, 4, 6, 8]
  input v: float32[N, 4, 6, 8]
  input m: float32[N, 1, 5, 6]
  input b: bool[N, 1, 5, 6]
  input g: float32[N, 2, 6, 8]"""
ATTENTION = {
    "scaled": (
        "softmax(q @ transpose(k, -2, -1) / 2, -1) @ v",
        ["scaled_dot_product_attention(q, k, v, scale = 0.5)"],
    ),
    "a scaled query": (
        "softmax((q * 0.5) @ transpose(k, -2, -1), -1) @ v",
        ["scaled_dot_product_attention(q, k, v, scale = 0.5)"],
    ),
    "a mask": (
        "softmax(q @ transpose(k, 2, 3) * 0.5 + m, -1) @ v",
        ["scaled_dot_product_attention(q, k, v, m, scale = 0.5)"],
    ),
    "a choice": (
        "softmax(where(b, q @ transpose(k, 2, 3), -inf), 3) @ v",
        ["scaled_dot_product_attention(q, k, v, b, scale = 1.0)"],
    ),
    "keys turned otherwise": (
        "softmax(q @ (k -> permute(0, 1, 3, 2) -> relu), -1) @ v",
        [
            "permute(k, (0, 1, 3, 2))",
            "relu(permute)",
            "transpose(relu, -2, -1)",
            "scaled_dot_product_attention(q, keys, v, scale = 1.0)",
        ],
    ),
}
NO_ATTENTION = {
    "over queries": "softmax(q @ transpose(k, -2, -1), -2) @ v",
    "a mask of a larger shape": "softmax((q @ transpose(k, -2, -1))[0:1] + m, -1) @ v",
    "a finite choice": "softmax(where(b, q @ transpose(k, -2, -1), -1e9), -1) @ v",
    "a product before": "softmax(relu(q @ transpose(k, -2, -1)), -1) @ v",
    "a sum with bools, which are ones": "softmax(q @ transpose(k, -2, -1) + b, -1) @ v",
}


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_is_found(case: str) -> None:
    expression, wanted = ATTENTION[case]
    assert calls(found(recognise_attention, expression, declaration=QKV)) == wanted


@pytest.mark.parametrize("case", NO_ATTENTION)
def test_what_is_no_attention_stays(case: str) -> None:
    graph = model(QKV, NO_ATTENTION[case])
    with refusals() as heard:
        assert recognise_attention(graph) is graph
    assert all(each.refusal.reason for each in heard)


def test_repeated_keys_are_given_once() -> None:
    wide = "reshape(expand(unsqueeze(g, 2), (N, 2, 2, 6, 8)), (N, 4, 6, 8))"
    changed = found(
        recognise_attention, f"scaled_dot_product_attention(q, {wide}, {wide}, scale = 0.25)", declaration=QKV
    )
    assert calls(changed) == ["scaled_dot_product_attention(q, g, g, scale = 0.25, enable_gqa = true)"]


def test_keys_that_are_repeated_are_given_once_where_attention_is_written_out() -> None:
    wide = "wide = reshape(expand(unsqueeze(g, 2), (N, 2, 2, 6, 8)), (N, 4, 6, 8))"
    changed = found(
        recognise_attention, "softmax(q @ transpose(wide, -2, -1), -1) @ wide", wide, declaration=QKV
    )
    assert calls(changed) == ["scaled_dot_product_attention(q, g, g, scale = 1.0, enable_gqa = true)"]


def test_repeated_keys_stay_beside_a_single_head_of_queries() -> None:
    wide = "reshape(expand(unsqueeze(g, 2), (N, 2, 2, 6, 8)), (N, 4, 6, 8))"
    graph = model(QKV, f"scaled_dot_product_attention(q[:, 0:1], {wide}, {wide}, scale = 0.25)")
    assert recognise_attention(graph) is graph


def test_keys_that_are_repeated_one_after_another_stay() -> None:
    wide = "reshape(expand(unsqueeze(g, 1), (N, 2, 2, 6, 8)), (N, 4, 6, 8))"
    graph = model(QKV, f"scaled_dot_product_attention(q, {wide}, {wide}, scale = 0.25)")
    assert recognise_attention(graph) is graph


HEADS = """dim S = 1 .. 4 .. 6
  input x: float32[N, 3, S, 8]
  input angles: float32[N, S, 4]
  input other: float32[N, S, 8]"""
ANGLES = (
    "twice = cat([angles, angles], -1)",
    "c = cos(twice) -> unsqueeze(1)",
    "s = sin(twice) -> unsqueeze(1)",
)
ROTATED = "cat([-x[..., 4:], x[..., :4]], -1)"
ROTARY = {
    "in order": f"x * c + {ROTATED} * s",
    "turned round": f"s * {ROTATED} + c * x",
    "scaled": f"x * (unsqueeze(cos(twice) * 2, 1)) + {ROTATED} * (unsqueeze(sin(twice) * 2, 1))",
}
NO_ROTARY = {
    "neighbours": "x * c + cat([-x[..., 1::2], x[..., ::2]], -1) * s",
    "not negated": "x * c + cat([x[..., 4:], x[..., :4]], -1) * s",
    "uneven halves": "x * c + cat([-x[..., 3:], x[..., :3]], -1) * s",
    "other angles": f"x * unsqueeze(cos(other), 1) + {ROTATED} * s",
    "of another value": f"relu(x) * c + {ROTATED} * s",
}


@pytest.mark.parametrize("case", ROTARY)
def test_rotary_embeddings_are_found(case: str) -> None:
    changed = found(recognise_rotary, ROTARY[case], *ANGLES, declaration=HEADS)
    assert names(changed)[-1] == "rotary_embedding"
    assert "neg" not in names(changed)


@pytest.mark.parametrize("case", NO_ROTARY)
def test_what_is_no_rotary_embedding_stays(case: str) -> None:
    graph = merge_common_subexpressions(model(HEADS, NO_ROTARY[case], *ANGLES))
    with refusals() as heard:
        assert recognise_rotary(graph) is graph
    assert len(heard) == (case == "other angles")


def test_angles_are_halved_once() -> None:
    text = f"({ROTARY['in order']}) + ({ROTARY['in order'].replace('x', 'z')})"
    changed = found(recognise_rotary, text, "z = exp(x)", *ANGLES, declaration=HEADS)
    assert names(changed).count("rotary_embedding") == 2
    assert names(changed).count("slice") == 2
