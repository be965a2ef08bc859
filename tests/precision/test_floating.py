"""What stays float32 where a model is computed in float16 or bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.command import trtdsl
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, verify, walk
from trtdsl.ops.computed_wide import COMPUTED_WIDE
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.precision.batches import Batches
from trtdsl.precision.floating import POLICY, FloatingPolicy
from trtdsl.precision.lower_floats import LoweredFloats, casts, lower_by_recipe, lower_floats
from trtdsl.precision.magnitudes import out_of_range
from trtdsl.recipe import Recipe
from trtdsl.reference import random_inputs, random_weights, run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.lower import lower
from trtdsl.types import DType

BETWEEN = "model m {{\n  input x: float32[2, 96, 128]\n  h = x -> a: Linear(128)\n  {body}\n}}"
"""A product before, and what is tried; ``h`` is float16."""


def graph_of(body: str, frame: str = BETWEEN) -> Graph:
    return optimize(random_weights(elaborate_text(frame.format(body=body), "m.trtnet"), seed=0))


def lowered(body: str, dtype: DType = DType.FLOAT16, policy: FloatingPolicy | None = None) -> LoweredFloats:
    found = lower_floats(graph_of(body), dtype, policy or FloatingPolicy())
    assert verify(found.graph, "bound") == ()
    return found


def types(graph: Graph) -> dict[str, str]:
    """The type of what each operator makes, by the operator's name."""
    return {node.op.name: str(node.results[0].type.dtype) for node in walk(graph) if node.op.name != "to"}


def behind(text: str) -> str:
    """What is tried, with a product behind."""
    return f"output y = {text} -> b: Linear(8)"


ROWS = [
    (behind("softmax(h, -1)"), "softmax", behind("softmax(reshape(h, 2, 96, 16, 8), -1) -> flatten(2)")),
    (behind("exp(h)"), "exp", behind("tanh(h)")),
    (behind("abs(h) ** 2.5"), "pow", behind("sqrt(abs(h))")),
    (behind("square(h)"), "square", behind("abs(h)")),
    (behind("h * h"), "mul", behind("h * abs(h)")),
    (behind("cumsum(h, 1)"), "cumsum", behind("cumsum(reshape(h, 2, 96, 16, 8), 3) -> flatten(2)")),
    (behind("h / sum(abs(h), -1, keepdim = true)"), "sum", behind("h * mean(h, -1, keepdim = true)")),
    (behind("local_response_norm(h, 5)"), "local_response_norm", behind("normalize(h, dim = -1)")),
    (
        behind("h * cosine_similarity(h, abs(h), dim = -1)[..., none]"),
        "cosine_similarity",
        behind("normalize(h, dim = -1)"),
    ),
    (behind("sin(h * 30)"), "sin", behind("relu(h * 30)")),
    (
        "output y = grid_sample(reshape(h, 2, 2, 64, 96), reshape(x, 2, 64, 96, 2)) -> c: Conv2d(8, 3)",
        "grid_sample",
        behind("relu(h)"),
    ),
]


@pytest.mark.parametrize(("body", "operator", "other"), ROWS, ids=[row[1] for row in ROWS])
@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16], ids=str)
def test_every_row_of_the_policy(body: str, operator: str, other: str, dtype: DType) -> None:
    found = lowered(body, dtype)
    assert operator in {each.node.op.name for each in found.stayed}
    assert types(found.graph)[operator] == "float32"
    assert {types(found.graph)[name] for name in ("Linear", "Conv2d") if name in types(found.graph)} == {
        str(dtype)
    }
    (note,) = (n.message for n in found.notes if f"`{operator}`" in n.message)
    assert note.startswith(f"`{operator}` stayed float32, because ")
    # The same place with another operator, or a short sum, is narrow.
    assert lowered(other, dtype).stayed == ()
    assert set(types(lowered(other, dtype).graph).values()) == {str(dtype)}


def test_the_rows_are_those_that_are_tested() -> None:
    tested = {operator for _, operator, _ in ROWS}
    assert all(tested & {op.name for op in row.operators} for row in POLICY)


def kernels(graph: Graph) -> list[str]:
    """The kinds of the kernels that TensorRT makes of a graph."""
    built = build_with_facts(lower(graph), CompileOptions(targets=("sm89",)), kernels=True)
    return [kernel.name if "mha" in kernel.name else kernel.kind for kernel in built.kernels]


@pytest.mark.parametrize(
    "text",
    [
        "softmax(h, -1)",
        "exp(h)",
        "square(h)",
        "abs(h) ** 2.5",
        "h / sum(abs(h), -1, keepdim = true)",
        "sin(h * 30)",
    ],
)
def test_float32_costs_no_kernel(text: str) -> None:
    body = behind(text)
    everything = lowered(body, policy=FloatingPolicy(allow=["*"]))
    assert casts(everything.graph) == 2 < casts(lowered(body).graph)
    assert len(kernels(lowered(body).graph)) <= len(kernels(everything.graph))


ATTENTION = """
  q, k, v = [h -> "{n}": Linear(128) -> reshape(2, 96, 2, 64) -> transpose(1, 2) for n in ["q", "k", "v"]]
  p = softmax(q @ transpose(k, -1, -2) * 0.125, -1)
  output y = p @ v -> transpose(1, 2) -> flatten(2) -> o: Linear(128)
"""


def test_attention_stays_one_kernel_around_a_softmax_in_float32() -> None:
    found = lower_floats(graph_of_attention(), DType.FLOAT16)
    assert types(found.graph)["softmax"] == "float32"
    assert any("mha" in kernel for kernel in kernels(found.graph))


def graph_of_attention() -> Graph:
    """Written out, and left so: the passes would make one operator of it."""
    text = BETWEEN.replace("{body}", ATTENTION).replace("{{", "{").replace("}}", "}")
    return random_weights(elaborate_text(text), seed=0)


@pytest.mark.parametrize("layer", ["LayerNorm(128)", "RMSNorm(128)"])
def test_tensorrt_computes_norms_in_float32_inside(layer: str) -> None:
    graph = lowered(behind(f"h -> n: {layer}")).graph
    name = layer.partition("(")[0]
    assert name in COMPUTED_WIDE and types(graph)[name] == "float16"
    built = build_with_facts(lower(graph), CompileOptions(targets=("sm89",)), kernels=True)
    (kernel,) = (
        kernel for kernel in built.kernels if "MeanSubMul" in kernel.name or "MulMean" in kernel.name
    )
    assert "Cast" in kernel.name.partition("Mean")[0]


def test_numbers_that_are_all_too_large_are_no_mask() -> None:
    text = """
    model m {
      dim N = 1 .. 2 .. 8
      input x: float32[N, 4]
      hidden = full((4,), -3.4e38)
      output y = x * 1e9
      output z = where(x > 0, x, hidden)
    }
    """
    graph = elaborate_text(text)
    large = out_of_range(graph, Batches(graph, {"x": np.full((3, 4), 1e25, np.float32)}), DType.FLOAT16)
    why = {value.name: each for value, each in large.items()}["y"]
    assert why == "has no number below 1e+30, and float16 ends at 65504"
    plain = out_of_range(graph, Batches(graph, {"x": np.ones((3, 4), np.float32)}), DType.FLOAT16)
    # The number itself, and the product.
    assert {value.name: why.partition(",")[0] for value, why in plain.items()} == {
        "full": "reaches 1e+09",
        "y": "reaches 1e+09",
    }


def test_what_attention_computes_within_it_is_named() -> None:
    text = "model m {\n  input q: float32[1, 2, 8, 16]\n  output y = scaled_dot_product_attention(q, q, q)\n}"
    graph = elaborate_text(text)
    with pytest.raises(UsageError) as error:
        lower_by_recipe(graph, DType.FLOAT16, Recipe(precision="float16", keep={"float32": ["softmax"]}))
    (told,) = error.value.diagnostics
    assert (
        told.message
        == "`--keep float32='softmax'`: `softmax` is computed within `scaled_dot_product_attention` here"
    )
    assert "`--keep float32='scaled_dot_product_attention'`" in told.help[0]
    assert "`--skip recognise_attention`" in told.help[0]
    whole = Recipe(precision="float16", keep={"float32": ["scaled_dot_product_attention"]})
    kept = lower_by_recipe(graph, DType.FLOAT16, whole)
    assert types(kept.graph)["scaled_dot_product_attention"] == "float32"


# --- Casts ------------------------------------------------------------------------------------------------


def test_casts_are_merged_between_operators_that_stay() -> None:
    found = lowered("output y = softmax(h, -1) * 0.5 + softmax(h, 1) -> reshape(192, 128) -> softmax(-1)")
    # One for the input, one for what both read; the output is float32 already.
    assert casts(found.graph) == 2
    assert found.between == 3
    assert set(types(found.graph)) >= {"mul", "add", "reshape"}


def test_a_value_is_cast_once_for_all_that_read_it() -> None:
    found = lowered("p = softmax(h, -1)\n  output y = p -> b: Linear(8)\n  output z = p -> c: Linear(8)")
    assert casts(found.graph) == 5


def test_ties_are_narrow() -> None:
    found = lowered("output y = relu(h) * 2 -> softmax(-1)")
    assert types(found.graph)["relu"] == types(found.graph)["mul"] == "float16"


def test_a_model_of_nothing_sensitive_is_narrow_throughout() -> None:
    found = lower_floats(
        optimize(elaborate_text("model m { input x: float32[4]  output y = relu(x) + 1 }")), DType.FLOAT16
    )
    assert set(types(found.graph).values()) == {"float16"}
    assert casts(found.graph) == 2


def test_casts_of_the_model_are_not_doubled() -> None:
    found = lowered("output y = to(exp(to(to(h, float16), float32)), float32) -> b: Linear(8)")
    assert casts(found.graph) == 4


def test_inputs_and_outputs_keep_their_types_unless_told() -> None:
    graph = graph_of("output y = softmax(h, -1)")
    found = lower_floats(graph, DType.FLOAT16, edges=True).graph
    assert verify(found, "bound") == ()
    assert found.inputs[0].type.dtype is found.outputs[0].value.type.dtype is DType.FLOAT16
    assert casts(found) == 2  # around the softmax


# --- What is asked for ------------------------------------------------------------------------------------


def test_keep_and_allow() -> None:
    policy = FloatingPolicy(keep=["a"], allow=["softmax"])
    found = lowered("output y = exp(softmax(h, -1) -> b: Linear(128)) -> c: Linear(8)", policy=policy)
    assert {each.label: each.reason for each in found.stayed}["a"] == "it matches `a` in `--keep`"
    assert {each.label for each in found.stayed} == {"a", "exp"}
    made = {node.scope: str(node.result.type.dtype) for node in found.graph.nodes if node.scope}
    assert made == {"a": "float32", "b": "float16", "c": "float16"}


def test_a_pattern_that_nothing_is_like_is_refused() -> None:
    recipe = Recipe(precision="float16", keep={"float32": ["softmix"]})
    with pytest.raises(
        UsageError, match=r"`--keep float32='softmix'`: it matches no label and no operator .*softmax"
    ):
        lower_by_recipe(graph_of(behind("softmax(h, -1)")), DType.FLOAT16, recipe)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"keep": {"float16": ["a"]}}, "only `--keep float32=…` says something there"),
        ({"allow": {"int8": ["a"]}}, "only `--allow float16=…` says something there"),
        ({"samples": 2}, "`--samples` is about data, and there are none"),
        ({"edges": "bfloat16"}, "`--edges bfloat16`, but the precision is float16"),
        ({"around": "float16"}, "`--around` is for int8 and float8"),
        ({"keep": {"float32": ["a"]}, "allow": {"float16": ["a"]}}, "`a` is both kept and allowed"),
        ({"precision": "float32", "calibrate": "d"}, "says nothing where all is computed in float32"),
    ],
)
def test_choices_that_say_nothing_are_refused(words: dict[str, object], reason: str) -> None:
    given = {"precision": "float16", **words}
    with pytest.raises(UsageError, match=reason):
        Recipe(**given)  # pyright: ignore[reportArgumentType]  # words of any kind


# --- Numbers ----------------------------------------------------------------------------------------------


def test_numbers_of_the_model_that_do_not_fit() -> None:
    found = lowered(behind("h / (abs(h) + 1e-12) + h * 1e6"))
    assert {each.reason for each in found.stayed} == {
        "what it reads has numbers below 6.104e-05, of which float16 loses digits",
        "what it reads reaches 1e+06, beyond float16's 65504",
    }
    assert lowered(behind("h / (abs(h) + 1e-12) + h * 1e6"), DType.BFLOAT16).stayed == ()


def test_a_mask_of_attention_is_cut_off_at_the_range() -> None:
    text = """model m {
      input x: float32[2, 2, 8, 16]
      input m: bool[2, 1, 1, 8]
      output y = scaled_dot_product_attention(x, x, x, attn_mask = to(m, float32) * -1e9)
    }"""
    graph = optimize(elaborate_text(text))
    found = lower_floats(graph, DType.FLOAT16).graph
    assert verify(found, "bound") == ()
    assert types(found)["scaled_dot_product_attention"] == "float16"
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(0, 1, (2, 2, 8, 16)).astype("f4"), "m": rng.random((2, 1, 1, 8)) > 0.5}
    inputs["m"][1] = True  # everything is hidden: of what is right then there are opinions, but none of NaN
    network = lower(found)
    result = evaluate(network.network, inputs, weights=network.weights)["y"]
    assert bool(result.isfinite().all())
    wanted = run(graph, inputs)["y"][0]
    assert float((result[0] - wanted).norm() / wanted.norm()) < 2e-3


def recipe_with(data: dict[str, np.ndarray], folder: Path) -> Recipe:
    np.savez(folder / "data.npz", **data)  # pyright: ignore[reportArgumentType]
    return Recipe(precision="float16", calibrate=folder / "data.npz")


def test_data_say_what_overflows_and_what_vanishes(tmp_path: Path) -> None:
    text = """model m {
      dim N = 1 .. 2 .. 4
      input x: float32[N, 16]
      large = x -> a: Linear(16)
      output y = large -> n: LayerNorm(16) -> b: Linear(16)
      output small = x -> c: Linear(16) -> relu
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    scales = {"a.weight": 1e5, "c.weight": 1e-6, "c.bias": 0.0}
    sub = {w.key: w.data * np.float32(scales.get(w.key, 1)) for w in graph.weights if w.data is not None}
    graph = optimize(bound(graph, sub))
    data = {"x": np.random.default_rng(1).normal(0, 1, (6, 16)).astype("f4")}
    found = lower_by_recipe(graph, DType.FLOAT16, recipe_with(data, tmp_path))
    why = {each.label: each.reason for each in found.stayed}
    assert "and float16 ends at 65504" in why["n"] and why["n"].startswith("what it reads reaches")
    assert set(why) == {"a", "n", "mul", "relu"}  # by which what `c` makes is small again
    network = lower(found.graph)
    result = evaluate(network.network, data, weights=network.weights)
    for name, wanted in run(graph, data).items():
        assert float((result[name] - wanted).norm() / wanted.norm()) < 5e-3


SMALL = {
    "linear": ("float32[2, 16]", "Linear(16)"),
    "without a bias": ("float32[2, 16]", "Linear(16, bias = false)"),
    "depthwise": ("float32[2, 16, 8]", "Conv1d(16, 3, groups = 16)"),
    "transposed": ("float32[2, 16, 5, 5]", "ConvTranspose2d(8, 2, stride = 2)"),
}


@pytest.mark.parametrize(("type", "layer"), SMALL.values(), ids=SMALL)
def test_a_layer_scale_of_1e_6_leaves_the_product_narrow(type: str, layer: str) -> None:
    text = f"model m {{ input x: {type}  output y = (x -> fc: {layer}) * 1e-6 }}"
    graph = optimize(random_weights(elaborate_text(text), seed=0))
    assert [node.op.name for node in graph.nodes] == [layer.partition("(")[0]]
    found = lower_floats(graph, DType.FLOAT16)
    assert verify(found.graph, "bound") == ()
    assert {name: dtype for name, dtype in types(found.graph).items() if name != "full"} == {
        layer.partition("(")[0]: "float16",
        "mul": "float32",
    }
    inputs = random_inputs(graph, seed=1)
    network = lower(found.graph)
    result = evaluate(network.network, inputs, weights=network.weights)["y"]
    wanted = run(graph, inputs)["y"]
    assert float((result - wanted).norm() / wanted.norm()) < 1e-3


@pytest.mark.parametrize(
    "layer", ["Linear(16)", "LayerNorm(16)", "MultiheadAttention(2, batch_first = true)"]
)
def test_a_small_bias_leaves_its_layer_narrow(layer: str) -> None:
    """Those of torchvision's ViT are drawn with a deviation of 1e-6."""
    operands = "(x, x, x)" if layer.startswith("Multihead") else "x"
    text = f"model m {{ input x: float32[2, 8, 16]  output y = {operands} -> fc: {layer} }}"
    graph = random_weights(elaborate_text(text), seed=0)
    small = {
        w.key: w.data * np.float32(1e-6 if "bias" in w.key else 1)
        for w in graph.weights
        if w.data is not None
    }
    assert lower_floats(optimize(bound(graph, small)), DType.FLOAT16).stayed == ()


def test_weights_are_enlarged_in_loops_and_not_where_more_than_one_layer_reads_them() -> None:
    text = """model m {
      input x: float32[4, 16]
      scan xt in x with s = zeros(16) { s = (tanh(s) + xt -> fc: Linear(16)) * 1e-6  emit h = s }
      w = shared.weight: Parameter(16, 16)
      output y = h
      output z = linear(linear(x, w), w)
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    small = {w.key: w.data * np.float32(1e-6) for w in graph.weights if w.data is not None}
    found = lower_floats(optimize(bound(graph, small)), DType.FLOAT16)
    made = [str(node.result.type.dtype) for node in walk(found.graph) if node.op.name == "Linear"]
    assert made == ["float16", "float32", "float32"]


MASKED = {
    "filled": "masked_fill(h, m, -1e9) -> softmax(-1)",
    "chosen": "where(m, h, -3.4e38) -> softmax(-1)",
    "of attention": "scaled_dot_product_attention(h, h, h, attn_mask = to(m, float32) * -1e9)",
}


@pytest.mark.parametrize("text", MASKED.values(), ids=MASKED)
def test_data_say_nothing_against_masks_that_are_cut_off(text: str, tmp_path: Path) -> None:
    body = f"input x: float32[8, 8]  input m: bool[8, 8]  h = x -> a: Linear(8)  output y = {text}"
    graph = optimize(random_weights(elaborate_text(f"model m {{ {body} }}"), seed=0))
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(0, 1, (8, 8)).astype("f4"), "m": rng.random((8, 8)) < 0.5}
    found = lower_by_recipe(graph, DType.FLOAT16, recipe_with(data, tmp_path))
    assert {each.node.op.name for each in found.stayed} <= {"full", "mul"}  # the number of -1e9 itself


def bound(graph: Graph, values: dict[str, np.ndarray]) -> Graph:
    from trtdsl.weights import bind

    return bind(graph, values).graph


def test_the_command_says_what_stayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.trtnet"
    path.write_text("model m {\n  input x: float32[2, 128]\n  output y = x -> relu -> softmax(1)\n}\n")
    arguments = ["compile", path, "--precision", "float16", "--target", "sm89", "-o", tmp_path / "m.engine"]
    assert trtdsl(*arguments) == 0
    assert "note: `softmax` stayed float32, because it adds up more than 64 exp" in capsys.readouterr().err
    assert trtdsl(*arguments, "--allow", "float16=softmax") == 0
    assert "stayed" not in capsys.readouterr().err
    assert trtdsl(*arguments, "--edges", "float16") == 0
    assert "input   x: float16[2, 128]" in capsys.readouterr().out
    np.savez(tmp_path / "d.npz", x=np.full((4, 128), 3e9, "f4"))
    assert trtdsl(*arguments, "--calibrate", tmp_path / "d.npz") == 0
    assert "`relu` stayed float32, because its result reaches 3e+09" in capsys.readouterr().err


def test_an_exponential_is_as_right_as_float16_lets_it_be() -> None:
    graph = graph_of(behind("exp(h)"))
    inputs = random_inputs(graph, seed=1)
    network = lower(lowered(behind("exp(h)")).graph)
    result = evaluate(network.network, inputs, weights=network.weights)["y"]
    wanted = run(graph, inputs)["y"]
    assert float((result - wanted).norm() / wanted.norm()) < 5e-3


def test_the_page_has_every_operator_of_the_policy() -> None:
    page = (Path(__file__).parents[2] / "docs" / "precision.md").read_text(encoding="utf-8")
    table = page.partition("These operators stay float32")[2].partition("A cast before")[0]
    named = {operator.name for row in POLICY for operator in row.operators} - {"mul"}
    assert [name for name in sorted(named) if f"`{name}`" not in table] == []
