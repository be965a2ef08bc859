"""What names mean, where, and what the values of the graph are called."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of, mistakes_of, operators
from trtdsl.elaborate import elaborate
from trtdsl.ir import difference, show
from trtdsl.ir.names import ValueNames, identifier


def names(body: str, head: str = "") -> list[str]:
    return [result.name for node in graph_of(body, head).nodes for result in node.results]


def test_a_result_is_called_as_the_text_calls_it() -> None:
    assert names("y = relu(x)\na, b = chunk(y, 2, 2)\noutput o = a + b") == ["y", "a", "b", "o"]


def test_what_has_no_name_is_called_by_its_label_or_operator() -> None:
    assert names("output o = x -> stem.0: Conv2d(4, 3) -> relu -> flatten(1)") == ["stem_0", "relu", "o"]


def test_a_name_used_again_gets_a_number() -> None:
    assert names("y = relu(x)\ny = relu(y)\ny = relu(y)\noutput o = y + y") == ["y", "y_1", "y_2", "o"]


def test_a_value_inside_a_block_is_called_below_its_path() -> None:
    head = "block B()(x) { y = relu(x) return y + 1 }"
    assert names("output o = x -> a.b: B", head)[0] == "a_b_y"


def test_an_input_keeps_its_name_whatever_comes_before_it() -> None:
    graph = graph_of("relu = relu(x) + 1\ninput add: float32[N]\noutput o = relu\noutput p = add * 2")
    assert [value.name for value in graph.inputs] == ["x", "add"]
    assert not {"x", "add"} & {result.name for node in graph.nodes for result in node.results}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.b.0", "a_b_0"),
        ("0", "_0"),
        ("if", "_if"),
        ("def", "_def"),
        ("float32", "_float32"),
        ("a b-c", "a_b_c"),
        ("→", "value"),
        ("x", "x"),
    ],
)
def test_identifier(text: str, name: str) -> None:
    assert identifier(text) == name


def test_unique_names_do_not_meet() -> None:
    names = ValueNames()
    assert [names.unique(wish) for wish in ("a", "a_1", "a", "a", "a.1")] == [
        "a",
        "a_1",
        "a_2",
        "a_3",
        "a_1_1",
    ]


def test_a_tensor_does_not_hide_a_function_where_that_is_called() -> None:
    graph = graph_of("relu = relu(x)\nsum = sum(relu, 1)\noutput o = relu(sum)\noutput p = x -> relu")
    assert operators(graph) == ["relu", "sum", "relu", "relu"]


def test_elsewhere_the_tensor_is_meant() -> None:
    assert operators(graph_of("relu = sigmoid(x)\noutput o = relu + relu")) == ["sigmoid", "add"]


@pytest.mark.parametrize(
    ("name", "what"),
    [("relu", "operator"), ("Conv2d", "operator"), ("sum", "operator"), ("len", "function")],
)
def test_a_files_own_block_stands_in_an_operators_place(name: str, what: str) -> None:
    text = f"""
        block {name}()(x) {{ return sigmoid(x) }}
        def caller(x) {{ return x -> {name} }}
        model m {{ input x: float32[4] output y = x -> caller }}
    """
    found = elaborate(text, "own.trtnet")
    assert operators(found.graph) == ["sigmoid"]
    (note,) = found.warnings
    assert note.severity == "note"
    assert note.message == f"`{name}` is this file's block here, not the {what} of that name"


def test_an_operators_symbol_is_not_hidden() -> None:
    graph = graph_of("output o = x + x[:, 0:1]", "def add(x, y) { return x }\ndef slice(x) { return x }")
    assert operators(graph) == ["slice", "add"]


def test_a_branch_with_an_operators_name_parses_back() -> None:
    head = "block relu()(x) { return x * 2 }\nblock tanh()(x) { return x -> relu }"
    graph = graph_of("y = x -> relu\noutput o = cond(amax(y) > 0, relu(), tanh(), (y,))", head)
    again = elaborate(show(graph), "shown.trtnet")
    assert difference(graph, again.graph) is None and again.warnings == ()


def test_a_dtype_cannot_be_hidden() -> None:
    mistakes = mistakes_of("output o = x", "block float32()(x) { return sigmoid(x) }")
    assert mistakes == ["`float32` is a dtype; call the block something else"]


def test_a_size_of_a_dimension_by_the_same_name_is_no_rebinding() -> None:
    assert (
        elaborate(
            "model m() { dim N = 1 .. 2 .. 3 input x: float32[N, 4] N, C = x.shape output y = x + C }", "m"
        ).warnings
        == ()
    )


def test_names_bound_in_a_loop_or_choice_live_on() -> None:
    body = "for i in [2, 3] { y = x * i }\nif i == 3 { z = y + 1 } else { w = y }\noutput o = z"
    assert operators(graph_of(body)) == ["full", "mul", "full", "mul", "full", "add"]


def test_a_branch_not_taken_binds_nothing() -> None:
    assert mistakes_of("if false { y = relu(x) }\noutput o = y") == ["unknown name `y`"]


def test_a_block_does_not_see_the_names_around_its_use() -> None:
    assert mistakes_of("a = 3\noutput o = x -> B", "block B()(x) { return x * a }") == ["unknown name `a`"]


def test_a_block_sees_blocks_declared_after_it() -> None:
    head = "block A()(x) { return x -> B }\nblock B()(x) { return relu(x) }"
    assert operators(graph_of("output o = x -> A", head)) == ["relu"]


def test_a_parameters_default_sees_the_parameters_before_it() -> None:
    head = "block B(a, b = 2 * a)(x) { return reshape(x, -1, b) }"
    (node,) = graph_of("output o = x -> B(6)", head).nodes
    assert str(node.result.type) == "float32[16 * N, 12]"


def test_one_mistake_is_told_once_however_often_it_is_reached() -> None:
    head = "block B()(x) { return x + undefined }"
    body = 'for i in range(4) { y = x -> "b{i}": B }\noutput o = y'
    assert mistakes_of(body, head) == ["unknown name `undefined`"]


def test_nothing_is_said_about_what_follows_from_a_mistake() -> None:
    body = (
        "a, b = rleu(x)\nfor i in a { c = b }\nd = [a, x]\nif d[1].rank == 2 { e = c }\noutput o = cat(d) + e"
    )
    assert mistakes_of(body) == ["unknown name `rleu`, did you mean `relu`?"]


def test_a_graph_whose_values_have_odd_names_prints_as_text() -> None:
    assert "_def" in show(graph_of('output o = x -> "def": ReLU -> relu'))
