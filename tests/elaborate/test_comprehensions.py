"""List comprehensions, nested targets of loops, `in` and `not in`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.elaborate.bodies import graph_of, keys, mistakes_of, value_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import Recorder, elaborate, elaborate_text
from trtdsl.ir import difference, show


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[2 * i for i in range(3)]", [0, 2, 4]),
        ("[i + c for i, c in enumerate([4, 5], 1)]", [5, 7]),
        ("[i * j * k for i, (j, k) in [(1, (2, 3)), (4, (5, 6))]]", [6, 120]),
        ("[j for i, (j,) in [(1, [7])]]", [7]),
        ("[i for (i, j) in [(1, 2)]]", [1]),
        ("[i for i in range(10) if i % 2 == 0 if i > 4]", [6, 8]),
        ("[i + j for i in range(3) if i > 0 for j in range(i)]", [1, 2, 3]),
        ("[c if c > 2 else 2 for c in [1, 2, 3]]", [2, 2, 3]),
        ("[c for c in ([1] if true else [2])]", [1]),
        ("[c for c in [3, 4] -> reversed if c > 3]", [4]),
        ("[sum([d for d in range(c)]) for c in [2, 3, 4]]", [1, 3, 6]),
        ("[len(c) for c in [[], [3]]] + [2]", [0, 1, 2]),
        ("[c for c in (3, 4)]", [3, 4]),
        ("[c for c in range(9) if c not in [1, 2, 3, 4, 5, 6, 7]]", [0, 8]),
    ],
)
def test_as_in_python(expression: str, value: list[int]) -> None:
    assert value_of(expression) == value


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("2 in [1, 2]", True),
        ("2 in (1, 3)", False),
        ("2 not in [1, 2]", False),
        ("not 2 in [1, 2]", False),
        ("2 + 1 in [3] and 4 not in []", True),
        ("[1] in [(1,), 2]", True),
        ('"conv" in ["conv", "bn"]', True),
        ('"bn" in "layer1.bn1"', True),
        ("none in [none]", True),
        ("none in [x]", False),
        ("relu in [relu, gelu]", True),
        ("2 in [2.0]", True),
        ("1 in [true]", False),
        ("N in [N]", True),
        ("N + 1 in [1, N + 1]", True),
        ("N in [0, 65, 2 * N + 1]", False),
        ("float32 in [float16, x.dtype]", True),
    ],
)
def test_in(condition: str, holds: bool) -> None:
    graph = graph_of(f"output y = relu(x) if {condition} else tanh(x)")
    assert graph.nodes[0].op.name == ("relu" if holds else "tanh")


def test_labels_and_pipes_inside() -> None:
    head = "block Head(c)(x) { return x -> fc: Conv2d(c, 1) -> relu }"
    body = """
    heads = [x -> "head.{i}": Head(c) -> tanh for i, c in enumerate([4, 5, 6]) if c != 5]
    output y = cat(heads, dim = 1)
    """
    graph = graph_of(body, head)
    assert keys(graph)[::2] == ["head.0.fc.weight", "head.2.fc.weight"]
    assert str(graph.outputs[0].value.type) == "float32[N, 10, 8, 8]"
    assert difference(graph, elaborate_text(show(graph))) is None


def test_targets_stay_inside() -> None:
    assert mistakes_of("a = [i for i in range(3)] b = i output y = relu(x)") == ["unknown name `i`"]
    assert value_of("[[i for i in [7]][0] + len([i for i in range(2)])]") == [9]
    graph = graph_of("i = 5 a = [i for i in range(3)] output y = zeros(i)", declared="")
    assert graph.outputs[0].value.type.shape == (5,)


def test_a_dim_is_not_rebound() -> None:
    text = "model m { dim N = 1 .. 2 .. 4 input x: float32[N] a = [N for N in [3]] output y = x * a[0] }"
    assert elaborate(text, "m.trtnet").warnings == ()


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        ("for i, (c, k) in [(1, 2)] { }", "2 names are bound, but a part of item 0 is `2`"),
        (
            "for i, (c, k) in [(1, (2, 3)), (1, (2,))] { }",
            "2 names are bound, but a part of item 1 is 1 value",
        ),
        ("for (c,) in [(1, 2)] { }", "one name in parentheses is bound, but a part of item 0 is 2 values"),
        ("a = [c for i, c in [1]]", "2 names are bound, but item 0 is `1`"),
        ("a = [c for c in 3]", "`for` runs over a list, a tuple or a range, not `3`"),
        (
            "a = [c for c in x]",
            "`for` runs over a list, a tuple or a range, not a float32[N, 3, 8, 8] tensor",
        ),
        ("a = [c for c in [1] if c]", "a condition must be true or false, not `1`"),
        ("a = [c for c in [1] if x > 0]", "a condition must be known at compile time, but this is a tensor"),
        ("a = x in [x]", "`in` looks for a compile-time value, not for a float32[N, 3, 8, 8] tensor"),
        ("a = 3 not in 4", "`not in` looks into a list or tuple, not into `4`"),
        ("a = 3 in x", "`in` looks into a list or tuple, not into a float32[N, 3, 8, 8] tensor"),
        ("a = N in [4]", "whether N and 4 are equal depends on N"),
    ],
)
def test_mistakes(loop: str, message: str) -> None:
    assert mistakes_of(f"{loop} output y = relu(x)") == [message]


def test_names_of_a_failed_loop_say_nothing_more() -> None:
    assert mistakes_of("for i, (c, (k, l)) in [3] { } output y = x * (c + l)") == [
        "2 names are bound, but item 0 is `3`"
    ]


def test_unused_blocks_know_the_targets() -> None:
    block = "block U()(x) { return cat([x * c for i, (c, k) in enumerate([(1, 2)]) if k > i], 1) }"
    assert graph_of("output y = relu(x)", block)
    found = mistakes_of("output y = relu(x)", block.replace("if k > i", "if l > i"))
    assert found == ["unknown name `l`"]


@pytest.mark.parametrize(
    "value",
    [
        "[[j for j in range(1000)] for i in range(1000)]",
        "[0 for i in range(100000) for j in range(100000)]",
        "[0 for i in range(1000) for j in range(1000) for k in range(1000) if false]",
        "[range(1000) for i in range(1000)]",
    ],
)
def test_they_are_bounded(value: str) -> None:
    (found,) = mistakes_of(f"a = {value} output y = relu(x)")
    assert found in (
        "the model takes more than 200000 statements",
        "the list is too long: it holds more than 100000 elements",
    )


def test_a_recorder_is_told_the_targets() -> None:
    text = "model m { input x: float32[4] a = [3 * size for size in [2]] output y = relu(x) }"
    recorder: Any = Recorder()
    elaborate(text, "m.trtnet", recorder=recorder)
    assert recorder.describe("m.trtnet", text.index("size in")) == "`2`"


def test_a_mistake_inside_ends_the_statement_alone() -> None:
    with pytest.raises(DiagnosticError) as caught:
        graph_of("a = [b for c in [1, 2]] d = e output y = a")
    messages = [diagnostic.message for diagnostic in caught.value.diagnostics]
    assert messages == ["unknown name `b`", "unknown name `e`"]
