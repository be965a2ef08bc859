"""Labels make keys, tie weights, and are wanted where weights are."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of, keys, mistakes_of
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import difference, show

UNIT = "block Unit(c)(x) { return x -> conv: Conv2d(c, 1, bias = false) }\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("output o = x -> stem: Conv2d(4, 1)", ["stem.weight", "stem.bias"]),
        ("output o = x -> a.0.b: Conv2d(4, 1, bias = false)", ["a.0.b.weight"]),
        ("output o = x -> layer1: Unit(4)", ["layer1.conv.weight"]),
        ("output o = x -> _: Unit(4)", ["conv.weight"]),
        ('i = 3\noutput o = x -> "layer{i}.{i + 1}": Unit(4)', ["layer3.4.conv.weight"]),
        ("output o = x -> if: Unit(4)".replace("if", '"if"'), ["if.conv.weight"]),
        ("output o = x + (pos: Parameter(8, 8))", ["pos"]),
        ("p = a.b: Parameter(8)\noutput o = x * p", ["a.b"]),
        ("output o = x -> 0: Unit(4) -> 1: Unit(4)", ["0.conv.weight", "1.conv.weight"]),
    ],
)
def test_keys(body: str, expected: list[str]) -> None:
    assert keys(graph_of(body, UNIT)) == expected


def test_a_block_inside_blocks_adds_its_level() -> None:
    head = UNIT + 'block Stage(n)(x) { for i in range(n) { x = x -> "{i}": Unit(3) } return x }'
    graph = graph_of("output o = x -> layer1: Stage(2) -> layer2: Stage(1)", head)
    assert keys(graph) == ["layer1.0.conv.weight", "layer1.1.conv.weight", "layer2.0.conv.weight"]


def test_an_unlabelled_use_of_a_block_without_weights_is_fine() -> None:
    assert keys(graph_of("output o = x -> A", "block A()(x) { return relu(x) }")) == []


def test_a_label_on_a_module_without_weights_names_the_layer() -> None:
    (node,) = graph_of("output o = x -> act: ReLU").nodes
    assert (node.scope, node.result.name) == ("act", "o")


def test_one_label_used_twice_ties_the_weights() -> None:
    graph = graph_of("y = x -> conv: Conv2d(3, 1)\noutput o = y -> conv: Conv2d(3, 1)")
    assert keys(graph) == ["conv.weight", "conv.bias"]
    first, second = graph.nodes
    assert first.weights["weight"] is second.weights["weight"]


def test_blocks_tie_as_a_whole() -> None:
    graph = graph_of("y = x -> u: Unit(3)\noutput o = y -> u: Unit(3)", UNIT)
    assert keys(graph) == ["u.conv.weight"]


def test_the_same_written_in_another_way_ties_too() -> None:
    body = 'y = x -> conv: Conv2d(3, 1)\noutput o = y -> "conv": Conv2d(out_channels = 3, kernel_size = 1)'
    assert keys(graph_of(body)) == ["conv.weight", "conv.bias"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("output o = x -> Conv2d(3, 1)", "`Conv2d` has weights, so it needs a label"),
        ("output o = x -> Unit(3)", "block `Unit` holds weights, so its use needs a label"),
        ("y = x -> c: Conv2d(3, 1)\noutput o = y -> c: Conv2d(3, 1, stride = 2)", "label `c` is used twice"),
        ("y = x -> c: Conv2d(4, 1)\noutput o = y -> c: Conv2d(4, 1)", "weight `c.weight` is needed as"),
    ],
)
def test_refused(body: str, message: str) -> None:
    (found,) = mistakes_of(body, UNIT)
    assert found.startswith(message)


def test_a_block_can_be_a_module_itself() -> None:
    """ConvNeXt's LayerNorm2d is a subclass of LayerNorm: its keys are the module's own."""
    head = "block Norm2d(n)(x) { return x -> permute(0, 2, 3, 1) -> _: LayerNorm(n) -> permute(0, 3, 1, 2) }"
    body = "output o = reshape(x, N, 2, 1, 2) -> features.0: Norm2d(2)"
    graph = graph_of(body, head, declared="dim N = 1 .. 2 .. 4 input x: float32[N, 4]\n")
    assert keys(graph) == ["features.0.weight", "features.0.bias"]
    assert difference(graph, elaborate_text(show(graph))) is None


def test_a_module_at_the_root_has_bare_keys() -> None:
    graph = graph_of("output o = x -> _: Linear(3)", declared="input x: float32[2, 4]\n")
    assert keys(graph) == ["weight", "bias"]
    assert "x -> _: Linear(3)" in show(graph)
    assert difference(graph, elaborate_text(show(graph))) is None
