"""Defs: functions of compile-time values and tensors, without a level of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.elaborate.bodies import graph_of, keys, mistakes_of, operators, value_of
from tests.elaborate.test_imports import graph_in
from tests.ir.bodies import Repeat, declared
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import difference, show

MAKE_DIVISIBLE = """
def make_divisible(v, divisor = 8, least = none) {
  least = divisor if least == none else least
  rounded = max(least, int(v + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * v else rounded
}
"""


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("make_divisible(33)", 32),
        ("make_divisible(11)", 16),
        ("make_divisible(3, divisor = 4)", 4),
        ("make_divisible(divisor = 10, v = 33)", 30),
        ("make_divisible(3, 8, 24)", 24),
        ("(11 -> make_divisible(4))", 12),
    ],
)
def test_compile_time_values(call: str, value: int) -> None:
    graph = graph_of(f"output y = zeros({call})", MAKE_DIVISIBLE, declared="")
    assert graph.outputs[0].value.type.shape == (value,)


def test_several_results() -> None:
    head = "def halves(x) { return x // 2, x - x // 2 }"
    graph = graph_of("a, b = halves(7) output y = zeros(a, b)", head, declared="")
    assert graph.outputs[0].value.type.shape == (3, 4)


SWIGLU = "def swiglu(x) { a, b = chunk(x, 2, dim = 1) return silu(a) * b }"
PAIR = "dim N = 1 .. 2 .. 64 input x: float32[N, 8]\n"


@pytest.mark.parametrize("use", ["swiglu(x)", "x -> swiglu", "x -> swiglu()", "swiglu(x = x)"])
def test_tensors(use: str) -> None:
    assert operators(graph_of(f"output y = {use}", SWIGLU, PAIR)) == ["chunk", "silu", "mul"]


def test_tuples_are_piped_as_several() -> None:
    head = "def gated(x, gate, scale = 1) { return x * sigmoid(gate) * scale }"
    assert operators(graph_of("output y = (x, x) -> gated(scale = 3)", head)) == [
        *("sigmoid", "mul", "full", "mul")
    ]


def test_passed_as_a_value() -> None:
    head = f"{SWIGLU} block Act(f)(x) {{ return x -> f }} def twice(f, x) {{ return f(f(x)) }}"
    graph = graph_of("output y = x -> a: Act(swiglu) output z = twice(relu, x)", head, PAIR)
    assert operators(graph) == ["chunk", "silu", "mul", "relu", "relu"]


def test_labels_belong_to_the_path_around() -> None:
    head = """
    def perceptron(x, hidden) { return x -> fc1: Linear(hidden) -> relu -> fc2: Linear(x.shape[1]) }
    block Layer()(x) { return x -> perceptron(4) }
    """
    graph = graph_of("x = perceptron(x, 5) output y = x -> layer.0: Layer", head, PAIR)
    assert keys(graph)[::2] == ["fc1.weight", "fc2.weight", "layer.0.fc1.weight", "layer.0.fc2.weight"]
    assert difference(graph, elaborate_text(show(graph))) is None


def test_a_block_around_it_still_needs_a_label() -> None:
    head = "def fc(x) { return x -> fc: Linear(4) } block B()(x) { return fc(x) }"
    assert mistakes_of("output y = x -> B", head, PAIR) == [
        "block `B` holds weights, so its use needs a label"
    ]


def test_the_body_of_an_operator() -> None:
    with declared(Repeat):
        graph = graph_of(
            "output y = repeat_times(x, x, body = step)", "def step(a, b = 1) { return a + b }", PAIR
        )
        (body,) = graph.nodes[0].bodies
        assert ([value.name for value in body.inputs], operators(body)) == (["a", "b"], ["add"])
        assert difference(graph, elaborate_text(show(graph))) is None


def test_defaults_are_evaluated_where_it_stands(tmp_path: Path) -> None:
    other = "def width() { return 3 } def wide(x, by = width()) { return x -> fc: Linear(by) }"
    main = 'import "other.trtnet" as o def width() { return 5 }'
    graph = graph_in(
        tmp_path, other=other, main=f"{main} model main {{ {PAIR} width = 7 output y = x -> o.wide }}"
    )
    assert graph.outputs[0].value.type.shape[1] == 3


def test_imported_by_name(tmp_path: Path) -> None:
    main = f'import "other.trtnet" model main {{ {PAIR} output y = x -> swiglu }}'
    assert operators(graph_in(tmp_path, other=SWIGLU, main=main)) == ["chunk", "silu", "mul"]


def test_it_sees_nothing_of_its_caller() -> None:
    head = "def hidden(x) { return x + secret }"
    assert mistakes_of("secret = 3 output y = hidden(x)", head, PAIR) == ["unknown name `secret`"]
    assert value_of("[2]") == [2]


def test_a_mistake_is_told_once_however_often_it_is_called() -> None:
    head = "def bad(x, i) { return x -> rleu }"
    body = "for i in range(3) { y = bad(x, i) } output z = y"
    assert mistakes_of(body, head, PAIR) == ["unknown name `rleu`, did you mean `relu`?"]
