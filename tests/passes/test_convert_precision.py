"""Everything in one floating-point type, between inputs and outputs that keep theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.passes.test_docstrings import examples
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, difference, verify
from trtdsl.passes import Pass, convert_precision, optimize
from trtdsl.reference import random_inputs, random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.types import DType

HALF = convert_precision(DType.FLOAT16)
RESNET = Path(__file__).resolve().parents[2] / "examples" / "resnet" / "resnet.trtnet"


def converted(body: str, step: Pass = HALF) -> Graph:
    graph = step(random_weights(elaborate_text(f"model m() {{\n{body}\n}}"), seed=0))
    assert verify(graph) == ()
    return graph


def types(graph: Graph) -> dict[str, str]:
    return {result.name: str(result.type.dtype) for node in graph.nodes for result in node.results}


def test_before_becomes_after() -> None:
    before, after = (elaborate_text(text) for text in examples(HALF))
    result = HALF(random_weights(before, seed=0))
    assert difference(result, after) is None
    assert verify(result) == ()
    assert HALF.name == "convert_precision"


def test_its_own_result_is_left_alone() -> None:
    result = HALF(random_weights(elaborate_text(examples(HALF)[0]), seed=0))
    assert HALF(result) is result


def test_a_graph_of_integers_is_left_alone() -> None:
    graph = elaborate_text("model m() {\n input x: int64[3]\n y = x + 1\n output y = y\n}")
    assert HALF(graph) is graph


def test_a_cast_in_the_model_becomes_one_to_the_new_type() -> None:
    graph = converted("input x: int32[3]\n y = to(x, float32)\n z = y * 0.5\n output z = z")
    assert types(graph) == {**types(graph), "y": "float16", "z": "float16", "z_float32": "float32"}
    assert graph.outputs[0].value.type.dtype is DType.FLOAT32


def test_what_makes_floats_of_integers_is_cast() -> None:
    graph = converted("input x: int32[3]\n y = x / 2\n z = relu(y)\n output z = z")
    assert types(graph)["z"] == "float16"
    assert types(graph)["y_float16"] == "float16"


def test_an_input_that_is_an_output_stays() -> None:
    graph = converted("input x: float32[3]\n y = relu(x)\n output same = x\n output y = y")
    assert graph.outputs[0].value is graph.inputs[0]


def test_an_input_of_the_new_type_needs_no_cast() -> None:
    graph = converted("input x: float16[3]\n y = to(x, float32)\n z = relu(y)\n output z = z")
    assert types(graph)["z_float32"] == "float32"
    assert "x_float16" not in types(graph)


def test_names_that_are_taken_give_way() -> None:
    graph = converted("input x: float32[3]\n x_float16 = abs(x)\n y = relu(x_float16)\n output y = y")
    assert types(graph)["x_float16_1"] == "float16"


def test_a_weight_used_twice_is_one_weight() -> None:
    graph = converted("input x: float32[2, 4]\n y = x -> a: Linear(4) -> relu -> a: Linear(4)\n output y = y")
    assert [weight.key for weight in graph.weights] == ["a.weight", "a.bias"]
    assert {weight.data.dtype for weight in graph.weights if weight.data is not None} == {np.dtype("f2")}


def with_weight(graph: Graph, key: str, value: float) -> Graph:
    """The graph with one number of a weight replaced."""

    def changed(operand: Any) -> Any:
        if getattr(operand, "key", None) != key:
            return operand
        data = operand.data.copy()
        data.flat[0] = value
        return operand.replace(data=data)

    nodes = tuple(node.replace(operands=tuple(map(changed, node.operands))) for node in graph.nodes)
    return graph.replace(nodes=nodes)


def test_a_weight_that_does_not_fit_is_refused() -> None:
    graph = random_weights(elaborate_text(examples(HALF)[0]), seed=0)
    with pytest.raises(DiagnosticError, match=r"cannot hold the weight `fc.weight`: its numbers go up to 1e"):
        HALF(with_weight(graph, "fc.weight", 1e6))
    assert convert_precision(DType.BFLOAT16)(with_weight(graph, "fc.weight", 1e6)).weights
    # What is infinite in the checkpoint already is the model's own doing.
    assert HALF(with_weight(graph, "fc.weight", np.inf)).weights


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_resnet18_in_half_precision(dtype: DType) -> None:
    graph = optimize(random_weights(elaborate_file(RESNET, model="resnet18"), seed=0))
    inputs = random_inputs(graph, seed=1, at="min")
    half = convert_precision(dtype)(graph)
    assert verify(half) == ()
    (expected,) = run(graph, inputs).values()
    lowered = lower(half)
    (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
    assert found.dtype == expected.dtype
    error = (found - expected).norm() / expected.norm()
    assert 1e-5 < error <= convert_precision(dtype).tolerance


def test_computed_weights_are_converted_with_the_rest() -> None:
    text = """model m() {
      input x: float32[2, 8]
      input w: float32[4, 8]
      output y = fc: Linear(4)(x, weight = w * 2)
    }"""
    graph = random_weights(elaborate_text(text), seed=0)
    half = HALF(graph)
    assert verify(half) == ()
    (layer,) = (node for node in half.nodes if node.op.name == "Linear")
    assert {value.type.dtype for value in layer.operands} == {DType.FLOAT16}
    assert [*layer.computed_weights] == ["weight"]
