"""Pipes and calls: the same nodes however they are written."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of, operators
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, show

HEAD = """
block Add()(a, b) { return a + b }
block Maybe()(x, mask = none) { if mask != none { x = x * mask } return x }
block Twice(f)(x) { return x -> f -> f }
block Pair()(x) { return relu(x), sigmoid(x) }
"""


def structure(graph: Graph) -> list[object]:
    """Operators, and which earlier results they read."""
    number = {value: index for index, value in enumerate(graph.inputs)}
    for node in graph.nodes:
        number |= {result: len(number) + offset for offset, result in enumerate(node.results)}
    return [(node.op, [number.get(value, value.name) for value in node.operands]) for node in graph.nodes]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x -> relu", "relu(x)"),
        ("x -> max_pool2d(2, stride = 1)", "max_pool2d(x, 2, stride = 1)"),
        ("x -> MaxPool2d(2)", "MaxPool2d(2)(x)"),
        ("x -> MaxPool2d(2)", "max_pool2d(x, 2)"),
        ("x -> c: Conv2d(4, 1)", "c: Conv2d(4, 1)(x)"),
        ("(x, x) -> a: Add", "a: Add()(x, x)"),
        ("(x, x) -> Add", "Add()(x, b = x)"),
        ("(x, x) -> add", "add(x, x)"),
        ("(x, x) -> cat(1)", "cat([x, x], 1)"),
        ("[x, x] -> cat(1)", "cat([x, x], dim = 1)"),
        ("x -> cat", "cat([x])"),
        (
            'stack(meshgrid(x[0, 0, 0], x[0, 0, 1], indexing = "ij"))',
            'stack(meshgrid([x[0, 0, 0], x[0, 0, 1]], indexing = "ij"))',
        ),
        ("x -> Pair -> Add", "Add()(relu(x), sigmoid(x))"),
        ("x + x -> relu", "relu(x + x)"),
        ("x -> reshape(-1, 3)", "reshape(x, (-1, 3))"),
        ("x -> reshape([-1, 3])", "reshape(input = x, shape = (-1, 3))"),
        ("x -> flatten(1)", "flatten(x, start_dim = 1)"),
        ("x -> ReLU6", "hardtanh(x, 0.0, 6.0)"),
        ("x -> sum(1)", "sum(x, 1)"),
    ],
)
def test_two_ways_to_say_it(one: str, other: str) -> None:
    left, right = (graph_of(f"output o = {expression}", HEAD) for expression in (one, other))
    assert structure(left) == structure(right)


def test_an_optional_tensor_may_be_left_out_or_none() -> None:
    body = "output a = x -> Maybe\noutput b = Maybe()(x, none)\noutput c = (x, x) -> Maybe"
    assert operators(graph_of(body, HEAD)) == ["mul"]


def test_functions_modules_and_blocks_are_values() -> None:
    body = "act = silu\nlayer = MaxPool2d(2)\nb = Pair\np, q = x -> b\n"
    body += "output o = p -> act -> layer -> Twice(relu)"
    assert operators(graph_of(body, HEAD)) == ["relu", "sigmoid", "silu", "max_pool2d", "relu", "relu"]


def test_a_configured_module_is_placed_where_it_is_used() -> None:
    graph = graph_of("pool = AvgPool2d(2)\nfor i in range(2) { x = x -> pool }\noutput o = x")
    assert [str(node.result.type) for node in graph.nodes] == ["float32[N, 3, 4, 4]", "float32[N, 3, 2, 2]"]


def test_choosing_between_functions() -> None:
    body = "for f in [relu, tanh] { x = x -> (f) }".replace("(f)", "f") + "\noutput o = x"
    assert operators(graph_of(body)) == ["relu", "tanh"]


def test_builtin_names_serve_numbers_and_tensors() -> None:
    body = "n = sum([1, 2]) + max(1, 2) + abs(-3)\noutput o = sum(x, 1) * n\noutput p = abs(x)"
    graph = graph_of(body)
    assert operators(graph) == ["sum", "full", "mul", "abs"]
    assert graph.nodes[1].op.fill_value == 8  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("pieces", "shape"),
    [
        *((f"{name}(x, 1)", [2, 4, 6]) for name in ("chunk", "tensor_split", "hsplit", "vsplit", "dsplit")),
        *((f"split(x, {size})", [2, 4, 6]) for size in ("[2]", "2")),
        *(("unbind(x[:1])", [4, 6]), ("meshgrid(x[0, 0])", [6])),
    ],
)
def test_a_single_piece_is_in_a_tuple_as_in_pytorch(pieces: str, shape: list[int]) -> None:
    body = f"pieces = {pieces}\nassert len(pieces) == 1\noutput y = pieces[0]"
    graph = graph_of(body, declared="input x: float32[2, 4, 6]\n")
    assert str(graph.outputs[0].value.type) == f"float32{shape}"
    assert difference(graph, elaborate_text(show(graph))) is None
