"""Graphs that a program makes: unique names, inferred types, and where they come from."""

from __future__ import annotations

import re

import numpy as np
import pytest

from trtdsl.diagnostics import Diagnostic, Origin, render
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Builder, ValueNames, difference, show, verify
from trtdsl.ir.names import KEYWORDS, NEVER_NAMES, PYTHON_WORDS, identifier
from trtdsl.ops.joining import Cat
from trtdsl.ops.linear import Linear
from trtdsl.ops.piecewise_linear import Relu
from trtdsl.ops.refused import Refused
from trtdsl.ops.softmax import Softmax
from trtdsl.types import DType, TensorType


def floats(*shape: int) -> TensorType:
    return TensorType(DType.FLOAT32, shape)


def test_builds_what_the_text_says() -> None:
    build = Builder(origin="two layers")
    x = build.input("x", floats(1, 8))
    w, b = build.weight("fc.weight", floats(4, 8)), build.weight("fc.bias", floats(4))
    y = build.value(Linear(4), x, weight=w, bias=b, scope="fc")
    graph = build.graph("m", {"y": build.value(Cat(1), [y, build.value(Relu(), y)], name="y")})
    assert verify(graph) == ()
    text = "model m() { input x: float32[1, 8] fc = fc: Linear(4)(x) output y = cat([fc, relu(fc)], 1) }"
    assert difference(graph, elaborate_text(text)) is None
    assert difference(graph, elaborate_text(show(graph))) is None


def test_what_a_program_made_says_of_what() -> None:
    build = Builder(origin="resnet18 of torchvision")
    x = build.input("x", floats(2))
    build.place(Relu(), x)
    (node,) = build.nodes
    assert node.origins[0].source == "resnet18 of torchvision"
    assert render(Diagnostic.at("no", node.origins)) == "error: no\n   = made from resnet18 of torchvision"
    assert Diagnostic.at("no", (Origin.made_from("a"), Origin.made_from("b"))).span is None


def test_refuses_what_the_operator_refuses() -> None:
    build = Builder(origin="test")
    x = build.input("x", TensorType(DType.INT64, (2,)))
    with pytest.raises(Refused, match="softmax"):
        build.place(Softmax(0), x)
    assert build.nodes == []


def test_names_give_way_also_between_bodies() -> None:
    build = Builder(origin="test")
    x = build.input("x", floats(2))
    assert build.value(Relu(), x).name == "relu"
    inner = build.body()
    assert inner.input("x", floats(2)).name == "x_1"
    assert inner.value(Relu(), inner.inputs[0], name="if").name == "_if"
    assert build.value(Relu(), x).name == "relu_1"


def test_a_weights_type_is_that_of_its_values() -> None:
    weight = Builder().weight("w", np.zeros((2, 3), np.float16))
    assert weight.type == TensorType(DType.FLOAT16, (2, 3))


def test_words_are_those_of_the_grammar() -> None:
    """A word that the grammar gains and the names do not know would not parse back."""
    from trtdsl.syntax.parser import parse

    for word in {*KEYWORDS, *PYTHON_WORDS}:
        name = identifier(word)
        assert name == (f"_{word}" if word in NEVER_NAMES else word)
        parse(f"model m() {{ input x: float32[1] {name} = x output y = {name} }}", "names")
    grammar = __import__("pathlib").Path(__file__).parents[2] / "grammar" / "trtnet.lark"
    words = set(re.findall(r"[\"/]([a-z]{2,})(?:\\b/|\")", grammar.read_text()))
    assert words - {"_"} <= KEYWORDS | PYTHON_WORDS, words - KEYWORDS - PYTHON_WORDS


def test_names_of_a_graph_are_taken() -> None:
    graph = elaborate_text("model m() { input x: float32[1] relu = relu(x) output y = relu }")
    assert ValueNames.of(graph).unique("relu") == "relu_1"
